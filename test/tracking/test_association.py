# SPDX-License-Identifier: Apache-2.0
"""Pairs are the best that are allowed, and strong detections are matched first."""

from itertools import permutations

import numpy as np
import pytest

from face_tracking.tracking import appearance
from face_tracking.tracking.appearance import SIZE
from face_tracking.tracking.association import SpatialCost, assign, associate
from face_tracking.tracking.cue import CueSet
from face_tracking.tracking.kalman import States

CUES = CueSet([appearance.CUE])
LEFT, RIGHT = [0, 0, 40, 50], [300, 0, 340, 50]


@pytest.mark.parametrize('seed', range(20))
def test_assignment_has_the_lowest_cost(seed):
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


def spatial_cost(tracks, detections):
    tracks, detections = (np.array(boxes, float).reshape(-1, 4) for boxes in (tracks, detections))
    count = len(tracks)
    return SpatialCost(States.from_boxes(tracks), detections, 0.2, np.zeros(count, bool))


def match(tracks, detections, known=None, seen=None, strong=True, lost=False):
    """Return for each detection its track, and the detections that were re-identified."""
    found = associate(
        spatial_cost(tracks, detections),
        CUES,
        CUES.unknown(len(tracks)) if known is None else known,
        CUES.unknown(len(detections)) if seen is None else seen,
        np.full(len(tracks), not lost),
        np.full(len(tracks), lost),
        np.full(len(tracks), 5.0),
        np.zeros(len(detections), bool) | strong,
        threshold=0.35,
    )
    track_of = np.full(len(detections), -1)
    track_of[found.detections] = found.tracks
    return track_of.tolist(), found.detections[found.reid].tolist()


def descriptors_of(*seeds):
    """Return descriptors as different from each other as those of different people."""
    rows = [np.random.default_rng(seed).normal(size=SIZE) for seed in seeds]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


def test_a_weak_detection_gets_only_tracks_that_strong_ones_leave():
    detections = [[0, 0, 40, 50], [6, 0, 46, 50], [303, 0, 343, 50]]
    strong = np.array([False, True, False])
    assert match([LEFT, RIGHT], detections, strong=strong) == ([-1, 0, 1], [])


def test_without_a_track_or_detection_nearby_nothing_is_matched():
    assert match([LEFT], [RIGHT])[0] == [-1]
    assert match([], [RIGHT])[0] == [-1]
    assert match([LEFT], [])[0] == []


def test_appearance_decides_between_two_faces_in_one_place():
    here = [[0, 0, 40, 50], [10, 0, 50, 50]]
    found = match(here, here, descriptors_of(1, 2), descriptors_of(2, 1))
    assert found == ([1, 0], [])


def test_a_lost_face_in_another_place_is_found_by_its_appearance():
    found = match([LEFT], [RIGHT], descriptors_of(1), descriptors_of(1), lost=True)
    assert found == ([0], [0])


def test_another_person_does_not_take_the_place_of_a_lost_face():
    known = descriptors_of(1)
    assert match([LEFT], [LEFT], known, descriptors_of(2), lost=True)[0] == [-1]
    assert match([LEFT], [LEFT], known, None, lost=True)[0] == [-1]
    assert match([LEFT], [LEFT], known, None)[0] == [0]


def test_a_weak_detection_continues_a_lost_face_that_looks_the_same_and_is_expected_there():
    known = descriptors_of(1)
    assert match([LEFT], [LEFT], known, known, strong=False, lost=True) == ([0], [])
    assert match([LEFT], [LEFT], known, descriptors_of(2), strong=False, lost=True)[0] == [-1]
    assert match([LEFT], [LEFT], known, None, strong=False, lost=True)[0] == [-1]
    assert match([LEFT], [RIGHT], known, known, strong=False, lost=True)[0] == [-1]


@pytest.mark.parametrize(
    ('detections', 'expected'),
    [
        ([RIGHT, LEFT], ([0, 1], [1, 0])),
        ([RIGHT], ([1], [0])),
        ([LEFT, [600, 0, 640, 50]], None),  # one overlaps no track
        ([LEFT, [2, 0, 42, 50]], None),  # two overlap one
        ([[0, 0, 340, 50]], None),  # one overlaps two
        ([[30, 0, 70, 50]], None),  # too small an overlap
        ([], None),
    ],
)
def test_a_match_is_unambiguous_where_each_detection_overlaps_one_track(detections, expected):
    spatial = spatial_cost([LEFT, RIGHT], detections)
    pairs = spatial.unambiguous_pairs(np.ones(2, bool))
    assert (pairs if pairs is None else tuple(part.tolist() for part in pairs)) == expected
    assert spatial.unambiguous_pairs(np.zeros(2, bool)) is None


def test_only_a_pair_that_stands_alone_is_confirmed_by_position():
    spatial = spatial_cost([LEFT, RIGHT, [310, 0, 350, 50]], [LEFT, RIGHT])
    assert spatial.confirmed(np.ones(3, bool)).tolist() == [True, False]
    assert spatial.confirmed(np.zeros(3, bool)).tolist() == [False, False]
