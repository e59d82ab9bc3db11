# SPDX-License-Identifier: Apache-2.0
"""Drawing: ids can be told apart, the source stays untouched, and no box is too odd to draw."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from face_tracking.faces import Detections, Tracks
from face_tracking.visualization import Trails, annotate, track_color


def tracks_of(*rows: tuple[int, float, float, float, float], unseen: float = 0.0) -> Tracks:
    count = len(rows)
    return Tracks(
        stamp=1,
        ids=np.array([row[0] for row in rows], np.int64),
        boxes=np.array([row[1:] for row in rows], np.float32).reshape(-1, 4),
        scores=np.full(count, 0.9, np.float32),
        velocities=np.zeros((count, 2), np.float32),
        ages=np.ones(count, np.float32),
        time_since_update=np.full(count, unseen, np.float32),
    )


def test_faces_are_drawn_on_a_copy_around_their_boxes():
    image = np.zeros((240, 320, 3), np.uint8)
    drawn = annotate(image, tracks_of((3, 100, 100, 160, 180)))
    assert not image.any()
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert columns.min() >= 95 and columns.max() <= 170 and rows.max() <= 186
    assert rows.min() < 95, 'the label lies above the box'
    assert not drawn[120:160, 115:145].any(), 'the face itself stays free'
    assert tuple(drawn[100, 130]) == track_color(3)


def test_ids_keep_their_colors_and_neighbors_differ():
    colors = [track_color(number) for number in range(1, 30)]
    assert colors == [track_color(number) for number in range(1, 30)]
    for first, second in itertools.pairwise(colors):
        assert np.abs(np.subtract(first, second)).sum() > 60


def test_a_track_unseen_for_long_looks_fainter():
    image = np.zeros((240, 320, 3), np.uint8)
    fresh, stale = (
        np.count_nonzero(annotate(image, tracks_of((1, 50, 50, 150, 150), unseen=age)))
        for age in (0, 2)
    )
    assert stale < fresh


def test_landmarks_are_drawn_where_there_are_any():
    image = np.zeros((100, 100, 3), np.uint8)
    found = Detections(
        0,
        np.array([[20, 30, 80, 90]], np.float32),
        np.ones(1, np.float32),
        np.full((1, 5, 2), 60, np.float32),
    )
    assert annotate(image, found)[60, 60].all()
    found.landmarks[:] = np.nan
    assert not annotate(image, found)[60, 60].any()


def test_trails_follow_their_tracks_and_end_with_them():
    trails = Trails(length=3)
    for step in range(5):
        paths = trails.add(tracks_of((1, step, 0, step + 10, 10), (2, 50, 50, 60, 60)))
    assert [point[0] for point in paths[1]] == [7, 8, 9] and len(paths[2]) == 3
    assert list(trails.add(tracks_of((2, 50, 50, 60, 60)))) == [2]
    image = np.zeros((100, 100, 3), np.uint8)
    path = {1: [(10, 90), (50, 90), (90, 90)]}
    assert annotate(image, tracks_of((1, 80, 5, 95, 20)), path)[90, 20:85].any(axis=1).all()


@pytest.mark.parametrize(
    'box',
    [
        (np.nan, 0, 10, 10),
        (-np.inf, -1, np.inf, 5),
        (-1e30, -1e30, 1e30, 1e30),
        (50, 50, 40, 40),
        (500, 500, 600, 600),
        (-90, -90, -50, -50),
        (0, 0, 0, 0),
    ],
)
@pytest.mark.parametrize('shape', [(1, 1, 3), (100, 120, 3)])
def test_impossible_boxes_are_drawn_without_error(box, shape):
    image = np.zeros(shape, np.uint8)
    drawn = annotate(image, tracks_of((1, *box)), {1: [(np.nan, 0), (np.inf, 5)]}, caption='ok')
    assert drawn.shape == shape


def test_image_without_tracks_is_a_plain_copy():
    image = np.full((10, 10, 3), 7, np.uint8)
    drawn = annotate(image, Tracks())
    assert (drawn == image).all() and drawn is not image
