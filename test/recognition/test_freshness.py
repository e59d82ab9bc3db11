# SPDX-License-Identifier: Apache-2.0
"""Recently detected tracks, with fast and with slow detectors."""

from __future__ import annotations

import pytest

from face_tracking.recognition.freshness import Freshness

RATE = 30


def selected(interval, latency, seconds, lost_at=None):
    """Return for each image whether track 1 was selected, detected every ``interval`` seconds."""
    freshness, found = Freshness(), []
    for image in range(round(seconds * RATE)):
        now = image / RATE
        last = now if lost_at is None else min(now, lost_at)
        detected = (last - latency) // interval * interval
        found.append(freshness.select([1], [now - max(detected, 0.0)]) == [1])
    return found


@pytest.mark.parametrize(
    ('interval', 'latency'), [(0.033, 0.02), (0.2, 0.05), (0.5, 0.6), (2, 0.1)]
)
def test_detected_face_is_selected_at_any_pace_of_the_detector(interval, latency):
    after_start = selected(interval, latency, 12)[round((interval + latency) * 2 * RATE) :]
    assert sum(after_start) >= 0.9 * len(after_start)


@pytest.mark.parametrize(('interval', 'latency'), [(0.033, 0.02), (0.5, 0.6)])
def test_propagated_face_is_not_selected(interval, latency):
    found = selected(interval, latency, 14, lost_at=8.0)
    assert found[7 * RATE]
    assert not any(found[round((8 + 2 * (interval + latency) + 0.2) * RATE) :])


def test_tracks_of_a_message_are_all_selected():
    assert Freshness().select([3, 5], [0.0, 0.0]) == [3, 5]
