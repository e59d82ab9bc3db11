# SPDX-License-Identifier: Apache-2.0
"""Pairs are the best that are allowed, and strong detections choose first."""

from itertools import permutations

import numpy as np
import pytest

from face_tracking.tracking.appearance import SIZE
from face_tracking.tracking.association import Candidates, assign, associate
from face_tracking.tracking.motion import States


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


def candidates(boxes, looks=None):
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    if looks is None:
        return Candidates(boxes, np.zeros((len(boxes), SIZE), np.float32),
                          np.zeros(len(boxes), bool))
    return Candidates(boxes, np.asarray(looks, np.float32), np.ones(len(boxes), bool))


def match(tracks, detections, strong=True, remembered=False):
    states = States.at_rest(tracks.boxes)
    many = np.zeros(len(detections.boxes), bool) | strong
    return associate(states, tracks, np.zeros(len(states), bool) | remembered, detections, many,
                     iou_threshold=0.2, look_threshold=0.35)


def looks_of(*seeds):
    """Return looks as different from each other as strangers'."""
    rows = [np.random.default_rng(seed).normal(size=SIZE) for seed in seeds]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


LEFT, RIGHT = [0, 0, 40, 50], [300, 0, 340, 50]


def test_a_weak_detection_only_gets_what_the_strong_leave():
    tracks = candidates([LEFT, RIGHT])
    detections = candidates([[0, 0, 40, 50], [6, 0, 46, 50], [303, 0, 343, 50]])
    found, _ = match(tracks, detections, strong=np.array([False, True, False]))
    assert found.tolist() == [-1, 0, 1]


def test_nothing_near_is_nothing_matched():
    found, _ = match(candidates([LEFT]), candidates([RIGHT]))
    assert found.tolist() == [-1]
    assert match(candidates([]), candidates([RIGHT]))[0].tolist() == [-1]
    assert match(candidates([LEFT]), candidates([]))[0].tolist() == []


def test_looks_decide_between_two_in_one_place():
    here = [[0, 0, 40, 50], [10, 0, 50, 50]]
    tracks = candidates(here, looks_of(1, 2))
    found, elsewhere = match(tracks, candidates(here, looks_of(2, 1)))
    assert found.tolist() == [1, 0]
    assert not elsewhere.any()


def test_the_same_face_in_another_place_is_found_by_its_looks():
    tracks = candidates([LEFT], looks_of(1))
    found, elsewhere = match(tracks, candidates([RIGHT], looks_of(1)), remembered=True)
    assert found.tolist() == [0]
    assert elsewhere.tolist() == [True]


def test_a_stranger_does_not_take_the_place_of_a_lost_face():
    tracks = candidates([LEFT], looks_of(1))
    assert match(tracks, candidates([LEFT], looks_of(2)), remembered=True)[0].tolist() == [-1]
    unknown = candidates([LEFT])
    assert match(tracks, unknown, remembered=True)[0].tolist() == [-1]
    assert match(tracks, unknown)[0].tolist() == [0]
