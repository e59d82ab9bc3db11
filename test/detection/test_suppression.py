# SPDX-License-Identifier: Apache-2.0
"""Suppression keeps what its definition says, and never two boxes that overlap too much."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking import boxes as box
from face_tracking.detection.suppression import (
    VOTE_IOU_THRESHOLD,
    blend,
    strongest,
    suppress,
)


def random_boxes(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    centers = generator.uniform(0, 100, (count, 2))
    sides = generator.uniform(5, 60, (count, 2))
    rows = np.concatenate([centers, sides], axis=1).astype(np.float32)
    return box.from_center_size(rows), (1 + generator.permutation(count).astype(np.float32)) / 1000


def one_by_one(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Suppress as the definition says, best box first."""
    kept = []
    for row in np.argsort(-scores, kind='stable').tolist():
        if all(box.iou(boxes[[row]], boxes[[other]])[0, 0] <= threshold for other in kept):
            kept.append(row)
    return kept


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([0.2, 0.45, 0.7]))
def test_agrees_with_the_definition(seed, count, threshold):
    boxes, scores = random_boxes(seed, count)
    assert suppress(boxes, scores, threshold).tolist() == one_by_one(boxes, scores, threshold)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.floats(0, 1), st.integers(1, 10))
def test_kept_boxes_are_apart_and_best_first(seed, count, threshold, limit):
    boxes, scores = random_boxes(seed, count)
    kept = suppress(boxes, scores, threshold)
    assert (np.diff(scores[kept]) <= 0).all()
    overlaps = box.iou(boxes[kept], boxes[kept]) - 2 * np.eye(len(kept))
    assert (overlaps <= threshold + 1e-5).all()
    gone = np.setdiff1d(np.arange(count), kept)
    if len(gone):
        assert (box.iou(boxes[gone], boxes[kept]).max(axis=1) > threshold - 1e-5).all()
    assert suppress(boxes, scores, threshold, limit).tolist() == kept[:limit].tolist()


def test_order_of_equal_scores_is_that_of_the_rows():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    assert suppress(boxes, np.ones(3, np.float32), 0.5).tolist() == [0, 2]


def test_strongest_are_the_highest_in_their_order():
    scores = np.array([0.1, 0.9, 0.5, 0.5, 0.7], np.float32)
    assert scores[strongest(scores, 3)].tolist() == [np.float32(0.9), 0.5, np.float32(0.7)]
    assert strongest(scores, 3).tolist() == [1, 2, 4]
    assert scores[strongest(scores, 5)].tolist() == scores.tolist()


def test_no_boxes_give_no_boxes():
    assert suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.sampled_from([0.2, 0.45, 0.7, 1.0]),
    st.integers(0, 4),
)
def test_agreeing_boxes_are_averaged_by_their_scores(seed, count, threshold, limit):
    boxes, scores = random_boxes(seed, count)
    numbers = np.random.default_rng(seed).normal(0, 1, (count, 3)).astype(np.float32)
    kept = suppress(boxes, scores, threshold, limit)
    found = blend(numbers, boxes, scores, kept, threshold)
    free = np.ones(count, bool)
    for face, row in enumerate(kept):
        overlap = box.iou(boxes[[row]], boxes)[0]
        displaced = free & (overlap > threshold)
        agree = displaced & (overlap > VOTE_IOU_THRESHOLD)
        agree[row] = True
        mean = np.average(numbers[agree], axis=0, weights=scores[agree].astype(float) ** 4)
        np.testing.assert_allclose(found[face], mean, rtol=1e-4, atol=1e-5)
        free &= ~displaced


def test_displaced_neighbor_does_not_change_the_average():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [3.5, 0, 13.5, 10]], np.float32)
    scores = np.array([0.9, 0.6, 0.8], np.float32)
    kept = suppress(boxes, scores, 0.4)
    assert kept.tolist() == [0]
    x1 = blend(boxes, boxes, scores, kept, 0.4)[0, 0]
    np.testing.assert_allclose(x1, 0.6**4 / (0.9**4 + 0.6**4), rtol=1e-5)


def test_scores_of_zero_count_alike():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10]], np.float32)
    found = blend(boxes, boxes, np.zeros(2, np.float32), np.array([0]), 0.45)
    np.testing.assert_allclose(found, [[0.5, 0, 10.5, 10]])
