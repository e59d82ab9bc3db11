# SPDX-License-Identifier: Apache-2.0
"""The executables, each in a process of its own, as on a robot."""

import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from vision_msgs.msg import Detection2DArray
from waiting import PATIENCE, pause, wait_until

from face_tracking import exit_codes
from face_tracking.nodes.image_messages import from_time

NODES = ('camera_node', 'detector_node', 'tracker_node')


def camera_of(folder, rate=10.0):
    """Return the parameters of a camera that shows a folder's images."""
    return {'camera': str(folder), 'width': 0, 'height': 0, 'frame_rate': rate, 'loop': True}


@pytest.fixture(scope='session')
def empty_album(tmp_path_factory):
    """Return a folder with an image without a face, of another size."""
    folder = tmp_path_factory.mktemp('empty')
    cv2.imwrite(str(folder / '1.png'), np.full((120, 200, 3), 60, np.uint8))
    return folder


def test_an_image_comes_back_as_a_track_with_its_own_stamp(probe, launch, model, portrait):
    detector = launch('detector_node', model=model, detect_interval=1)
    launch('tracker_node')
    probe.hear(Detection2DArray, 'faces/tracks')
    start, step = 1_234_567_890_123_456_789, 40_000_000
    message = probe.show_until(
        lambda: next((heard for heard in probe.heard['faces/tracks'] if heard.detections), None),
        portrait,
        start=start,
    )
    assert message.detections[0].id == '1' and message.header.frame_id == 'camera_optical_frame'
    stamps = [from_time(heard.header.stamp) for heard in probe.heard['faces/tracks']]
    assert all((stamp - start) % step == 0 for stamp in stamps)
    assert stamps == sorted(set(stamps))
    assert 'XML' not in detector.said()  # nor does Fast DDS find fault with config/fastdds.xml


def test_two_robots_on_one_domain_do_not_interfere(probe, launch, model, album, empty_album):
    for node, parameters in zip(
        NODES, (camera_of(album), {'model': model, 'detect_interval': 1}, {}), strict=True
    ):
        launch(node, namespace='left', **parameters)
    launch('pipeline', namespace='right', model=model, detect_interval=1, **camera_of(empty_album))
    probe.hear(Detection2DArray, 'left/faces/tracks', 'right/faces/tracks', 'faces/tracks')
    left, right = probe.heard['left/faces/tracks'], probe.heard['right/faces/tracks']
    probe.until(lambda: left and left[-1].detections and len(left) > 15 and len(right) > 15)
    assert not any(message.detections for message in right)
    assert not probe.heard['faces/tracks']
    probe.until(lambda: {'left/camera_node', 'right/camera_node'} <= set(probe.status))
    assert probe.value('left/camera_node', 'size') == '320x240'
    assert probe.value('right/camera_node', 'size') == '200x120'


def test_composed_has_the_nodes_topics_and_parameters_of_the_separate_ones(
    probe, launch, model, album
):
    def graph(namespace):
        node = probe.node
        names = {
            name
            for name, space in node.get_node_names_and_namespaces()
            if space == f'/{namespace}'
        }
        topics = {
            topic.removeprefix(f'/{namespace}/')
            for name in names
            for topic, _ in node.get_publisher_names_and_types_by_node(name, f'/{namespace}')
        }
        services = {
            service.removeprefix(f'/{namespace}/')
            for name in names
            for service, _ in node.get_service_names_and_types_by_node(name, f'/{namespace}')
        }
        return names, topics, services

    for node, parameters in zip(NODES, (camera_of(album), {'model': model}, {}), strict=True):
        launch(node, namespace='apart', **parameters)
    launch('pipeline', namespace='together', model=model, **camera_of(album))
    probe.until(lambda: graph('apart') == graph('together') and len(graph('apart')[0]) == 3)
    names, topics, services = graph('together')
    assert names == set(NODES)
    assert topics >= {
        'camera/image_raw',
        'camera/image_raw/compressed',
        'camera/camera_info',
        'faces/detections',
        'faces/tracks',
        'faces/annotated',
        'faces/annotated/compressed',
        'faces/markers',
        '/diagnostics',
    }
    assert services >= {'detector_node/enable', 'tracker_node/enable'}


@pytest.mark.parametrize(
    ('executable', 'name'),
    [*((node, signal.SIGINT) for node in (*NODES, 'pipeline')), ('pipeline', signal.SIGTERM)],
)
def test_a_signal_stops_it_without_a_traceback(probe, launch, model, album, executable, name):
    parameters = {
        'pipeline': {'model': model, **camera_of(album)},
        'detector_node': {'model': model},
        'camera_node': camera_of(album),
    }.get(executable, {})
    process = launch(executable, **parameters)
    expected = NODES if executable == 'pipeline' else [executable]
    probe.until(lambda: set(expected) <= set(probe.status))
    wait_until(
        lambda: process.poll() is not None,
        lambda: process.send_signal(name) or pause(),  # several, as ros2 launch and a terminal do
    )
    assert process.returncode == 0
    assert 'Traceback' not in process.said() and 'terminate' not in process.said()


def handles(pid, number):
    """Return whether a process has set a handler for a signal, as the nodes do first of all."""
    status = Path(f'/proc/{pid}/status').read_text()
    return int(status.partition('SigCgt:')[2].split()[0], 16) >> (number - 1) & 1


@pytest.mark.parametrize('delay', [0.0, 0.4, 0.8, 1.2, 1.6, 2.0])
def test_ctrl_c_within_the_first_seconds_ends_it_in_order(launch, model, delay):
    process = launch('detector_node', model=model)
    wait_until(lambda: handles(process.pid, signal.SIGTERM), state=process.said)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert 'Traceback' not in process.said()


def test_contradictory_values_end_it_with_the_code_that_respawn_does_not_answer(launch):
    process = launch('pan_tilt_node', pan_min=1.0, pan_max=-1.0)
    assert process.wait(PATIENCE) == exit_codes.CONFIGURATION
    assert 'cannot be configured' in process.said() and 'Traceback' not in process.said()


def test_a_signal_during_compilation_leaves_no_process(launch, model, tmp_path, monkeypatch):
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path))
    process = launch('detector_node', model=model, runtime='tvm')
    node = psutil.Process(process.pid)
    children = wait_until(node.children, state=process.said)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    psutil.wait_procs(children, timeout=PATIENCE)
    assert not any(child.is_running() for child in children)
    assert 'Traceback' not in process.said()


def test_a_mistake_on_the_command_line_is_one_line(probe, launch, album, model):
    process = launch('pipeline', model=model, score_treshold=0.5, max_faces=-3, **camera_of(album))
    probe.until(lambda: set(NODES) <= set(probe.status))
    said = process.said()
    assert said.count('score_treshold') == 1 and 'did you mean score_threshold?' in said
    assert said.count('max_faces is -3: set it to') == 1
    assert 'no parameter model' not in said


def test_invalid_ros_arguments_are_a_configuration_error(launch):
    process = launch('camera_node', remap=['no rule'])
    assert process.wait(PATIENCE) == exit_codes.CONFIGURATION
    assert 'the ROS arguments cannot be used' in process.said().splitlines()[-1]
    assert 'Traceback' not in process.said()


def test_an_invalid_namespace_is_a_configuration_error(launch):
    process = launch('tracker_node', namespace='1 robot')
    assert process.wait(PATIENCE) == exit_codes.CONFIGURATION
    assert 'Traceback' not in process.said()


def test_a_video_that_ends_leaves_the_pipeline_up(probe, launch, model, album):
    process = launch('pipeline', model=model, **{**camera_of(album), 'loop': False})
    probe.until(lambda: 'end' in probe.says('camera_node')[1])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
