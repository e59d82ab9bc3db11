# SPDX-License-Identifier: Apache-2.0
"""The recorder node writes what is published."""

from __future__ import annotations

import time

import pytest
from action_messages import tracks
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

pytest.importorskip('rosbags', reason='needs rosbags')

from face_tracking.nodes.recorder_node import Backlog, RecorderNode
from face_tracking.recording.bag_reader import Deserializer, read_messages


def test_tracks_events_and_images_are_recorded(probe, make, tmp_path):
    node = make(RecorderNode, record_folder=str(tmp_path), record_images=True)
    probe.publisher(Detection2DArray, 'faces/tracks').publish(tracks(5, '7'))
    probe.publisher(String, 'faces/events/json').publish(String(data='{"event": "arrived"}'))
    probe.publisher(CompressedImage, 'camera/image_raw/compressed').publish(
        CompressedImage(format='jpeg', data=b'\xff\xd8')
    )
    probe.until(lambda: probe.value('recorder_node', 'written') == '3')
    assert node.close()
    started = time.monotonic()
    assert node.close(), 'as when the process ends, after the node has been shut down'
    assert time.monotonic() - started < 4, 'it does not wait for a worker that has ended'
    messages = {message.topic: message for message in read_messages(tmp_path)}
    assert set(messages) == {'/faces/tracks', '/faces/events/json', '/camera/image_raw/compressed'}
    assert Deserializer().read(messages['/faces/tracks']).detections[0].id == '7'


def test_what_waits_for_a_slow_disk_is_bounded_in_number_and_size():
    backlog = Backlog(3, 100)
    assert [backlog.add(size) for size in (60, 60, 40, 0, 0)] == [True, False, True, True, False]
    backlog.remove(60)
    assert backlog.add(60) and backlog.dropped == 2


def test_recording_is_paused_and_continued(probe, make, tmp_path):
    make(RecorderNode, record_folder=str(tmp_path))
    probe.publisher(String, 'faces/events/json').publish(String(data='one'))
    probe.until(lambda: probe.value('recorder_node', 'written') == '1')
    assert probe.enable('recorder_node', False).message == 'paused'
    probe.until(lambda: list(tmp_path.glob('*/metadata.yaml')))
    assert [message.data[8:11] for message in read_messages(tmp_path)] == [b'one']
    assert probe.enable('recorder_node', True).success
    probe.publisher(String, 'faces/events/json').publish(String(data='three'))
    probe.until(lambda: probe.value('recorder_node', 'written') == '2')


def test_second_recorder_of_a_folder_is_an_error_until_the_first_ends(probe, make, tmp_path):
    first = make(RecorderNode, record_folder=str(tmp_path))
    probe.publisher(String, 'faces/events/json').publish(String(data='one'))
    probe.until(lambda: probe.value('recorder_node', 'written') == '1')
    second = make(RecorderNode, wait=False, record_folder=str(tmp_path), record_images=False)
    probe.until(lambda: 'another program records to' in probe.says('recorder_node')[1])
    assert first.close() and first.written == 1
    probe.until(lambda: second.active)


def test_track_rate_bounds_what_is_written(probe, make, tmp_path):
    make(RecorderNode, record_folder=str(tmp_path), track_rate=2.0)
    publisher = probe.publisher(Detection2DArray, 'faces/tracks')
    began = time.monotonic()

    def written():
        publisher.publish(tracks(5, '7'))
        probe.spin_for(0.02)
        return int(probe.value('recorder_node', 'written'))

    probe.until(lambda: written() >= 3)
    assert written() <= 1 + (time.monotonic() - began) * 2.0 / 0.9


def test_full_disk_is_an_error_and_is_survived(probe, make, tmp_path):
    make(RecorderNode, record_folder=str(tmp_path), minimum_free_mb=10_000_000)
    publisher = probe.publisher(String, 'faces/events/json')
    publisher.publish(String(data='one'))
    probe.until(lambda: 'the recording pauses' in probe.says('recorder_node')[1])
    assert not list(tmp_path.glob('faces_*'))


def test_folder_that_cannot_be_made_is_one_clear_line(probe, make, tmp_path):
    (tmp_path / 'file').touch()
    make(RecorderNode, wait=False, record_folder=str(tmp_path / 'file' / 'sub'))
    probe.until(lambda: 'cannot be made' in probe.says('recorder_node')[1])
