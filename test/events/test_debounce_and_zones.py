# SPDX-License-Identifier: Apache-2.0
"""Debouncing, zones and times of day."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_tracking.errors import UserError
from face_tracking.events.debounce import Debounced
from face_tracking.events.zones import Zone, box_center
from face_tracking.time_window import TimeWindow


def test_value_changes_only_after_it_lasted():
    state = Debounced(False)
    assert not state.observe(True, 1.0, 0.5)
    assert not state.observe(True, 1.4, 0.5)
    assert state.observe(True, 1.5, 0.5)
    assert state.value and state.since == 1.0


def test_interruption_starts_the_wait_again():
    state = Debounced(False)
    state.observe(True, 1.0, 0.5)
    state.observe(False, 1.3, 0.5)
    assert not state.observe(True, 1.6, 0.5)
    assert not state.value


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 2.0)), max_size=50))
def test_value_never_changes_faster_than_the_hold(steps):
    state, now, changes = Debounced(False), 0.0, []
    for value, step in steps:
        now += step
        if state.observe(value, now, 0.5):
            changes.append(now)
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(changes))


def test_rectangle_contains_its_inside_only():
    zone = Zone.rectangle('door', 0.0, 0.2, 0.25, 0.6)
    assert zone.contains((0.1, 0.5))
    assert not zone.contains((0.3, 0.5))
    assert not zone.contains((0.1, 0.9))


def test_polygon_follows_its_corners():
    triangle = Zone('corner', ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    assert triangle.contains((0.2, 0.2))
    assert not triangle.contains((0.8, 0.8))


def test_box_center_is_a_fraction_of_the_image():
    assert box_center((100, 40, 300, 80), 400, 120) == (0.5, 0.5)


@pytest.mark.parametrize(
    ('text', 'inside', 'outside'),
    [
        ('08:00-17:30', '2026-11-25 08:00', '2026-11-25 17:30'),
        ('22:00-07:00', '2026-11-25 23:00', '2026-11-25 07:00'),
        ('22:00-07:00', '2026-11-25 06:59', '2026-11-25 21:59'),
        ('mon-fri 22:00-07:00', '2026-11-28 03:00', '2026-11-30 03:00'),  # Saturday; Monday
        ('sat 00:00-24:00', '2026-11-28 12:00', '2026-11-27 12:00'),
        ('fri-mon 10:00-11:00', '2026-11-30 10:30', '2026-12-01 10:30'),
    ],
)
def test_time_window_contains_its_hours(text, inside, outside):
    window = TimeWindow.parse(text)
    assert window.contains(datetime.fromisoformat(inside))
    assert not window.contains(datetime.fromisoformat(outside))


@pytest.mark.parametrize(
    'text',
    ['', 'noon', '25:00-26:00', '8-17', 'foo 08:00-09:00', 480, None, '08:60-09:00', 'x' * 10_000],
)
def test_wrong_time_is_one_clear_line(text):
    with pytest.raises(UserError) as caught:
        TimeWindow.parse(text)
    assert len(str(caught.value)) < 200 and '\n' not in str(caught.value)
