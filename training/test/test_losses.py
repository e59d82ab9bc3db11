# SPDX-License-Identifier: Apache-2.0
"""Decoding, assignment and losses on hand-made outputs."""

import numpy as np
import pytest
import torch

from face_tracking.detection.families.anchor_free import AnchorFree
from training.assign import assign, pairwise_iou
from training.batches import Batch
from training.grid import decode
from training.losses import eiou, losses
from training.network import STRIDES

SIZE = 96
BOX = [30.0, 26.0, 58.0, 62.0]
POINTS = [[37.0, 38.0], [51.0, 38.0], [44.0, 46.0], [39.0, 53.0], [49.0, 53.0]]


def outputs_for(box, points, score=8.0, background=-12.0):
    """Outputs in which every cell inside ``box`` predicts just that face."""
    found = []
    for stride in STRIDES:
        side = SIZE // stride
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij')
        raw = torch.zeros(1, 16, side, side)
        raw[0, 0] = background
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
        raw[0, 0][inside] = score
        raw[0, 1] = (box[0] + box[2]) / 2 / stride - column
        raw[0, 2] = (box[1] + box[3]) / 2 / stride - row
        raw[0, 3] = np.log((box[2] - box[0]) / stride)
        raw[0, 4] = np.log((box[3] - box[1]) / stride)
        for k, (px, py) in enumerate(points):
            raw[0, 5 + 2 * k] = (2 * px - box[0] - box[2]) / (box[2] - box[0])
            raw[0, 6 + 2 * k] = (2 * py - box[1] - box[3]) / (box[3] - box[1])
        raw[0, 15] = 8.0
        found.append(raw)
    return found


def batch_of(boxes, points=None, ignore=None, teacher=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4)
    count = boxes.shape[1]
    if points is None:
        points = torch.full((1, count, 5, 2), torch.nan)
    else:
        points = torch.tensor(points).reshape(1, count, 5, 2)
    unsure = torch.tensor([ignore or [False] * count])
    return Batch(
        torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8),
        boxes,
        points,
        ~unsure,
        unsure,
        torch.zeros_like(unsure),
        teacher,
    )


def test_decodes_as_the_package_does():
    random = torch.Generator().manual_seed(1)
    outputs = [
        torch.randn(1, 16, SIZE // stride, SIZE // stride, generator=random) for stride in STRIDES
    ]
    cells = decode(outputs)
    package = AnchorFree(SIZE, SIZE, STRIDES)([output.numpy() for output in outputs], 0.0)
    scores = (cells.scores[0].sigmoid() * cells.qualities[0].sigmoid()).sqrt()
    np.testing.assert_allclose(scores, package.scores, rtol=1e-5)
    np.testing.assert_allclose(cells.boxes[0], package.boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(cells.landmarks[0], package.landmarks, rtol=1e-4, atol=1e-3)


def test_cells_answer_for_the_face_that_they_predict():
    cells = decode(outputs_for(BOX, POINTS))
    owner = assign(cells, batch_of([BOX, [0, 0, 9, 9]]).boxes, torch.tensor([[True, False]]))
    centers = cells.corners + cells.strides[:, None] / 2
    taken = owner[0] == 0
    assert 3 <= taken.sum() <= 10
    assert (owner[0] != 1).all()
    low, high = torch.tensor(BOX[:2]), torch.tensor(BOX[2:])
    assert ((centers[taken] > low) & (centers[taken] < high)).all()


def test_image_without_faces_leaves_all_cells_free():
    cells = decode(outputs_for(BOX, POINTS))
    owner = assign(cells, torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.bool))
    assert (owner == -1).all()


def test_right_outputs_cost_little_and_wrong_ones_more():
    batch = batch_of([BOX], POINTS)
    right = losses(outputs_for(BOX, POINTS), batch)
    assert float(right['box']) < 1e-3 and float(right['landmarks']) < 1e-3
    moved = [value + 9 for value in BOX]
    wrong = losses(outputs_for(moved, np.array(POINTS) + 9), batch)
    assert float(wrong['box']) > 1 and float(wrong['landmarks']) > 0.1
    unseen = losses(outputs_for(BOX, POINTS, score=-12.0), batch)
    assert float(unseen['score']) > float(right['score']) + 2


def test_regions_to_ignore_cost_nothing():
    seen = outputs_for(BOX, POINTS)
    counted = losses(seen, batch_of([[0, 0, 1, 1]], ignore=[True]))['score']
    ignored = losses(seen, batch_of([BOX], ignore=[True]))['score']
    assert float(counted) > 100 and float(ignored) < 0.1


def test_landmarks_of_turned_faces_matter_more_within_limits():
    narrow = np.array(POINTS)
    narrow[1, 0] = narrow[0, 0] + 7
    profile = np.array(POINTS)
    profile[1, 0] = profile[0, 0] + 0.5
    costs = [
        float(losses(outputs_for(BOX, points + [2, 0]), batch_of([BOX], points))['landmarks'])
        for points in (np.array(POINTS), narrow, profile)
    ]
    size = np.sqrt(28 * 36)
    assert costs[1] / costs[0] == pytest.approx(0.4 * size / 7, rel=1e-3)
    assert costs[2] / costs[0] == pytest.approx(2, rel=1e-3)


def test_faces_without_landmarks_teach_boxes_alone():
    found = losses(outputs_for(BOX, POINTS), batch_of([BOX]))
    assert float(found['landmarks']) == 0 and torch.isfinite(sum(found.values()))


def test_the_teacher_speaks_only_inside_faces_that_it_sees():
    raw = outputs_for(BOX, POINTS)
    cells = sum((SIZE // stride) ** 2 for stride in STRIDES)
    blind = losses(raw, batch_of([BOX], POINTS, teacher=torch.zeros(1, cells, 2)))
    alone = losses(raw, batch_of([BOX], POINTS))
    assert float(blind['score']) == pytest.approx(float(alone['score']))
    # It scores highly all the cells inside that no assignment chose.
    seen = losses(raw, batch_of([BOX], POINTS, teacher=torch.full((1, cells, 2), 0.9)))
    assert float(seen['score']) < float(alone['score']) - 2


def test_overlap_agrees_with_a_hand_calculation():
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]])
    assert float(pairwise_iou(a[None], b[None])) == pytest.approx(1 / 3)
    overlap, loss = eiou(a, b)
    assert float(overlap) == pytest.approx(1 / 3)
    assert float(loss) == pytest.approx(2 / 3 + 1 / 13)
