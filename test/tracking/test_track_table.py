# SPDX-License-Identifier: Apache-2.0
"""Tracks become tentative, confirmed, lost and deleted as the options say."""

from dataclasses import replace

import numpy as np
import pytest

from face_tracking.time_units import SECOND
from face_tracking.tracking import appearance
from face_tracking.tracking.cue import CueSet
from face_tracking.tracking.kalman import States
from face_tracking.tracking.track_table import TrackStatus, TrackTable
from face_tracking.tracking.tracker_options import TrackerOptions

OPTIONS = TrackerOptions(
    max_time_since_update=1.0, reid_timeout=3.0, max_misses=1, min_hits=2, max_tracks=4
)
START = 10**18


@pytest.fixture
def table():
    return TrackTable(CueSet([appearance.CUE]))


def confirm(table):
    boxes = np.tile([10.0, 10, 60, 70], (len(table), 1))
    table.confirm(START, States.from_boxes(boxes), OPTIONS)


def matched(table, rows, stamp):
    rows = np.atleast_1d(rows)
    table.mark_matched(rows, stamp, np.full(len(rows), 0.8), np.zeros((len(rows), 5, 2)))


def confirmed(table, count):
    """Add tracks with an id that were last detected at START."""
    table.spawn(START, np.full(count, 0.9))
    for _ in range(OPTIONS.min_hits):
        matched(table, np.arange(count), START)
    confirm(table)


def status(table, seconds):
    return table.status_at(START + int(seconds * SECOND), OPTIONS)


def test_a_track_gets_an_id_after_min_hits(table):
    table.spawn(START, np.full(1, 0.8))
    matched(table, 0, START)
    confirm(table)
    assert table.ids.tolist() == [0]
    matched(table, 0, START)
    confirm(table)
    assert table.ids.tolist() == [1]


def test_a_tentative_track_that_misses_a_round_is_not_retained(table):
    table.spawn(START, np.full(1, 0.8))
    matched(table, 0, START)
    assert status(table, 0.1).retained.all()
    table.mark_missed(slice(None))
    assert not status(table, 0.1).retained.any()


def test_confirmed_track_is_lost_after_max_misses_and_retained(table):
    confirmed(table, 1)
    table.mark_missed(slice(None))
    assert status(table, 0.1).published.all() and not status(table, 0.1).visible.any()
    table.mark_missed(slice(None))
    assert status(table, 0.2).lost.all() and status(table, 0.2).retained.all()
    assert not status(table, 3.1).retained.any()


def test_a_track_without_detections_is_lost_after_max_time_since_update(table):
    confirmed(table, 1)
    assert status(table, 1.0).published.all()
    assert status(table, 1.1).lost.all()


def test_an_occluded_track_is_lost_with_the_first_miss_and_not_propagated(table):
    confirmed(table, 1)
    table.descriptors[:], table.weights[:] = 0.0, 1.0
    table.update_occlusion(np.zeros(1, int), np.ones((1, appearance.SIZE), np.float32))
    assert status(table, 0.1).published.all() and not status(table, 0.1).propagated.any()
    table.mark_missed(slice(None))
    assert status(table, 0.1).lost.all()


def test_of_too_many_lost_tracks_those_seen_last_are_retained(table):
    confirmed(table, 6)
    table.updated += np.arange(6)[::-1]
    table.mark_missed(slice(None))
    table.mark_missed(slice(None))
    assert status(table, 0.1).retained.tolist() == [True] * 4 + [False] * 2


def test_descriptors_are_measured_again_after_the_clock_was_set_back(table):
    table.spawn(START, np.full(1, 0.9))
    descriptor = np.zeros((1, appearance.SIZE), np.float32)
    table.update_appearance(np.zeros(1, int), START, descriptor, np.full(1, 0.9))
    assert table.appearance_fresh(START).all()
    table.shift(-100 * SECOND)
    assert table.appearance_fresh(START - 100 * SECOND).all()
    assert not table.appearance_fresh(START - 99 * SECOND).any()


def test_unknown_descriptor_changes_nothing(table):
    table.spawn(START, np.full(1, 0.9))
    row, known = np.zeros(1, int), np.ones((1, appearance.SIZE), np.float32)
    table.update_appearance(row, START, known, np.full(1, 0.9))
    table.update_appearance(row, START + SECOND, np.full_like(known, np.nan), np.full(1, 0.9))
    np.testing.assert_array_equal(table.descriptors, known)
    assert not table.appearance_fresh(START + SECOND).any()


def test_settled_tracks_have_the_status_that_is_computed_for_each_time(table):
    confirmed(table, 3)
    options = TrackerOptions()
    table.mean_scores[:] = 0.8
    for _ in range(2):
        assert table.is_settled(START, options)
        kept = table.status_at(START, options)
        assert kept is table.status_at(START + 10**8, options)
        fresh = TrackStatus(table, START + 10**8, options)
        for name in ('displaced', 'convincing', 'visible', 'propagated', 'lost', 'published'):
            assert np.array_equal(getattr(kept, name), getattr(fresh, name)), name
        assert fresh.published.all() and fresh.retained.all()
        table.prune(slice(1, None))
    assert not table.is_settled(START + 10**10, options)
    table.mark_cut(START + 1, certain=True)
    assert not table.is_settled(START + 10, options)
    table.mark_cut(START - 1, certain=True)
    table.mark_missed(np.array([0]))
    assert not table.is_settled(START, options)


def test_whether_all_tracks_are_settled_follows_what_it_depends_on(table):
    confirmed(table, 2)
    late = START + int(1.5 * SECOND)
    assert table.is_settled(START, OPTIONS) and not table.is_settled(late, OPTIONS)
    assert table.is_settled(late, replace(OPTIONS, max_time_since_update=2.0))
    assert not table.is_settled(late, OPTIONS)
    table.set_patience(2 * SECOND)
    assert table.is_settled(late, OPTIONS)
    table.shift(-SECOND)
    assert not table.is_settled(late, OPTIONS)
    table.mark_cut(START, certain=True)
    assert not table.is_settled(START, OPTIONS)
