# SPDX-License-Identifier: Apache-2.0
"""The pan-tilt node: real messages in, real commands out, and a stop that is one."""

import errno
import math
import signal
import time
from itertools import pairwise

import numpy as np
import pytest
from geometry_msgs.msg import PointStamped
from pan_tilt.emulated_bus import EmulatedBus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from vision_msgs.msg import Detection2DArray
from waiting import PATIENCE, wait_until

from face_tracking.camera_model import CameraModel
from face_tracking.faces import Tracks
from face_tracking.frame import Frame
from face_tracking.nodes.camera_info import to_camera_info
from face_tracking.nodes.image_messages import to_header
from face_tracking.nodes.messages import (
    tracks_from_message,
    tracks_to_message,
)
from face_tracking.nodes.pan_tilt_node import PanTiltNode
from face_tracking.pan_tilt.kinematics import optical_axes

CAMERA = CameraModel.from_fov(640, 480, math.radians(70))
FRAME = 'camera_optical_frame'
COMMANDS = 'position_controller/commands'


def tracks_of(stamp, *faces):
    """Return tracks of (id, x, y) with boxes of 60 pixels."""
    boxes = np.array([[x - 30, y - 30, x + 30, y + 30] for _, x, y in faces], np.float32)
    return Tracks(
        stamp,
        np.array([face[0] for face in faces], np.int64),
        boxes.reshape(-1, 4),
        np.ones(len(faces), np.float32),
    )


class Crowd:
    """Publishes what a tracker would say about people who stand still around the head.

    :ivar faces: by id: (pan, tilt).
    :ivar looks: where the camera looks: pan and tilt.
    """

    def __init__(self, probe):
        self.probe, self.faces, self.looks = probe, {}, (0.0, 0.0)
        self._tracks = probe.publisher(Detection2DArray, 'faces/tracks')
        self._infos = probe.publisher(CameraInfo, 'camera/camera_info', qos_profile_sensor_data)

    def show_until(self, condition):
        """Publish 30 times a second until a condition holds; return its value."""
        return wait_until(condition, self.step, lambda: self.probe.status)

    def step(self):
        """Publish once and let the nodes work."""
        self.publish()
        self.probe.spin_for(0.033)

    def publish(self):
        stamp = self.probe.node.get_clock().now().nanoseconds
        header = to_header(stamp, FRAME)
        seen = []
        for identity, (pan, tilt) in self.faces.items():
            point = CAMERA.project(optical_axes(*self.looks) @ optical_axes(pan, tilt)[2])[0]
            if np.isfinite(point).all() and (point > 0).all() and (point < [640, 480]).all():
                seen.append((identity, *point))
        self._infos.publish(to_camera_info(CAMERA, header))
        self._tracks.publish(tracks_to_message(tracks_of(stamp, *seen), header))


@pytest.fixture
def crowd(probe):
    """Return a function that makes a crowd around the node that is there."""
    return lambda: Crowd(probe)


def test_turns_to_a_face_and_tells_so(probe, make, crowd):
    make(PanTiltNode, output='simulated')
    people = crowd()
    probe.hear(JointState, 'joint_states')
    probe.hear(String, 'pan_tilt_node/state')
    states = probe.heard['joint_states']
    people.faces = {4: (0.35, -0.15)}

    def there():
        if states:
            people.looks = tuple(states[-1].position)
        return states and np.abs(np.array(people.looks) - (0.35, -0.15)).max() < 0.04

    people.show_until(there)
    assert list(states[-1].name) == ['pan_joint', 'tilt_joint']
    assert probe.heard['pan_tilt_node/state'][-1].data == 'tracking'
    people.show_until(lambda: probe.says('pan_tilt_node') == (0, 'tracking'))
    assert probe.value('pan_tilt_node', 'target') == '4'


@pytest.mark.parametrize(
    ('output', 'kind', 'topic', 'angles'),
    [
        ('position', Float64MultiArray, COMMANDS, lambda message: list(message.data)),
        (
            'joint_trajectory',
            JointTrajectory,
            'joint_trajectory_controller/joint_trajectory',
            lambda message: list(message.points[0].positions),
        ),
    ],
)
def test_ros2_control_is_commanded_and_nothing_after_the_stop(
    probe, make, crowd, output, kind, topic, angles
):
    make(PanTiltNode, output=output, control_rate=100.0)
    people = crowd()
    probe.hear(kind, topic)
    sent = probe.heard[topic]
    people.faces = {1: (0.5, 0.0)}  # the camera never moves: the head would go on for ever
    people.show_until(lambda: sent and angles(sent[-1])[0] > 0.2)
    if kind is JointTrajectory:
        assert list(sent[-1].joint_names) == ['pan_joint', 'tilt_joint']
        assert len(sent[-1].points[0].velocities) == 2
    assert probe.enable('pan_tilt_node', False).success
    probe.until(
        lambda: (
            probe.says('pan_tilt_node') == (0, 'paused')
            and probe.value('pan_tilt_node', 'joints') == 'stopped'
        )
    )
    settled = wait_until_settled(probe, sent, people.step)
    for _ in range(2):
        probe.status.clear()
        people.show_until(lambda: probe.status)
    assert len(sent) == settled
    pans = [angles(message)[0] for message in sent]
    assert abs(pans[-1] - pans[-2]) < 1e-3, 'it came to rest before the stop'
    assert probe.enable('pan_tilt_node', True).success
    people.show_until(lambda: len(sent) > settled)


def wait_until_settled(probe, sent, step=lambda: None):
    """Wait until no command has come from one status to the next; return how many there were."""
    counts = [-1]

    def quiet():
        step()
        if probe.status.pop('pan_tilt_node', None):
            counts.append(len(sent))
        return len(counts) > 3 and counts[-1] == counts[-2]

    probe.until(quiet)
    return counts[-1]


def test_without_tracks_the_head_stops_and_says_so(probe, make, crowd):
    make(PanTiltNode, output='position', stale_timeout=0.2)
    people = crowd()
    probe.hear(Float64MultiArray, COMMANDS)
    sent = probe.heard[COMMANDS]
    people.faces = {1: (0.3, 0.0)}
    people.show_until(lambda: len(sent) > 5)
    probe.until(lambda: probe.says('pan_tilt_node') == (1, 'no tracks received'))
    settled = wait_until_settled(probe, sent)
    people.show_until(lambda: len(sent) > settled)


def test_gaze_target_alone(probe, make, crowd):
    node = make(PanTiltNode, output='none')
    people = crowd()
    probe.hear(PointStamped, 'faces/gaze_target')
    gazes = probe.heard['faces/gaze_target']
    people.faces = {1: (0.2, -0.1)}
    people.show_until(lambda: gazes)
    point = gazes[0].point
    assert gazes[0].header.frame_id == FRAME
    direction = optical_axes(0.2, -0.1)[2] @ optical_axes(0, 0).T
    measured = np.array([point.x, point.y, point.z])
    assert measured / np.linalg.norm(measured) == pytest.approx(direction, abs=0.01)
    assert 0.5 < np.linalg.norm(measured) < 5
    topics = [name for name, _ in node.get_publisher_names_and_types_by_node('pan_tilt_node', '/')]
    assert '/joint_states' not in topics


def test_with_feedback_nothing_moves_before_the_joints_are_found(probe, make, crowd):
    make(PanTiltNode, output='position', feedback=True)
    people = crowd()
    probe.hear(Float64MultiArray, COMMANDS)
    sent = probe.heard[COMMANDS]
    people.faces = {1: (0.1, 0.0)}
    people.show_until(
        lambda: probe.says('pan_tilt_node')[1].startswith('no joint_states received')
    )
    assert not sent
    joints = probe.publisher(JointState, 'joint_states')

    def commanded():
        stamp = probe.node.get_clock().now().nanoseconds
        joints.publish(
            JointState(
                header=to_header(stamp, ''), name=['tilt_joint', 'pan_joint'], position=[0.02, 0.6]
            )
        )
        people.looks = (0.6, 0.02)
        return sent

    people.show_until(commanded)
    assert list(sent[0].data) == pytest.approx([0.6, 0.02], abs=0.02)


def test_feedback_that_falls_silent_is_a_stop(probe, make, crowd):
    make(PanTiltNode, output='position', feedback=True, stale_timeout=0.3)
    people = crowd()
    probe.hear(Float64MultiArray, COMMANDS)
    sent = probe.heard[COMMANDS]
    people.faces = {1: (0.1, 0.0)}
    joints = probe.publisher(JointState, 'joint_states')

    def commanded():
        stamp = probe.node.get_clock().now().nanoseconds
        joints.publish(
            JointState(
                header=to_header(stamp, ''), name=['pan_joint', 'tilt_joint'], position=[0.0, 0.0]
            )
        )
        return len(sent) > 5

    people.show_until(commanded)
    people.show_until(lambda: probe.value('pan_tilt_node', 'joints') == 'stopped')
    settled = wait_until_settled(probe, sent, people.step)
    people.show_until(
        lambda: probe.says('pan_tilt_node')[1].startswith('no joint_states received')
    )
    assert len(sent) == settled


def test_servo_board_gets_pulses_and_none_after_the_end(probe, make, crowd, monkeypatch):
    bus = EmulatedBus()
    monkeypatch.setattr('face_tracking.pan_tilt.drivers.pca9685.open_bus', lambda number: bus)
    node = make(PanTiltNode, output='pca9685', on_stop='limp', tilt_us_per_rad=-636.62)
    people = crowd()
    people.faces = {1: (0.3, 0.2)}
    people.show_until(lambda: (bus.pulse(0) or 0) > 1550 and 0 < (bus.pulse(1) or 0) < 1450)
    probe.executor.remove_node(node)
    node.destroy_node()
    assert bus.pulse(0) is None and bus.pulse(1) is None and bus.closed
    written = len(bus.writes)
    time.sleep(0.1)  # five times the interval of the commands
    assert len(bus.writes) == written


def test_servo_board_that_falls_silent_is_reported_and_taken_up_again(
    probe, make, crowd, monkeypatch
):
    bus = EmulatedBus()
    monkeypatch.setattr('face_tracking.pan_tilt.drivers.pca9685.open_bus', lambda number: bus)
    make(PanTiltNode, output='pca9685')
    people = crowd()
    people.faces = {1: (0.3, 0.0)}
    people.show_until(lambda: (bus.pulse(0) or 0) > 1510)
    bus.fails = errno.EREMOTEIO
    people.show_until(lambda: probe.says('pan_tilt_node')[0] == 2)
    assert 'the chip at I2C address 0x40 does not answer' in probe.says('pan_tilt_node')[1]
    place, silence = bus.pulse(0), len(bus.writes)
    bus.fails = None
    people.show_until(lambda: probe.says('pan_tilt_node') == (0, 'tracking'))
    # After the initialization, which ends the pulses, it goes on from where it came to rest; the
    # camera never moves here, so without that it would long be at its limit.
    again = next(
        low + 256 * high
        for register, (*_, low, high) in (
            (register, values) for register, values in bus.writes[silence:] if register == 6
        )
        if high < 16
    )
    assert again * 4.88 == pytest.approx(place, abs=300)


def test_absent_servo_board_is_one_line_and_the_node_stays(probe, make, crowd):
    make(PanTiltNode, output='pca9685', i2c_bus=97)
    _level, message = probe.until(
        lambda: probe.says('pan_tilt_node') if probe.says('pan_tilt_node')[0] == 2 else None
    )
    assert message.startswith('the I2C bus /dev/i2c-97 does not exist: enable it')
    people = crowd()
    probe.hear(PointStamped, 'faces/gaze_target')
    people.faces = {1: (0.1, 0.0)}
    people.show_until(lambda: probe.heard['faces/gaze_target'])


def test_services_choose_whom_to_look_at(probe, make, crowd):
    make(PanTiltNode, output='none', target='largest')
    assert not probe.call(Trigger, 'pan_tilt_node/next_target').success
    people = crowd()
    people.faces = {3: (0.2, 0.0), 8: (-0.2, 0.0)}

    def looks_at(identity):
        return lambda: probe.value('pan_tilt_node', 'target') == str(identity)

    people.show_until(
        lambda: (
            probe.value('pan_tilt_node', 'target') in '38'
            and probe.value('pan_tilt_node', 'target')
        )
    )
    first = int(probe.value('pan_tilt_node', 'target'))
    other = 11 - first
    answer = probe.call(Trigger, 'pan_tilt_node/next_target')
    assert answer.success and answer.message == f'following track {other}'
    people.show_until(looks_at(other))
    assert probe.call(Trigger, 'pan_tilt_node/hold_target').message == f'following track {other}'
    assert probe.call(Trigger, 'pan_tilt_node/release_target').success
    (result,) = probe.set('pan_tilt_node', target='id')
    assert result.successful
    (result,) = probe.set('pan_tilt_node', target_id=first)
    people.show_until(looks_at(first))


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        ({'kp': -1.0}, 'kp out of range'),
        ({'pan_min': 2.0}, 'range from 2 to'),
        ({'target': 'prettiest'}, 'one of largest, center, longest, looking_at_me, person, id'),
        ({'output': 'none'}, 'read-only'),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_reason(probe, make, wrong, words):
    make(PanTiltNode, output='none')
    (result,) = probe.set('pan_tilt_node', **wrong)
    assert not result.successful and words in result.reason


def test_servo_calibration_is_checked_for_the_output_that_uses_it(probe, make, monkeypatch):
    monkeypatch.setattr(
        'face_tracking.pan_tilt.drivers.pca9685.open_bus', lambda number: EmulatedBus()
    )
    make(PanTiltNode, output='pca9685', guardian=False)
    (result,) = probe.set('pan_tilt_node', pan_min_pulse_us=2500.0)
    assert not result.successful and 'do not suit a servo' in result.reason


def test_calibration_of_an_unused_driver_is_no_obstacle(probe, make):
    make(PanTiltNode, output='none')
    (result,) = probe.set('pan_tilt_node', pan_min_pulse_us=2500.0)
    assert result.successful


@pytest.mark.parametrize('jump', [-3600.0, 3600.0])
def test_a_jump_of_the_clock_neither_moves_nor_freezes_the_head(make, jump, monkeypatch):
    node = make(PanTiltNode, output='position', subscribe=False)
    node.set_camera_model(CameraModel.from_fov(640, 480, 1.047))
    written, offset = [], [0]
    now = node.now
    monkeypatch.setattr(node, 'now', lambda: now() + offset[0])
    node._steady_clock._ros_now = node.now
    wait_until(lambda: node._driver is not None)
    write = node._driver._driver.write
    node._driver._driver.write = lambda command: (
        written.append(command.positions),
        write(command),
    )

    def show():
        frame = Frame(np.zeros((2, 2, 3), np.uint8), node.now() - 30_000_000)
        node.submit(frame, tracks_of(frame.stamp, (1, 200, 240)))
        time.sleep(0.03)

    wait_until(lambda: written and abs(written[-1][0]) > 0.1, show)
    offset[0] = int(jump * 1e9)
    before = abs(written[-1][0])
    wait_until(lambda: abs(written[-1][0]) > before + 0.1, show)  # the head follows on
    steps = [abs(b[0] - a[0]) for a, b in pairwise(written)]
    assert max(steps) <= 2.4 * 0.04 + 1e-9


@pytest.mark.parametrize('age', [0.0, -0.05])
def test_zero_stamps_and_stamps_ahead_are_followed(make, age):
    node = make(PanTiltNode, output='none', subscribe=False)
    node.set_camera_model(CameraModel.from_fov(640, 480, 1.047))

    def show():
        stamp = 0 if age == 0.0 else node.now() - int(age * 1e9)
        frame = Frame(np.zeros((2, 2, 3), np.uint8), stamp)
        node.submit(frame, tracks_of(stamp, (1, 200, 240)))
        time.sleep(0.03)

    head = node._head
    wait_until(lambda: head.target == 1 and not head.stale and head.positions[0] > 0.05, show)


def test_implausible_feedback_is_reported_and_never_commanded(probe, make):
    node = make(PanTiltNode, output='position', feedback=True)
    publisher = probe.publisher(JointState, 'joint_states')
    wrong = JointState(name=['pan_joint', 'tilt_joint'], position=[1e6, 0.0])
    probe.until(
        lambda: publisher.publish(wrong) or probe.refused('pan_tilt_node', 'joint states') >= 10
    )
    assert not node._joints_known
    assert abs(node._head.positions[0]) < 1.4


def test_gains_change_while_it_runs(probe, make):
    node = make(PanTiltNode, output='none')
    assert all(
        result.successful
        for result in probe.set('pan_tilt_node', kp=3.0, ki=0.0, max_velocity=1.0, on_stop='limp')
    )
    assert node._head.options.kp == 3.0 and node._head.options.max_velocity == 1.0


def test_hostile_tracks_neither_move_nor_kill_it(probe, make, crowd):
    make(PanTiltNode, output='position')
    people = crowd()
    publisher = probe.publisher(Detection2DArray, 'faces/tracks')
    probe.hear(Float64MultiArray, COMMANDS)
    stamp = probe.node.get_clock().now().nanoseconds
    for spoil in (
        lambda face: setattr(face, 'id', 'x'),
        lambda face: setattr(face, 'id', '9' * 40),
        lambda face: setattr(face.bbox, 'size_x', math.nan),
        lambda face: setattr(face.bbox, 'size_y', -5.0),
        lambda face: setattr(face.bbox.center.position, 'x', math.inf),
        lambda face: setattr(face.bbox.center.position, 'y', 1e300),
    ):
        message = tracks_to_message(tracks_of(stamp, (1, 600, 100)), to_header(stamp, FRAME))
        spoil(message.detections[0])
        publisher.publish(message)
        people.publish()
    people.show_until(lambda: len(probe.heard[COMMANDS]) > 10)
    assert all(list(message.data) == [0.0, 0.0] for message in probe.heard[COMMANDS])


def test_ids_that_are_none_are_left_out():
    message = tracks_to_message(tracks_of(5, (1, 9, 9), (2, 9, 9), (3, 9, 9)), to_header(5, FRAME))
    message.detections[0].id, message.detections[2].id = '-4', ''
    assert tracks_from_message(message)[0].ids.tolist() == [2]


def test_the_loop_closes_across_processes(probe, launch, model):
    launch(
        'camera_node',
        camera='virtual:step',
        use_joint_states=True,
        latency=0.03,
        width=320,
        height=240,
        frame_rate=15.0,
        horizontal_fov=1.2,
    )
    launch('detector_node', model=model, runtime='onnxruntime', detect_interval=2)
    launch('tracker_node')
    head = launch('pan_tilt_node', output='simulated')
    expect_the_head_at_a_face(probe)
    head.send_signal(signal.SIGINT)
    assert head.wait(PATIENCE) == 0, head.said()


def test_the_loop_closes_in_one_process(probe, launch, model):
    process = launch(
        'pipeline',
        words=('--pan-tilt',),
        camera='virtual:step',
        use_joint_states=True,
        model=model,
        runtime='onnxruntime',
        detect_interval=2,
        width=320,
        height=240,
        frame_rate=15.0,
        horizontal_fov=1.2,
        output='simulated',
    )
    expect_the_head_at_a_face(probe)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, process.said()


def expect_the_head_at_a_face(probe):
    """Wait until the head stands at one of the two people, 15 degrees to either side."""
    probe.hear(JointState, 'joint_states')
    probe.hear(Detection2DArray, 'faces/tracks')
    states, tracks = probe.heard['joint_states'], probe.heard['faces/tracks']

    def there():
        return (
            states
            and tracks
            and tracks[-1].detections
            and abs(abs(states[-1].position[0]) - math.radians(15)) < math.radians(2.5)
        )

    probe.until(there)
