# SPDX-License-Identifier: Apache-2.0
"""What the network is to get right in every cell, and how much each matters."""

from __future__ import annotations

import torch
from torch.nn import functional

from training.assign import assign, holds
from training.batches import Batch
from training.grid import Cells, decode

BOX_WEIGHT = 5.0
LANDMARK_WEIGHT = 40.0
LANDMARK_BEND = 0.02
"""The error, as a share of the face's size, where the landmark loss turns from squared to
linear."""
LANDMARK_SIZE = 24.0
LANDMARK_SIZE_WEIGHTS = (0.5, 3.0)
"""Landmarks matter by the square root of the face's size over so many pixels, within limits: in
a canvas of many small faces, whose eyes and mouth are a blur, a large one would have too
little weight."""
FACING = 0.4
"""Distance of the eyes over the size of a face that looks at the camera."""
MAX_TURN_WEIGHT = 2.0
"""Landmarks of a turned face, whose eyes are nearer together, matter by so much more at most:
error is relative to the distance of the eyes."""
DENSE_SHARE = 0.2
"""How much the boxes of all cells inside a face matter beside those of the cells that answer
for it: they teach the network early where in a face it is."""
DENSE_SIZES = (0.75, 6.0)
"""The faces, in strides, for which a cell does so."""
TEACHER_SHARE = 0.5
TEACHER_SURE = 0.4
"""The teacher speaks only inside faces in which one of its cells scores at least this."""
IGNORED_WEIGHT = 0.5
"""In regions to ignore the teacher alone speaks, with this weight; without a teacher, nothing."""


def losses(outputs, batch: Batch) -> dict[str, torch.Tensor]:
    """Return the scalar losses of the network's ``outputs``, weighted, by name.

    ``score``: is there a face here; ``quality``: the overlap of the predicted box; ``box``:
    EIoU (Zhang et al., "Focal and Efficient IOU Loss", 2021); ``landmarks``: smooth L1 of the
    error over the face's size. All are sums over cells divided by the number of cells that
    answer for a face.
    """
    cells = decode(outputs)
    owner = assign(cells, batch.boxes, batch.valid)
    landmarks = _landmark_loss(cells, batch, owner)
    # Of a face whose landmarks alone are known, nothing else is learned.
    only = batch.points_only.gather(1, owner.clamp(min=0)) & (owner >= 0)
    owner = torch.where(only, -1, owner)
    positive = owner >= 0
    overlap, box = _box_loss(cells, batch, owner)
    _, dense_box = _box_loss(cells, batch, _dense_owner(cells, batch))
    found = {'box': box + DENSE_SHARE * dense_box, 'landmarks': landmarks}

    count = positive.sum().clamp(min=1).float()
    target, weight, quality = _score_targets(cells, batch, positive)
    score = functional.binary_cross_entropy_with_logits(
        cells.scores, target, weight, reduction='sum'
    )
    found['score'] = score / count
    wanted = overlap.detach()
    if quality is not None:
        quality = quality[positive]
        wanted = torch.where(quality.isnan(), wanted, torch.lerp(wanted, quality, TEACHER_SHARE))
    found['quality'] = (
        functional.binary_cross_entropy_with_logits(
            cells.qualities[positive], wanted, reduction='sum'
        )
        / count
    )
    return found


def _box_loss(cells: Cells, batch: Batch, owner):
    """Return overlaps (P,) of the cells that have an ``owner``, and the loss of their boxes."""
    positive = owner >= 0
    boxes = batch.boxes[positive.nonzero()[:, 0], owner[positive]]
    overlap, distance = eiou(cells.boxes[positive], boxes)
    return overlap, BOX_WEIGHT * distance.sum() / positive.sum().clamp(min=1).float()


def _landmark_loss(cells: Cells, batch: Batch, owner):
    """Return the loss of the landmarks of the cells that have an ``owner``."""
    positive = owner >= 0
    rows, faces = positive.nonzero()[:, 0], owner[positive]
    boxes, points = batch.boxes[rows, faces], batch.landmarks[rows, faces]
    count = positive.sum().clamp(min=1).float()
    known = torch.isfinite(points).all(-1)
    size = (boxes[:, 2:] - boxes[:, :2]).prod(-1).sqrt()
    error = (cells.landmarks[positive] - torch.nan_to_num(points)) / size[:, None, None]
    error = functional.smooth_l1_loss(
        error, torch.zeros_like(error), beta=LANDMARK_BEND, reduction='none'
    ).mean(-1)
    weight = (size / LANDMARK_SIZE).sqrt().clamp(*LANDMARK_SIZE_WEIGHTS)
    eyes = torch.nan_to_num((points[:, 0] - points[:, 1]).norm(dim=-1))
    weight = weight * (FACING * size / eyes.clamp(min=1e-3)).clamp(1.0, MAX_TURN_WEIGHT)
    return LANDMARK_WEIGHT * ((error * known).mean(-1) * weight).sum() / count


def _dense_owner(cells: Cells, batch: Batch):
    """Return the smallest face around each cell, int64 (B, A), -1 where there is none."""
    sizes = (batch.boxes[..., 2:] - batch.boxes[..., :2]).clamp(min=0).prod(-1).sqrt()
    strides = sizes[..., None] / cells.strides
    fits = (
        holds(batch.boxes, cells.corners + cells.strides[:, None] / 2)
        & (batch.valid & ~batch.points_only)[..., None]
        & (strides >= DENSE_SIZES[0])
        & (strides <= DENSE_SIZES[1])
    )
    smallest, owner = torch.where(fits, sizes[..., None], torch.inf).min(1)
    return torch.where(torch.isfinite(smallest), owner, -1)


def _score_targets(cells: Cells, batch: Batch, positive):
    """Return target and weight of the score, and the teacher's quality, all (B, A).

    The quality is NaN where the teacher is not asked, and None without a teacher.
    """
    target = positive.float()
    centers = cells.corners + cells.strides[:, None] / 2
    inside = holds(batch.boxes, centers)
    ignored = (inside & batch.ignore[..., None]).any(1) & ~positive
    if batch.teacher is None:
        return target, (~ignored).float(), None
    seen = (batch.teacher[:, None] * inside[..., None]).prod(-1).sqrt()
    sure = (seen.amax(2) >= TEACHER_SURE) & batch.valid
    listens = (inside & sure[..., None]).any(1)
    share = torch.where(ignored, 1.0, TEACHER_SHARE * listens)
    target = torch.lerp(target, batch.teacher[..., 1], share)
    quality = torch.where(listens, batch.teacher[..., 0], torch.nan)
    return target, torch.where(ignored, IGNORED_WEIGHT, 1.0), quality


def eiou(boxes: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the overlaps (N,) and EIoU losses (N,) of ``boxes`` (N, 4) with ``wanted``."""
    low, high = (
        torch.maximum(boxes[:, :2], wanted[:, :2]),
        torch.minimum(boxes[:, 2:], wanted[:, 2:]),
    )
    shared = (high - low).clamp(min=0).prod(-1)
    sizes, wanted_sizes = boxes[:, 2:] - boxes[:, :2], wanted[:, 2:] - wanted[:, :2]
    overlap = shared / (sizes.prod(-1) + wanted_sizes.prod(-1) - shared).clamp(min=1e-6)
    hull = (
        (torch.maximum(boxes[:, 2:], wanted[:, 2:]) - torch.minimum(boxes[:, :2], wanted[:, :2]))
        .square()
        .clamp(min=1e-6)
    )
    apart = ((boxes[:, :2] + boxes[:, 2:] - wanted[:, :2] - wanted[:, 2:]) / 2).square().sum(-1)
    unlike = ((sizes - wanted_sizes).square() / hull).sum(-1)
    return overlap, 1 - overlap + apart / hull.sum(-1) + unlike
