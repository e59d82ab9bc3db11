# SPDX-License-Identifier: Apache-2.0
"""Bags rotate, never fill the disk, and are read again."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import xml.etree.ElementTree as ElementTree
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_tracking.errors import UserError
from face_tracking.recording.bag_folder import BagFolder, RecordingLimits, find_bags
from face_tracking.recording.bag_reader import Deserializer, RecordedMessage, read_messages
from face_tracking.recording.bag_recorder import BagRecorder
from face_tracking.recording.presence import Interval, draw_day, find_intervals, read_presence

pytest.importorskip('rosbags', reason='needs rosbags')
pytest.importorskip('rclpy', reason='needs ROS 2')
TOPIC, TRACKS = '/note', '/faces/tracks'
TYPES = {TOPIC: 'std_msgs/msg/String'}
SECOND = 10**9


def serialized(text):
    from rclpy.serialization import serialize_message
    from std_msgs.msg import String

    return bytes(serialize_message(String(data=text)))


def faces_message(*names):
    from rclpy.serialization import serialize_message
    from vision_msgs.msg import (
        Detection2D,
        Detection2DArray,
        ObjectHypothesis,
        ObjectHypothesisWithPose,
    )

    return bytes(
        serialize_message(
            Detection2DArray(
                detections=[
                    Detection2D(
                        id=str(number),
                        results=[
                            ObjectHypothesisWithPose(
                                hypothesis=ObjectHypothesis(class_id=name, score=0.9)
                            )
                        ],
                    )
                    for number, name in enumerate(names, 1)
                ]
            )
        )
    )


def record(folder, count, limits=None, size=0, **more):
    recorder = BagRecorder(folder, TYPES, limits, **more)
    for number in range(count):
        recorder.write(TOPIC, serialized(f'{number} ' + 'x' * size), SECOND + number)
    return recorder


def test_messages_are_read_as_they_were_written(tmp_path):
    record(tmp_path / 'r', 5).close()
    messages = list(read_messages(tmp_path / 'r'))
    assert [(message.topic, message.stamp - SECOND) for message in messages] == [
        (TOPIC, number) for number in range(5)
    ]
    assert Deserializer().read(messages[3]).data == '3 '


def test_types_that_rosbags_does_not_know_are_found(tmp_path):
    recorder = BagRecorder(tmp_path, {TRACKS: 'vision_msgs/msg/Detection2DArray'})
    recorder.write(TRACKS, faces_message('face', 'face'), SECOND)
    recorder.close()
    (message,) = read_messages(tmp_path)
    assert [face.id for face in Deserializer().read(message).detections] == ['1', '2']


def test_bag_rotates_by_size(tmp_path):
    record(tmp_path, 40, RecordingLimits(bag_bytes=10_000), size=1000).close()
    bags = find_bags(tmp_path)
    assert len(bags) == 4
    assert len(list(read_messages(tmp_path))) == 40


def test_bag_rotates_by_age(tmp_path):
    recorder = record(tmp_path, 1, RecordingLimits(bag_seconds=0.05))
    time.sleep(0.1)
    recorder.write(TOPIC, serialized('later'), 2 * SECOND)
    recorder.close()
    assert len(find_bags(tmp_path)) == 2


def test_oldest_bags_give_way(tmp_path, monkeypatch):
    monkeypatch.setattr('face_tracking.recording.bag_recorder._CHECK_PERIOD', 0.0)
    limits = RecordingLimits(bag_bytes=100_000, total_bytes=6_000_000, free_bytes=0)
    record(tmp_path, 200, limits, size=20_000).close()
    total = sum(path.stat().st_size for path in tmp_path.rglob('*') if path.is_file())
    assert total <= limits.total_bytes
    assert b'199 ' in list(read_messages(tmp_path))[-1].data


def test_old_bags_are_removed_by_age(tmp_path):
    record(tmp_path, 1).close()
    (bag,) = find_bags(tmp_path)
    os.utime(bag, (1_600_000_000, 1_600_000_000))
    assert BagFolder(tmp_path, RecordingLimits(keep_seconds=60, free_bytes=0)).make_room(None)
    assert not bag.exists()


@pytest.mark.parametrize('jump', [86400.0 * 365, -86400.0 * 365])
def test_clock_that_is_set_removes_nothing_and_keeps_the_order(tmp_path, monkeypatch, jump):
    clock = [time.time()]
    monkeypatch.setattr(time, 'time', lambda: clock[0])
    limits = RecordingLimits(keep_seconds=86400, free_bytes=0)
    bags = BagFolder(tmp_path, limits, clock=lambda: clock[0])
    record(tmp_path, 1, limits, bags=bags).close()
    clock[0] += jump
    record(tmp_path, 1, limits, bags=bags).close()
    assert bags.make_room(None)
    first, second = find_bags(tmp_path)
    assert (tmp_path / first.name).stat().st_mtime <= (tmp_path / second.name).stat().st_mtime
    bags.release()
    BagFolder(tmp_path, RecordingLimits(total_bytes=1, free_bytes=0)).make_room(second)
    assert find_bags(tmp_path) == [second]


def test_full_disk_pauses_and_recovers(tmp_path, monkeypatch):
    monkeypatch.setattr('face_tracking.recording.bag_recorder._CHECK_PERIOD', 0.0)
    space = [10**10]
    limits = RecordingLimits(free_bytes=10**9)
    bags = BagFolder(tmp_path, limits, lambda folder: space[0])
    recorder = record(tmp_path, 3, limits, bags=bags)
    space[0] = 10**8
    with pytest.raises(UserError, match='the recording pauses'):
        recorder.write(TOPIC, serialized('x'), 2 * SECOND)
    recorder.write(TOPIC, serialized('x'), 2 * SECOND)
    assert recorder.dropped == 1
    space[0] = 10**10
    recorder.write(TOPIC, serialized('back'), 3 * SECOND)
    recorder.close()
    assert b'back' in list(read_messages(tmp_path))[-1].data


def test_write_error_is_one_clear_line(tmp_path, monkeypatch):
    recorder = record(tmp_path, 1)

    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(recorder._writer, 'write', fail)
    with pytest.raises(UserError, match='No space left'):
        recorder.write(TOPIC, serialized('x'), SECOND)


def test_folder_is_recorded_to_by_one_program_at_a_time(tmp_path):
    bags = BagFolder(tmp_path, RecordingLimits())
    with pytest.raises(UserError, match='another program records to'):
        BagFolder(tmp_path, RecordingLimits())
    bags.release()
    bags.release()
    BagFolder(tmp_path, RecordingLimits())


def test_bags_that_others_remove_meanwhile_are_one_clear_line(tmp_path):
    recorder = BagRecorder(tmp_path / 'bags', TYPES, RecordingLimits(free_bytes=0))
    recorder.write(TOPIC, serialized('one'), 1)
    shutil.rmtree(tmp_path / 'bags')
    with pytest.raises(UserError, match='No such file or directory: see which program'):
        recorder.close()
    recorder._checked = float('-inf')  # look at the disk now
    recorder.write(TOPIC, serialized('two'), 2)
    recorder.close()
    assert [message.stamp for message in read_messages(tmp_path / 'bags')] == [2]


def test_other_files_are_never_removed(tmp_path):
    other = tmp_path / 'faces_20200101T000000Z'
    other.mkdir()
    (other / 'holiday.jpg').write_bytes(b'x' * 1000)
    (tmp_path / 'notes.txt').write_text('x')
    (tmp_path / 'faces_20200102T000000Z').symlink_to('/usr')
    BagFolder(tmp_path, RecordingLimits(total_bytes=0, free_bytes=0)).make_room(None)
    assert (other / 'holiday.jpg').exists() and (tmp_path / 'notes.txt').exists()
    assert (tmp_path / 'faces_20200102T000000Z').is_symlink()


def test_unfinished_bag_is_skipped(tmp_path):
    record(tmp_path, 2).close()
    broken = tmp_path / 'faces_20200101T000000Z'
    broken.mkdir()
    (broken / f'{broken.name}.mcap').write_bytes(b'\x89MCAP0\r\n')
    assert len(list(read_messages(tmp_path))) == 2


@given(st.integers(0, 2000), st.integers(0, 255))
def test_damaged_bag_is_one_clear_line(tmp_path_factory, place, value):
    folder = tmp_path_factory.mktemp('damaged')
    record(folder, 5).close()
    (bag,) = find_bags(folder)
    path = bag / f'{bag.name}.mcap'
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        list(read_messages(folder))


def test_missing_recording_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match='contains no recording'):
        list(read_messages(tmp_path / 'nowhere'))


def test_missing_definition_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match='install other_msgs'):
        BagRecorder(tmp_path, {'/x': 'other_msgs/msg/Strange'})


def test_damaged_message_is_one_clear_line():
    with pytest.raises(UserError, match='damaged'):
        Deserializer().read(RecordedMessage('/x', 'std_msgs/msg/String', 0, b'\0\1\0\0\xff'))


def test_intervals_bridge_short_gaps():
    samples = [(0.0, {'Ada'}), (1.0, {'Ada', 'Bob'}), (20.0, {'Ada'}), (100.0, {'Ada'})]
    assert find_intervals(samples) == {
        'Ada': [Interval(0.0, 20.0), Interval(100.0, 100.0)],
        'Bob': [Interval(1.0, 1.0)],
    }


def test_presence_is_read_from_people_and_drawn(tmp_path):
    people = '/faces/people'
    recorder = BagRecorder(tmp_path, {people: 'vision_msgs/msg/Detection2DArray'})
    start = datetime(2026, 11, 25, 9, 0).timestamp()
    for second in range(600):
        names = ['person:<Ada & Co>'] if second < 300 else ['unknown']
        recorder.write(people, faces_message(*names), int((start + second) * SECOND))
    recorder.close()
    presence = read_presence(tmp_path, people, TRACKS)
    assert presence['<Ada & Co>'][0].end - presence['<Ada & Co>'][0].start == pytest.approx(
        299, abs=2
    )
    svg = draw_day(presence, datetime(2026, 11, 25, 12))
    texts = [item.text for item in ElementTree.fromstring(svg).findall('.//{*}text')]
    assert '<Ada & Co>' in texts and 'unknown' in texts
    empty = draw_day(presence, datetime(2026, 11, 26, 12))
    assert 'no people recorded' in empty


def test_names_that_are_none_count_as_unknown(tmp_path):
    people = '/faces/people'
    recorder = BagRecorder(tmp_path, {people: 'vision_msgs/msg/Detection2DArray'})
    garbage = ('person:', 'person:a\nb', 'person:\x1b[2J', 'person:' + 'x' * 100)
    recorder.write(people, faces_message(*garbage), SECOND)
    recorder.close()
    assert set(read_presence(tmp_path, people, TRACKS)) == {'unknown'}


def test_presence_is_read_from_tracks_where_nobody_was_recognized(tmp_path):
    recorder = BagRecorder(tmp_path, {TRACKS: 'vision_msgs/msg/Detection2DArray'})
    recorder.write(TRACKS, faces_message('face'), SECOND)
    recorder.close()
    assert set(read_presence(tmp_path, '/faces/people', TRACKS)) == {'unknown'}
