# SPDX-License-Identifier: Apache-2.0
"""Several cues act as one, and one that does not know a face says nothing about it."""

import numpy as np
import pytest
from scripted_scene import FACE, INTERVAL, detections

from face_tracking.faces import Detections
from face_tracking.tracking import appearance
from face_tracking.tracking.cue import Cue, CueSet
from face_tracking.tracking.tracker import FaceTracker


def gap(first, second):
    return np.abs(first - second)[:, 0]


def nothing(pyramid, boxes, landmarks):
    return np.full((len(boxes), 2), np.nan, np.float32)


ONE = Cue('one', 2, nothing, gap)
OTHER = Cue('other', 2, nothing, gap, weight=3.0)


def test_the_distance_of_several_cues_is_their_weighted_mean():
    cues = CueSet([ONE, OTHER])
    first, second = np.array([[0.0, 0, 0, 0]] * 3), np.array([[1.0, 0, 0.2, 0]] * 3)
    second[1, 2:] = np.nan
    second[2] = np.nan
    distance = cues.distance(first, second)
    assert distance[:2].tolist() == pytest.approx([0.4, 1.0])
    assert np.isnan(distance[2])


def test_faces_that_are_alike_by_a_cue_that_suffices_are_alike():
    sure = Cue('sure', 2, nothing, gap, suffices=True)
    first, second = np.zeros((3, 4)), np.array([[2.0, 0, 0.1, 0], [0.1, 0, 2, 0], [2, 0, 0, 0]])
    second[2, 2:] = np.nan
    assert CueSet([ONE, sure]).distance(first, second).tolist() == pytest.approx([0.1, 1.05, 2.0])


def test_a_cue_that_suffices_does_not_hide_a_difference_where_faces_are_not_alike_by_it():
    sure = Cue('sure', 2, nothing, gap, suffices=True)
    first, second = np.zeros((2, 4)), np.array([[2.0, 0, 0.34, 0], [2, 0, 0.6, 0]])
    assert CueSet([ONE, sure]).distance(first, second).tolist() == pytest.approx([0.34, 1.3])


def test_cue_that_was_not_measured_keeps_its_descriptor():
    cues = CueSet([ONE, OTHER])
    old, new = np.array([[1.0, 1, np.nan, np.nan]]), np.array([[np.nan, np.nan, 4.0, 4]])
    updated = cues.update(old, new, np.array([[0.0, 0.5]]))
    assert updated.tolist() == [[1, 1, 4, 4]]
    assert cues.measured(updated).all() and not cues.measured(old).all()


def test_a_second_cue_recognizes_a_face_that_returns_elsewhere(astronaut):
    """The second cue describes a face by the person in it, which the test knows."""
    person = [0.0]

    def extract(pyramid, boxes, landmarks):
        return np.full((len(boxes), 1), person[0], np.float32)

    def track(cues):
        tracker, seen = FaceTracker(cues=cues), []
        for k in range(60):
            person[0] = 5.0 if k >= 40 else 0.0
            image = astronaut if k < 20 or k >= 40 else np.zeros_like(astronaut)
            found = [FACE] if k < 20 else [] if k < 40 else [FACE]
            tracker.add_detections(detections(k * INTERVAL, *found))
            seen += tracker.step(image, k * INTERVAL).ids.tolist()
        return set(seen)

    sure = Cue('sure', 1, extract, gap, weight=10.0)
    assert track([appearance.CUE]) == {1}
    assert track([appearance.CUE, sure]) == {1, 2}


def test_without_cues_faces_are_tracked_by_position(astronaut):
    tracker = FaceTracker(cues=())
    for k in range(5):
        tracker.add_detections(detections(k * INTERVAL, FACE))
        tracks = tracker.step(astronaut, k * INTERVAL)
    assert tracks.ids.tolist() == [1]


def test_a_cue_that_computes_in_place_moves_no_track(astronaut):
    def extract(pyramid, boxes, landmarks):
        boxes *= 2
        landmarks[:] = 0
        return np.ones((len(boxes), 3), np.float32)

    tracker = FaceTracker(cues=[Cue('own', 3, extract, gap)])
    box = np.array([[50.0, 50, 110, 120]], np.float32)
    landmarks = np.full((1, 5, 2), 80, np.float32)
    for number in range(3):
        found = Detections(number * 33_000_000, box, np.array([0.9], np.float32), landmarks)
        tracker.add_detections(found)
        tracks = tracker.step(astronaut, found.stamp)
    np.testing.assert_allclose(tracks.boxes, box, atol=1)
