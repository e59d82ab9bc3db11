# SPDX-License-Identifier: Apache-2.0
"""Tracks are born, carried, kept and dropped as the options say, whatever comes in."""

import dataclasses
import threading

import numpy as np
import pytest
from scripted_scene import FACE, INTERVAL, detections

from face_tracking.errors import UserError
from face_tracking.tracking.optical_flow import Warp
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions

BLIND = TrackerOptions(visual_tracker='none')


def test_an_id_takes_min_hits_and_outlives_max_misses():
    options = TrackerOptions(
        visual_tracker='none', min_hits=3, max_misses=2, max_time_since_update=5.0
    )
    tracker, counts = FaceTracker(options), []
    for k in range(10):
        tracker.add_detections(detections(k * INTERVAL, *([FACE] if k < 5 else []), score=0.8))
        counts.append(len(tracker.step(None, k * INTERVAL)))
    assert counts == [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]


def test_ids_count_up_and_are_not_reused():
    tracker, seen = FaceTracker(BLIND), []
    for k in range(60):
        here = FACE + 300 * (k // 20)
        tracker.add_detections(detections(k * INTERVAL, here))
        seen += tracker.step(None, k * INTERVAL).ids.tolist()
    assert list(dict.fromkeys(seen)) == [1, 2, 3]


def test_a_track_that_is_not_detected_ends_in_time_even_without_detections():
    tracker = FaceTracker(TrackerOptions(visual_tracker='none', max_time_since_update=0.5))
    for k in range(3):
        tracker.add_detections(detections(k * INTERVAL, FACE))
        tracker.step(None, k * INTERVAL)
    assert len(tracker.step(None, 10 * INTERVAL)) == 1
    assert len(tracker.step(None, 18 * INTERVAL)) == 0


def walk(late):
    """Follow a face that moves 6 pixels a frame, its detections ``late`` frames late."""
    tracker, waiting, tracks = FaceTracker(BLIND), {}, None
    for k in range(41):
        if k % 5 == 0:
            waiting[k + late] = detections(k * INTERVAL, FACE + 6 * k)
        if k in waiting:
            tracker.add_detections(waiting[k])
        tracks = tracker.step(None, k * INTERVAL)
    return tracks


@pytest.mark.parametrize('late', [1, 3, 7])
def test_late_detections_are_fused_where_they_belong(late):
    """At frame 40 the in-time tracker has a detection that the late one has not yet."""
    tracker, waiting = FaceTracker(BLIND), {}
    for k in range(48):
        if k % 5 == 0 and k <= 40:
            waiting[k + late] = detections(k * INTERVAL, FACE + 6 * k)
        if k in waiting:
            tracker.add_detections(waiting[k])
        tracks = tracker.step(None, k * INTERVAL)
    in_time = FaceTracker(BLIND)
    for k in range(48):
        if k % 5 == 0 and k <= 40:
            in_time.add_detections(detections(k * INTERVAL, FACE + 6 * k))
        expected = in_time.step(None, k * INTERVAL)
    np.testing.assert_allclose(tracks.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(tracks.boxes[0], FACE + 6 * 47, atol=12)
    assert tracks.ids.tolist() == expected.ids.tolist() == [1]


def test_a_late_detection_of_a_fast_face_does_not_pull_it_back():
    fast = walk(late=4).boxes[0]
    assert abs(fast - (FACE + 6 * 40)).max() < 12


def test_predict_looks_ahead_and_changes_nothing():
    tracker = FaceTracker(BLIND)
    for k in range(30):
        tracker.add_detections(detections(k * INTERVAL, FACE + 4 * k))
        now = tracker.step(None, k * INTERVAL)
    ahead = tracker.predict(now.stamp + 2 * INTERVAL)
    np.testing.assert_allclose(ahead.boxes[0], FACE + 4 * 31, atol=2)
    np.testing.assert_allclose(now.velocities[0], 4e9 / INTERVAL, rtol=0.1)
    np.testing.assert_array_equal(tracker.predict(now.stamp).boxes, now.boxes)
    assert ahead.time_since_update[0] == pytest.approx(2 / 30, rel=1e-3)


@pytest.mark.parametrize('jump', [-3600 * 10**9, -5 * INTERVAL, -(29 * INTERVAL), 0])
def test_a_clock_set_back_keeps_the_tracks(jump):
    tracker = FaceTracker(BLIND)
    for k in range(30):
        tracker.add_detections(detections(k * INTERVAL, FACE))
        tracker.step(None, k * INTERVAL)
    base = 29 * INTERVAL + jump
    for k in range(5):
        tracker.add_detections(detections(base + k * INTERVAL, FACE))
        tracks = tracker.step(None, base + k * INTERVAL)
        assert tracks.ids.tolist() == [1]
        assert tracks.stamp == base + k * INTERVAL
        assert tracks.time_since_update[0] == 0
        assert tracks.ages[0] > 0.9


def test_detections_from_before_the_clock_was_set_are_refused():
    tracker = FaceTracker(BLIND)
    for k in range(5):
        tracker.add_detections(detections(10**12 + k * INTERVAL, FACE))
        tracker.step(None, 10**12 + k * INTERVAL)
    tracker.step(None, 0)
    tracker.add_detections(detections(10**12, FACE + 200))
    tracker.step(None, INTERVAL)
    assert tracker.too_late == 1


def test_a_new_resolution_keeps_the_ids(astronaut):
    tracker = FaceTracker(BLIND)
    small = np.ascontiguousarray(astronaut[::2, ::2])
    for k in range(6):
        image, box = (astronaut, FACE) if k < 3 else (small, FACE / 2)
        tracker.add_detections(detections(k * INTERVAL, box))
        tracks = tracker.step(image, k * INTERVAL)
    assert tracks.ids.tolist() == [1]
    np.testing.assert_allclose(tracks.boxes[0], FACE / 2, atol=3)


@pytest.mark.parametrize(
    'box',
    [
        [np.nan, 0, 10, 10],
        [0, 0, np.inf, 10],
        [10, 10, 0, 0],
        [5, 5, 5, 5],
        [-1e9, -1e9, 1e9, 1e9],
        [600, 600, 700, 700],
        [-200, -200, -100, -100],
    ],
)
def test_impossible_boxes_are_dropped(astronaut, box):
    tracker = FaceTracker(BLIND)
    for k in range(4):
        tracker.add_detections(detections(k * INTERVAL, box, FACE))
        tracks = tracker.step(astronaut, k * INTERVAL)
    assert len(tracks) == 1
    np.testing.assert_allclose(tracks.boxes[0], FACE, atol=1)


@pytest.mark.parametrize(
    'image',
    [np.zeros((0, 0, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_invalid_image_is_refused_and_tracks_are_kept(image):
    tracker = FaceTracker(BLIND)
    with pytest.raises(UserError, match='cannot be tracked'):
        tracker.step(image, 0)
    assert len(tracker.step(None, 0)) == 0


@pytest.mark.parametrize('kind', ['flow', 'kcf', 'csrt', 'mosse'])
def test_a_visual_tracker_follows_what_the_motion_model_cannot_know(shifted_face, kind):
    """After the last detection the face turns back; only the image shows it."""
    found = {}
    for name in (kind, 'none'):
        tracker = FaceTracker(TrackerOptions(visual_tracker=name))
        for k in range(16):
            offset = 5 * min(k, 20 - k)
            image, box = shifted_face(offset)
            if k <= 10:
                tracker.add_detections(detections(k * INTERVAL, box))
            tracks = tracker.step(image, k * INTERVAL)
        found[name] = abs(tracks.boxes[0] - box).max()
    assert found[kind] < 10 < found['none']


def test_options_change_while_running(astronaut):
    tracker = FaceTracker(BLIND)
    for k in range(9):
        if k == 3:
            tracker.configure(dataclasses.replace(BLIND, visual_tracker='mosse'))
        if k == 6:
            tracker.configure(dataclasses.replace(BLIND, score_threshold=0.92))
        tracker.add_detections(detections(k * INTERVAL, FACE, FACE + 200))
        tracks = tracker.step(astronaut, k * INTERVAL)
        assert tracker.options.visual_tracker == ('mosse' if 3 <= k < 6 else 'none')
    assert tracks.ids.tolist() == [1, 2]


def test_detections_may_come_from_another_thread():
    tracker = FaceTracker(BLIND)
    stamps = [k * INTERVAL for k in range(200)]
    tracker.step(None, 0)

    def detect():
        for stamp in stamps:
            tracker.add_detections(detections(stamp, FACE))

    other = threading.Thread(target=detect)
    other.start()
    for stamp in stamps[1:]:
        tracks = tracker.step(None, stamp)
    other.join()
    tracks = tracker.predict(stamps[-1])
    assert set(tracks.ids.tolist()) <= {1, 2, 3}


def test_many_visitors_do_not_fill_the_track_table(astronaut):
    """Many come and go; what is kept of them is bounded, and the last gets an id, too."""
    tracker = FaceTracker(TrackerOptions(visual_tracker='none', camera_motion=False, max_tracks=8))
    rng = np.random.default_rng(0)
    for visit in range(25):
        place = rng.uniform(0, 380, 2)
        box = np.concatenate([place, place + np.array([90, 110])])
        for k in range(16):
            stamp = (visit * 20 + k) * INTERVAL
            tracker.add_detections(detections(stamp, box))
            tracks = tracker.step(astronaut, stamp)
        assert abs(tracks.boxes - box).max(axis=1).min() < 10
        assert tracker.track_count <= 16
        assert len(tracker._history) <= 100


def test_more_faces_than_max_tracks_are_left_alone():
    tracker = FaceTracker(TrackerOptions(visual_tracker='none', max_tracks=3))
    boxes = [[x, 10, x + 50, 70] for x in range(0, 600, 100)]
    for k in range(5):
        tracker.add_detections(detections(k * INTERVAL, *boxes))
        tracks = tracker.step(None, k * INTERVAL)
    assert len(tracks) == 3


def test_a_panning_camera_moves_a_standing_face_and_the_velocity_says_so(astronaut):
    tracker, wide = FaceTracker(), np.hstack([astronaut[:, ::-1], astronaut, astronaut[:, ::-1]])
    for k in range(20):
        box = FACE + np.array([200 - 6 * k, 0, 200 - 6 * k, 0])
        if k % 5 == 0:
            tracker.add_detections(detections(k * INTERVAL, box))
        tracks = tracker.step(
            np.ascontiguousarray(wide[:, 312 + 6 * k : 952 + 6 * k]), k * INTERVAL
        )
    np.testing.assert_allclose(tracks.boxes[0], box, atol=2)
    np.testing.assert_allclose(tracks.velocities[0], [-180, 0], atol=12)
    ahead = tracker.predict(tracks.stamp + 2 * INTERVAL)
    np.testing.assert_allclose(ahead.boxes[0], box - [12, 0, 12, 0], atol=2.5)


def test_joint_states_replace_missing_image_motion():
    """Before a blank wall only the rig knows that the camera turns."""
    blank, boxes = np.full((480, 640, 3), 128, np.uint8), {}
    for known in (False, True):
        tracker = FaceTracker()
        for k in range(10):
            if k < 3:
                tracker.add_detections(detections(k * INTERVAL, FACE))
            shift = Warp(np.eye(2), np.array([8.0, 0])) if known and k >= 3 else None
            tracks = tracker.step(blank, k * INTERVAL, shift)
        boxes[known] = tracks.boxes[0]
    np.testing.assert_allclose(boxes[True], FACE + np.array([56, 0, 56, 0]), atol=1)
    np.testing.assert_allclose(boxes[False], FACE, atol=1)
