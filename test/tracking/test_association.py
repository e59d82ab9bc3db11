# SPDX-License-Identifier: Apache-2.0
"""Pairs are the best that are allowed, and strong detections choose first."""

from itertools import permutations

import numpy as np
import pytest

from face_tracking.tracking.appearance import SIZE
from face_tracking.tracking.association import Appearance, SpatialCost, assign, associate
from face_tracking.tracking.kalman import States


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


def match(tracks, detections, track_looks=None, looks=None, strong=True, remembered=False):
    tracks, detections = (np.array(boxes, float).reshape(-1, 4) for boxes in (tracks, detections))
    places = SpatialCost(States.at_rest(tracks), detections, iou_threshold=0.2)
    return associate(
        places,
        looks_or_none(track_looks, len(tracks)),
        np.full(len(tracks), remembered),
        looks_or_none(looks, len(detections)),
        np.zeros(len(detections), bool) | strong,
        appearance_threshold=0.35,
    )


def looks_or_none(values, count):
    if values is None:
        return Appearance(np.zeros((count, SIZE), np.float32), np.zeros(count, bool))
    return Appearance(values, np.ones(count, bool))


def looks_of(*seeds):
    """Return looks as different from each other as strangers'."""
    rows = [np.random.default_rng(seed).normal(size=SIZE) for seed in seeds]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


LEFT, RIGHT = [0, 0, 40, 50], [300, 0, 340, 50]


def test_a_weak_detection_only_gets_what_the_strong_leave():
    detections = [[0, 0, 40, 50], [6, 0, 46, 50], [303, 0, 343, 50]]
    found, _ = match([LEFT, RIGHT], detections, strong=np.array([False, True, False]))
    assert found.tolist() == [-1, 0, 1]


def test_nothing_near_is_nothing_matched():
    assert match([LEFT], [RIGHT])[0].tolist() == [-1]
    assert match([], [RIGHT])[0].tolist() == [-1]
    assert match([LEFT], [])[0].tolist() == []


def test_looks_decide_between_two_in_one_place():
    here = [[0, 0, 40, 50], [10, 0, 50, 50]]
    found, elsewhere = match(here, here, looks_of(1, 2), looks_of(2, 1))
    assert found.tolist() == [1, 0]
    assert not elsewhere.any()


def test_the_same_face_in_another_place_is_found_by_its_looks():
    found, elsewhere = match([LEFT], [RIGHT], looks_of(1), looks_of(1), remembered=True)
    assert found.tolist() == [0]
    assert elsewhere.tolist() == [True]


def test_a_stranger_does_not_take_the_place_of_a_lost_face():
    known = looks_of(1)
    assert match([LEFT], [LEFT], known, looks_of(2), remembered=True)[0].tolist() == [-1]
    assert match([LEFT], [LEFT], known, None, remembered=True)[0].tolist() == [-1]
    assert match([LEFT], [LEFT], known, None)[0].tolist() == [0]


@pytest.mark.parametrize(
    ('detections', 'expected'),
    [
        ([RIGHT, LEFT], ([0, 1], [1, 0])),
        ([RIGHT], ([1], [0])),
        ([LEFT, [600, 0, 640, 50]], None),  # one lies on nobody
        ([LEFT, [2, 0, 42, 50]], None),  # two on one
        ([[0, 0, 340, 50]], None),  # one on two
        ([[30, 0, 70, 50]], None),
        ([], None),
    ],
)  # hardly; none at all
def test_a_match_is_obvious_where_each_lies_on_its_own(detections, expected):
    places = SpatialCost(
        States.at_rest(np.array([LEFT, RIGHT], float)),
        np.array(detections, float).reshape(-1, 4),
        0.2,
    )
    pairs = places.obvious(np.ones(2, bool))
    assert (pairs if pairs is None else tuple(part.tolist() for part in pairs)) == expected
    assert places.obvious(np.zeros(2, bool)) is None


def test_looks_object_only_to_strangers_and_where_both_are_known():
    known, nothing = looks_or_none(looks_of(1, 2), 2), Appearance.none(2)
    assert known.could_be(known)
    assert known.could_be(nothing) and nothing.could_be(known)
    assert not known.could_be(looks_or_none(3 * looks_of(1, 3), 2))


def test_only_a_pair_that_stands_alone_is_settled():
    tracks = np.array([LEFT, RIGHT, [310, 0, 350, 50]], float)
    places = SpatialCost(States.at_rest(tracks), np.array([LEFT, RIGHT], float), 0.2)
    assert places.settled(np.ones(3, bool)).tolist() == [True, False]
    assert places.settled(np.zeros(3, bool)).tolist() == [False, False]
