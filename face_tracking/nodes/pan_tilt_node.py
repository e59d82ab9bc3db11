# SPDX-License-Identifier: Apache-2.0
"""The pan-tilt node: turns the head towards a face."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from geometry_msgs.msg import Point, PointStamped
from rclpy.clock import ROSClock
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from face_tracking.backoff import Backoff
from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.frame import Frame
from face_tracking.nodes.camera_info import from_camera_info
from face_tracking.nodes.diagnostics import ERROR, OK, WARN, Report
from face_tracking.nodes.image_messages import from_time, to_header
from face_tracking.nodes.joint_states import angles_from_message
from face_tracking.nodes.markers import to_gaze_marker
from face_tracking.nodes.messages import tracks_from_message
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.people_messages import Names, attention_from_message, names_from_message
from face_tracking.nodes.shared_options import FaceSizeOptions
from face_tracking.nodes.spin import run
from face_tracking.nodes.steady_clock import SteadyClock
from face_tracking.options import option, pick, rows_of
from face_tracking.pan_tilt.command import Command, CommandLimiter
from face_tracking.pan_tilt.controller import HeadController
from face_tracking.pan_tilt.drivers.base import DriverContext, GuardedDriver
from face_tracking.pan_tilt.drivers.registry import registered_drivers
from face_tracking.pan_tilt.head_options import HeadOptions
from face_tracking.spatial.face_positions import positions_by_height

DRIVERS = registered_drivers(
    'face_tracking.nodes.pan_tilt_outputs', 'face_tracking.simulation.simulated_driver'
)


@dataclass(frozen=True)
class PanTiltParameters(HeadOptions, FaceSizeOptions):
    """The parameters of the pan-tilt node, besides those of the drivers."""

    output: str = option(
        'simulated',
        'Driver that moves the joints; none publishes only faces/gaze_target',
        choices=tuple(DRIVERS),
        read_only=True,
        required=True,
    )
    pan_joint: str = option('pan_joint', 'Name of the pan joint', read_only=True)
    tilt_joint: str = option('tilt_joint', 'Name of the tilt joint', read_only=True)
    control_rate: float = option(50.0, 'Commands per second', 5.0, 500.0, read_only=True)
    feedback: bool = option(
        False,
        'Use the joint angles of joint_states, which another node publishes; otherwise '
        'this node publishes the commanded angles there',
        read_only=True,
    )
    on_stop: str = option(
        'hold',
        'What the servos do when the head stops (at shutdown, without tracks, after a '
        'write error): hold the position, or limp: no pulses, so no torque',
        choices=('hold', 'limp'),
    )
    camera_frame: str = option(
        'camera_optical_frame', 'Frame of faces/gaze_target if the tracks have no frame_id'
    )


_OF_THE_HEAD = {row.name for row in rows_of(HeadOptions)}
_MAX_BRAKING = 1.0  # seconds at the end of the process


class PanTiltNode(FaceNode[PanTiltParameters]):
    """Commands the joints in a thread of its own, at a steady rate.

    :param subscribe: take tracks from topics; otherwise from :meth:`submit` and
        :meth:`set_camera_model`.
    """

    def __init__(self, subscribe: bool = True, **options: Any):
        super().__init__(
            'pan_tilt_node',
            PanTiltParameters,
            [driver.options for driver in DRIVERS.values()],
            **options,
        )
        self._period = 1.0 / self.parameters.control_rate
        self._steady_clock = SteadyClock(
            self.now, lambda: cast('ROSClock', self.get_clock()).ros_time_is_active
        )
        self._head = HeadController(self.store.get(HeadOptions), longest_step=2 * self._period)
        self._limiter = CommandLimiter(self._head.options.limits(), 2 * self._period)
        self._driver_class = DRIVERS[self.parameters.output]
        self._lock = threading.Lock()
        self._camera: CameraModel | None = None
        self._driver: GuardedDriver | None = None
        self._problem: UserError | None = None
        self._failures, self._next_try = 0, 0.0
        self._published_state = ''
        self._joints_known = not self.parameters.feedback
        self._feedback_time = 0.0  # monotonic seconds
        self._joints = [self.parameters.pan_joint, self.parameters.tilt_joint]
        self._states = self.publisher('~/state')
        self._gaze = self.publisher('faces/gaze_target')
        self._gaze_marker = self.publisher('faces/gaze_marker')
        self._joint_states = None
        if self.parameters.feedback:
            self.add_input('joint_states', self._on_joints)
        elif self._driver_class.moves:
            self._joint_states = self.publisher('joint_states')
        self._stopping = threading.Event()
        if subscribe:
            self.add_input('faces/tracks', self._on_tracks)
            self.add_input('camera/camera_info', self._on_camera_info)
            self.add_input(
                'faces/people',
                self._on_people,
                needed=lambda: self.parameters.target == 'person',
            )
            self.add_input('faces/camera_info', self._on_scaled_camera_info)
        # Also in one process with the tracker: the attention node runs on its own.
        self.add_input(
            'faces/attention',
            self._on_attention,
            needed=lambda: self.parameters.target == 'looking_at_me',
        )
        for name, serve in (
            ('next_target', self._next),
            ('hold_target', self._hold),
            ('release_target', self._release),
        ):
            self.create_service(Trigger, f'~/{name}', serve)
        self._thread = threading.Thread(target=self._run, name='head', daemon=True)
        self.start()

    def configure(self) -> None:
        """Start the thread of the controller; the head stays at rest until it is activated."""
        if not self._thread.is_alive():
            self._thread.start()

    def activate(self) -> None:
        """Follow faces."""
        self.get_logger().info('the head is enabled')

    def deactivate(self) -> None:
        """Brake and rest."""
        self.get_logger().info('the head is disabled')

    def submit(self, frame: Frame, tracks: Tracks) -> None:
        """Process the tracks of an image. Thread-safe."""
        self._take(tracks, frame.frame_id)

    def set_names(self, names: Names) -> None:
        """Set the names of the tracks, for the target ``person``. Thread-safe."""
        people = {int(track): name for track, (name, _) in names.items() if track.isdecimal()}
        with self._lock:
            self._head.set_names(people)

    def _on_attention(self, message: Detection2DArray) -> None:
        looking = attention_from_message(message)
        ids = {int(track) for track, looks in looking.items() if looks and track.isdecimal()}
        with self._lock:
            self._head.set_attentive(ids)

    def set_camera_model(self, model: CameraModel) -> None:
        """Set the intrinsics of the camera, which convert pixels to angles."""
        self._camera = model

    def angles_at(self, stamp: int) -> tuple[float, float]:
        """Return pan and tilt at a ROS stamp, for a virtual camera mounted on the joints."""
        return self._angles(self._steady_clock.time_of(stamp))

    def check(self, values: Mapping[str, Any]) -> None:
        """Check the options of the chosen driver."""
        pick(DRIVERS[values['output']].options, values)

    def apply(self, changed: set[str]) -> None:
        """Use other options; the motion stays smooth."""
        if changed & _OF_THE_HEAD:
            options = self.store.get(HeadOptions)
            with self._lock:
                self._head.configure(options)
                self._limiter.set_limits(options.limits())
        if 'on_stop' in changed and self._driver is not None:
            self._driver.limp = self.parameters.on_stop == 'limp'
        if changed & {row.name for row in rows_of(self._driver_class.options)}:
            self._drop_driver()

    def close(self) -> bool:
        """Come to rest, stop the servos and end the thread; nothing is written afterwards."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_MAX_BRAKING + 0.5)
        self._drop_driver()
        return not self._thread.is_alive()

    def report(self, report: Report) -> None:
        """Report the state of the head, its target and its joints."""
        _rate, values = self.meter.take()
        with self._lock:
            pan, tilt = self._head.positions
            state, target, stale = self._head.state, self._head.target, self._head.stale
        report.values.update(
            values,
            state=state.value,
            target='' if target is None else str(target),
            pan=f'{pan:.3f}',
            tilt=f'{tilt:.3f}',
            output=self.parameters.output,
        )
        driver = self._driver
        report.values['joints'] = (
            'not available' if driver is None else 'commanded' if driver.running else 'stopped'
        )
        if self._problem is not None:
            report.say(ERROR, str(self._problem))
        elif not self.active:
            return
        elif not self._has_fresh_feedback():
            report.say(WARN, 'no joint_states received, which the parameter feedback requires')
        elif self._camera is None:
            report.say(WARN, 'no camera_info received: pixels cannot be converted to angles')
        elif stale:
            report.say(WARN, 'no tracks received')
        else:
            report.say(OK, state.value)

    def _on_tracks(self, message: Detection2DArray) -> None:
        tracks, refused = tracks_from_message(message)
        self.refuse('entries of faces/tracks', refused)
        self._take(tracks, message.header.frame_id)

    def _on_people(self, message: Detection2DArray) -> None:
        self.set_names(names_from_message(message))

    def _on_camera_info(self, message: CameraInfo, scaled: bool = False) -> None:
        if not scaled and self._camera is not None and self.publishers_of('faces/camera_info'):
            return  # the images of the tracks may have another size than those of the sensor
        try:
            self.set_camera_model(from_camera_info(message))
        except UserError as error:
            self.refuse_message('camera_info', error)

    def _on_scaled_camera_info(self, message: CameraInfo) -> None:
        """Use the intrinsics of the images of the tracks, which a tracker publishes."""
        self._on_camera_info(message, scaled=True)

    def _on_joints(self, message: JointState) -> None:
        """Use measured angles; messages about other joints are ignored."""
        try:
            angles = angles_from_message(message, (self._joints[0], self._joints[1]))
        except UserError as error:
            self.refuse_message('joint states', error)
            return
        if angles is None:
            return
        pan, tilt = angles
        stamp = from_time(message.header.stamp) or self.now()
        with self._lock:
            plausible = self._head.measure(self._steady_clock.time_of(stamp), pan, tilt)
            if plausible and not self._joints_known:
                self._joints_known = self._head.start_from(pan, tilt)
                self._limiter.restart()
        if plausible:
            self._feedback_time = time.monotonic()
        else:
            self.refuse_message(
                'joint states',
                UserError(
                    f'joint_states reports {self._joints[0]} {pan:g} rad, {self._joints[1]} '
                    f'{tilt:g} rad, which is not possible',
                    'check the joint state publisher',
                ),
            )

    def _take(self, tracks: Tracks, frame_id: str) -> None:
        camera = self._camera
        if camera is None or not self.active:
            return
        now, age = self._steady_clock.now(), self._steady_clock.age(tracks.stamp)
        with self._lock:
            self._head.observe(replace(tracks, stamp=now - age), camera, now)
            target = self._head.target
        self.meter.add({'latency': age / 1e6})
        self._publish_gaze(tracks, target, camera, frame_id)

    def _publish_gaze(
        self, tracks: Tracks, target: int | None, camera: CameraModel, frame_id: str
    ) -> None:
        rows = np.flatnonzero(tracks.ids == target) if target is not None else ()
        subscribers = (
            self._gaze.get_subscription_count(),
            self._gaze_marker.get_subscription_count(),
        )
        if len(rows) == 0 or not any(subscribers):
            return
        size = self.parameters.face_height
        x, y, z = positions_by_height(tracks.boxes[rows[:1]], camera, size)[0]
        header = to_header(tracks.stamp, frame_id or self.parameters.camera_frame)
        self._gaze.publish(PointStamped(header=header, point=Point(x=x, y=y, z=z)))
        if subscribers[1]:
            self._gaze_marker.publish(to_gaze_marker((x, y, z), header, size))

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            self._step(self.active and self._has_fresh_feedback())
            # A steady rate on average; after a pause the missed commands are skipped.
            due = max(due + self._period, time.monotonic())
            self._stopping.wait(due - time.monotonic())
        self._brake_to_rest()

    def _has_fresh_feedback(self) -> bool:
        """Return whether the joint angles are known; old feedback does not count."""
        age = time.monotonic() - self._feedback_time
        return not self.parameters.feedback or age <= self.parameters.stale_timeout

    def _step(self, follow: bool) -> None:
        driver = self._driver or self._try_to_open()
        # A joint at an unknown angle is not commanded; and if the command moved on while it is not
        # executed, the joints would jump when the driver is back.
        ready = driver is not None and self._joints_known
        now = self._steady_clock.now()
        with self._lock:
            command = self._head.tick(now, not ready) if follow else self._head.brake(now)
            rests = self._head.at_rest and (self._head.stale or not follow)
        if ready and driver is not None:
            try:
                self._send(driver, command, rests)
            except Exception as error:  # the thread must not die while the servos live
                if not self._stopping.is_set():
                    self.log_throttled(error)
        self._publish_state(command)

    def _send(self, driver: GuardedDriver, command: Command, rests: bool) -> None:
        """Command the joints; stop the driver when they rest and there is nothing to follow."""
        if not rests and not driver.running:
            driver.start()
        driver.write(command)  # without effect while the driver is stopped
        if driver.problem is not None:
            self._fail(driver.problem)
            return
        if rests:
            driver.stop()
        if self._joint_states is not None:
            self._publish_joints(command)

    def _publish_joints(self, command: Command) -> None:
        assert self._joint_states is not None
        self._joint_states.publish(
            JointState(
                header=to_header(self.now(), ''),
                name=self._joints,
                position=list(self._angles(command.stamp)),
                velocity=list(command.velocities),
            )
        )

    def _angles(self, time: int) -> tuple[float, float]:
        """Return the joint angles at a time of the steady clock: true ones if known."""
        driver = self._driver
        true = driver.angles(time) if driver is not None else None
        return self._head.positions if true is None else true

    def _publish_state(self, command: Command) -> None:
        state = command.state.value
        if state != self._published_state and self.context.ok():
            self._published_state = state
            self._states.publish(String(data=state))

    def _try_to_open(self) -> GuardedDriver | None:
        """Open the driver, with growing pauses between the attempts."""
        if time.monotonic() < self._next_try:
            return None
        try:
            driver = self._driver_class.open(
                self.store.get(self._driver_class.options),
                DriverContext(self._period, (self._joints[0], self._joints[1]), self),
            )
        except Exception as error:  # a binding of the hardware may raise anything
            self._fail(
                error
                if isinstance(error, UserError)
                else UserError(
                    f'the output {self.parameters.output} fails ({type(error).__name__}: {error})',
                    'check the hardware; it is tried again',
                )
            )
            return None
        self._limiter.restart()
        self._driver = GuardedDriver(driver, self._limiter, limp=self.parameters.on_stop == 'limp')
        self._problem, self._failures = None, 0
        return self._driver

    def _fail(self, problem: UserError) -> None:
        self.log_throttled(problem)
        self._problem = problem
        self._failures += 1
        self._next_try = time.monotonic() + Backoff().delay(self._failures)
        self._drop_driver()

    def _drop_driver(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()

    def _brake_to_rest(self) -> None:
        """Stop the motion within the limits before the driver is closed."""
        end = time.monotonic() + _MAX_BRAKING
        while self._driver is not None and time.monotonic() < end:
            with self._lock:
                if self._head.at_rest:
                    break
                command = self._head.brake(self._steady_clock.now())
            self._driver.write(command)
            time.sleep(self._period)

    def _next(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Follow the face with the next id in view."""
        with self._lock:
            identity = self._head.look_at_next()
        return _answer(response, identity, 'no face is in view')

    def _hold(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Stay with the present face until it is released."""
        with self._lock:
            identity = self._head.hold_target()
        return _answer(response, identity, 'no face is followed')

    def _release(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Select by the parameter target again."""
        with self._lock:
            self._head.release_target()
        response.success, response.message = True, f'target policy: {self.parameters.target}'
        return response


def _answer(response: Trigger.Response, identity: int | None, otherwise: str) -> Trigger.Response:
    response.success = identity is not None
    response.message = otherwise if identity is None else f'following track {identity}'
    return response


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [PanTiltNode()]


def main() -> int:
    """Run the pan-tilt node alone."""
    return run(build)
