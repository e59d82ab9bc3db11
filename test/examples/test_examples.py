# SPDX-License-Identifier: Apache-2.0
"""The examples run as their users run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import rclpy
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray
from waiting import PATIENCE, wait_until

from face_tracking.child_process import end_processes
from face_tracking.faces import Tracks
from face_tracking.nodes.messages import tracks_to_message

ROOT = Path(__file__).resolve().parents[2]
TRACKS = 'faces/tracks'
EXAMPLES = sorted((ROOT / 'examples').glob('*.py'))


@pytest.fixture
def run(tmp_path, ros_domain):
    """Return a function that starts an example, its output in a file; all are ended."""
    started = []

    def start(name: str, *words: str) -> subprocess.Popen:
        output = open(tmp_path / f'{name}.txt', 'w')
        command = [sys.executable, str(ROOT / 'examples' / name), *words]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path)
        process.said = lambda: (tmp_path / f'{name}.txt').read_text()
        started.append(process)
        return process

    yield start
    end_processes(*started, timeout=30)  # rclpy may miss a signal while it starts


@pytest.fixture
def node(ros_domain):
    """Return a node of the test's own."""
    rclpy.init(domain_id=ros_domain)
    made = rclpy.create_node('examples')
    yield made
    made.destroy_node()
    rclpy.shutdown()


def tracks_of(*faces: tuple[int, float]) -> Detection2DArray:
    """Return a message with faces of (id, height)."""
    import numpy as np

    count = len(faces)
    boxes = np.array([[10, 10, 50, 10 + height] for _, height in faces], np.float32)
    tracks = Tracks(
        ids=np.array([number for number, _ in faces], np.int64),
        boxes=boxes.reshape(count, 4),
        scores=np.full(count, 0.9, np.float32),
    )
    return tracks_to_message(tracks, Header())


def publish_until(node, topic, message, condition):
    """Publish a message until a condition holds."""
    publisher = node.create_publisher(type(message), topic, 10)

    def step():
        publisher.publish(message)
        rclpy.spin_once(node, timeout_sec=0.1)

    wait_until(condition, step)


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.name)
def test_example_is_short_and_says_how_to_run_it(path):
    text = path.read_text()
    assert f'examples/{path.name}' in text
    assert len(text.splitlines()) <= 70


def test_six_examples():
    assert len(EXAMPLES) == 6


def test_nearest_person_is_greeted(run, node):
    process = run('greet_nearest.py')
    publish_until(node, TRACKS, tracks_of((3, 40.0), (8, 90.0)), lambda: process.said())
    assert process.said() == 'Hello, 8!\n'


def test_people_are_counted(run, node):
    process = run('count_people.py')
    publish_until(
        node, TRACKS, tracks_of((3, 40.0), (8, 90.0)), lambda: '2 in view' in process.said()
    )


def test_head_follows_the_requested_id(run, node):
    from face_tracking.nodes.pan_tilt_node import PanTiltNode

    head = PanTiltNode()
    process = run('follow_id.py', '7')
    try:
        wait_until(
            lambda: process.poll() is not None,
            lambda: rclpy.spin_once(head, timeout_sec=0.05),
            process.said,
        )
        assert process.said() == 'the head follows 7\n'
        assert (head.parameters.target, head.parameters.target_id) == ('id', 7)
    finally:
        head.destroy_node()


def test_detector_runs_without_ros(run, portraits, tmp_path):
    for index, (image, _) in enumerate(portraits):
        cv2.imwrite(str(tmp_path / f'{index}.png'), image)
    process = run('detect_without_ros.py', str(tmp_path))
    assert process.wait(PATIENCE) == 0, process.said()
    assert process.said().count('1 faces') == 2, process.said()


def test_own_camera_delivers_frames(run):
    process = run('own_camera.py')
    assert process.wait(PATIENCE) == 0, process.said()
    assert len(process.said().splitlines()) == 5
    assert process.said().startswith('0 [[')


def test_react_to_events(run, node):
    from std_msgs.msg import String

    from face_tracking.events.event import FaceEvent
    from face_tracking.events.event_json import event_to_json

    process = run('react_to_events.py')
    event = FaceEvent('left', 10**18, '3', 1, 'Ada', 0.9, duration=12.4)
    publish_until(
        node,
        'faces/events/json',
        String(data=event_to_json(event)),
        lambda: 'Ada left after 12 s' in process.said(),
    )
