# SPDX-License-Identifier: Apache-2.0
"""What holds whatever comes in: random boxes, scores, stamps and orders."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_scene import INTERVAL

from face_tracking.faces import Detections
from face_tracking.time_units import SECOND
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions

OPTIONS = TrackerOptions(visual_tracker='none', reid_timeout=3.0, max_time_since_update=0.5)
NUMBER = st.one_of(
    st.floats(-200, 900, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0])
)
FINITE = st.integers(0, 500)
SHIFTS = st.sampled_from(
    [
        0,
        INTERVAL,
        INTERVAL,
        INTERVAL,
        INTERVAL,
        5 * INTERVAL,
        40 * INTERVAL,
        -INTERVAL,
        -1000 * INTERVAL,
        10**17,
        -(10**17),
    ]
)
LATE = st.sampled_from([0, 0, 0, -INTERVAL, -3 * INTERVAL, 2 * INTERVAL, 10**15, -(10**15)])
EXAMPLES = settings(max_examples=25, deadline=None)


def wild_boxes():
    return st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, NUMBER), max_size=6)


def tame_boxes():
    """Return a strategy for boxes that a detector could report, and their scores."""

    def box(x, y, width, height, score):
        return x, y, x + width, y + height, score

    return st.lists(
        st.builds(
            box,
            FINITE,
            FINITE,
            st.integers(20, 120),
            st.integers(20, 120),
            st.sampled_from([0.4, 0.75, 0.8, 0.9]),
        ),
        max_size=6,
    )


def as_detections(stamp, rows):
    values = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(
        stamp, values[:, :4], values[:, 4], np.full((len(values), 5, 2), np.nan, np.float32)
    )


def assert_sane(tracks, stamp):
    assert tracks.stamp == stamp
    assert len(set(tracks.ids.tolist())) == len(tracks)
    assert (tracks.ids > 0).all()
    for values in (
        tracks.boxes,
        tracks.velocities,
        tracks.ages,
        tracks.time_since_update,
        tracks.scores,
    ):
        assert np.isfinite(values).all()
    assert (tracks.boxes[:, 2:] > tracks.boxes[:, :2]).all()
    assert (tracks.time_since_update >= 0).all() and (tracks.ages >= 0).all()


@EXAMPLES
@given(st.lists(st.tuples(SHIFTS, LATE, wild_boxes()), max_size=25))
def test_any_boxes_and_stamps_give_finite_tracks(images):
    tracker, stamp = FaceTracker(OPTIONS), 10**18
    for shift, late, rows in images:
        stamp += shift
        tracker.add_detections(as_detections(stamp + late, rows))
        assert_sane(tracker.step(None, stamp), stamp)
        ahead = tracker.predict(stamp + INTERVAL)
        assert_sane(ahead, stamp + INTERVAL)


@EXAMPLES
@given(st.lists(tame_boxes(), max_size=30))
def test_ids_are_unique_and_an_id_that_is_forgotten_never_comes_back(images):
    tracker, last_seen, newest = FaceTracker(OPTIONS), {}, 0
    for k, rows in enumerate(images):
        stamp = k * 5 * INTERVAL
        tracker.add_detections(as_detections(stamp, rows))
        tracks = tracker.step(None, stamp)
        assert_sane(tracks, stamp)
        for identity in tracks.ids.tolist():
            if identity not in last_seen:
                assert identity > newest  # counted up: never one that was given before
                newest = identity
            else:
                assert stamp - last_seen[identity] <= (3.0 + 0.5) * SECOND
            last_seen[identity] = stamp


@EXAMPLES
@given(st.lists(tame_boxes(), max_size=12), st.lists(st.booleans(), min_size=40, max_size=40))
def test_no_track_without_evidence_for_longer_than_stated(images, detects):
    tracker = FaceTracker(OPTIONS)
    images = iter(images)
    for k, detect in enumerate(detects):
        if detect:
            tracker.add_detections(as_detections(k * INTERVAL, next(images, [])))
        tracks = tracker.step(None, k * INTERVAL)
        assert (tracks.time_since_update <= OPTIONS.max_time_since_update + 1e-6).all()


@EXAMPLES
@given(st.lists(tame_boxes(), max_size=12), st.randoms(use_true_random=False))
def test_order_of_detections_does_not_matter(images, random):
    first, second = FaceTracker(OPTIONS), FaceTracker(OPTIONS)
    for k, rows in enumerate(images):
        stamp = k * INTERVAL
        shuffled = random.sample(rows, len(rows))
        first.add_detections(as_detections(stamp, rows))
        second.add_detections(as_detections(stamp, shuffled))
        one, other = first.step(None, stamp), second.step(None, stamp)
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.boxes, other.boxes)


@EXAMPLES
@given(st.lists(tame_boxes(), min_size=1, max_size=8), st.integers(0, 6))
def test_late_detections_give_what_timely_ones_would(images, late):
    """Once they are all in, the boxes are those of a detector without delay."""
    timely, tardy = FaceTracker(OPTIONS), FaceTracker(OPTIONS)
    steps = 5 * len(images) + late
    for k in range(steps):
        stamp = k * INTERVAL
        if k % 5 == 0 and k // 5 < len(images):
            timely.add_detections(as_detections(stamp, images[k // 5]))
        if k >= late and (k - late) % 5 == 0 and (k - late) // 5 < len(images):
            tardy.add_detections(as_detections(stamp - late * INTERVAL, images[(k - late) // 5]))
        expected, got = timely.step(None, stamp), tardy.step(None, stamp)
    np.testing.assert_array_equal(got.ids, expected.ids)
    np.testing.assert_allclose(got.boxes, expected.boxes, atol=0.01)
