# SPDX-License-Identifier: Apache-2.0
"""Pairs are the best that are allowed, and strong detections choose first."""

from itertools import permutations

import numpy as np
import pytest

from face_tracking.tracking.association import assign, associate


@pytest.mark.parametrize('seed', range(20))
def test_assignment_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    cost, allowed = rng.random((4, 4)), rng.random((4, 4)) < 0.6
    rows, columns = assign(cost, allowed)

    def worth(pairs):
        pairs = [pair for pair in pairs if allowed[pair]]
        return -len(pairs), sum(cost[pair] for pair in pairs)

    best = min(worth(list(enumerate(order))) for order in permutations(range(4)))
    got = worth(list(zip(rows.tolist(), columns.tolist(), strict=True)))
    assert got == pytest.approx(best)
    assert allowed[rows, columns].all()


def test_a_weak_detection_only_gets_what_the_strong_leave():
    tracks = np.array([[0.0, 0, 10, 10], [100, 0, 110, 10]])
    detections = np.array([[0.0, 0, 10, 10], [2, 0, 12, 10], [101, 0, 111, 10]])
    strong = np.array([False, True, False])
    assert associate(tracks, detections, strong, 0.2).tolist() == [-1, 0, 1]


def test_nothing_overlapping_is_nothing_matched():
    tracks = np.array([[0.0, 0, 10, 10]])
    detections = np.array([[50.0, 0, 60, 10]])
    assert associate(tracks, detections, np.array([True]), 0.0).tolist() == [-1]
    assert associate(tracks[:0], detections, np.array([True]), 0.2).tolist() == [-1]
    assert associate(tracks, detections[:0], np.zeros(0, bool), 0.2).tolist() == []
