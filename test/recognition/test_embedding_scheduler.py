# SPDX-License-Identifier: Apache-2.0
"""Which faces are embedded when, and what that may cost."""

from __future__ import annotations

import pytest

from face_tracking.recognition.embedding_scheduler import EmbeddingScheduler
from face_tracking.recognition.recognition_options import RateOptions
from face_tracking.time_units import SECOND

FRAME = SECOND // 30


def run(scheduler, tracks, seconds, cost, good=True):
    """Play images at 30 Hz; return how often each track was embedded."""
    counts = dict.fromkeys(tracks, 0)
    for number in range(int(30 * seconds)):
        for track in scheduler.choose(tracks, number * FRAME):
            counts[track] += 1
            scheduler.record(track, number * FRAME, good, cost)
    return counts


def test_new_track_is_embedded_at_once():
    scheduler = EmbeddingScheduler(RateOptions())
    assert scheduler.choose([5], 0) == [5]


def test_known_track_is_embedded_at_the_given_rate():
    scheduler = EmbeddingScheduler(RateOptions(recognition_rate=1.0))
    assert run(scheduler, [1], 20, cost=0.001)[1] == pytest.approx(23, abs=2)


def test_budget_is_kept_with_many_faces_and_a_slow_network():
    scheduler = EmbeddingScheduler(RateOptions(recognition_rate=30.0, recognition_cpu_budget=0.05))
    counts = run(scheduler, list(range(20)), 20, cost=0.02)
    assert sum(counts.values()) * 0.02 <= 20 * 0.05 + 3 * 0.02
    assert sum(counts.values()) * 0.02 >= 0.8 * 20 * 0.05
    assert min(counts.values()) >= 1


def test_bad_views_cost_budget_too():
    scheduler = EmbeddingScheduler(RateOptions(recognition_cpu_budget=0.01))
    counts = run(scheduler, list(range(10)), 20, cost=0.01, good=False)
    assert sum(counts.values()) <= 20 + 3


def test_track_that_returns_is_new():
    scheduler = EmbeddingScheduler(RateOptions(recognition_rate=0.1))
    run(scheduler, [1], 3, cost=0.0)
    assert scheduler.choose([1], 3 * SECOND) == []
    assert scheduler.choose([], 3 * SECOND + FRAME) == []
    assert scheduler.choose([1], 3 * SECOND + 2 * FRAME) == [1]


def test_clock_set_back_does_not_stop_it():
    scheduler = EmbeddingScheduler(RateOptions())
    run(scheduler, [1], 2, cost=0.001)
    assert any(scheduler.choose([1], number * FRAME) for number in range(60))
