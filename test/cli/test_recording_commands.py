# SPDX-License-Identifier: Apache-2.0
"""``record``, ``play`` and ``presence`` as processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import pytest
import rclpy
from action_messages import detections, tracks
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray
from waiting import PATIENCE, wait_until

pytest.importorskip('rosbags', reason='needs rosbags')

from face_tracking.recording.bag_reader import Deserializer, read_messages


@pytest.fixture
def node(ros_domain):
    rclpy.init(domain_id=ros_domain)
    node = rclpy.create_node('recording_test')
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def start(*words):
    return subprocess.Popen(
        [sys.executable, '-m', 'face_tracking.cli.main', *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def wait_for(condition, node):
    return wait_until(condition, lambda: rclpy.spin_once(node, timeout_sec=0.02))


def test_recording_is_played_again_and_drawn(node, tmp_path):
    folder = tmp_path / 'recording'
    people = node.create_publisher(Detection2DArray, 'faces/people', 10)
    faces = node.create_publisher(Detection2DArray, 'faces/tracks', 10)
    written = {}
    node.create_subscription(
        DiagnosticArray,
        '/diagnostics',
        lambda message: [
            written.update({entry.key: entry.value for entry in status.values})
            for status in message.status
            if status.name == 'recorder_node'
        ],
        10,
    )
    record = start('record', folder, '--minimum-free-mb', 1)
    numbers = iter(range(1, 10**6))

    def publish():
        stamp = time.time_ns()
        people.publish(detections(stamp, ('1', 'person:Ada', 0.9)))
        faces.publish(tracks(stamp, str(next(numbers))))
        rclpy.spin_once(node, timeout_sec=0.05)

    # The recorder tells how much it has written in its diagnostics.
    wait_until(lambda: int(written.get('written', '0')) >= 40, publish, lambda: written)
    record.send_signal(signal.SIGINT)
    out, errors = record.communicate(timeout=PATIENCE)
    assert record.returncode == 0, errors
    assert int(re.search(r'(\d+) messages', out)[1]) >= 40
    recorded = [
        Deserializer().read(message).detections[0].id
        for message in read_messages(folder)
        if message.topic == '/faces/tracks'
    ]

    heard = []
    node.create_subscription(
        Detection2DArray, 'faces/tracks', lambda message: heard.append(message), 100
    )
    play = start('play', folder, '--topic', '/faces/tracks', '--rate', 2, '--settle', 10)
    wait_for(lambda: len(heard) == len(recorded), node)
    assert [message.detections[0].id for message in heard] == recorded
    out, errors = play.communicate(timeout=PATIENCE)
    assert play.returncode == 0 and f'{len(recorded)} messages were published' in out, errors

    plot = tmp_path / 'day.svg'
    done = start('presence', folder, '--plot', plot)
    out, errors = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0 and 'Ada' in out, errors
    assert 'Ada' in [item.text for item in ElementTree.parse(plot).getroot().findall('.//{*}text')]


def test_recording_without_messages_is_reported(node, tmp_path):
    publisher = node.create_publisher(String, 'faces/events/json', 10)
    record = start('record', tmp_path / 'r')
    wait_for(publisher.get_subscription_count, node)
    record.send_signal(signal.SIGINT)
    out, _ = record.communicate(timeout=PATIENCE)
    assert record.returncode == 1 and '0 messages' in out


@pytest.mark.parametrize('command', ['play', 'presence'])
def test_missing_recording_is_one_clear_line(tmp_path, command):
    done = start(command, tmp_path / 'nowhere')
    _, errors = done.communicate(timeout=PATIENCE)
    assert done.returncode == 2
    assert 'contains no recording' in errors and 'Traceback' not in errors
