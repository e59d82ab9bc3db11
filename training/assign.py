# SPDX-License-Identifier: Apache-2.0
"""Which cells answer for which face: a simplified optimal transport.

Ge et al., "OTA: Optimal Transport Assignment for Object Detection", 2021, in the form that
"YOLOX" (2021) gave it: each face takes the cells that answer it at the least cost now, as many
of them as its ten best overlaps sum to, but no fewer than three: a network that overlaps nothing
yet would otherwise learn from one cell in hundreds.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from training.grid import Cells

REACH = 2.5
"""A cell may answer for a face whose center is within so many strides of the cell's."""
CANDIDATES = 10
MIN_CELLS = 3
OVERLAP_WEIGHT = 3.0
FAR = 1e5


def assign(cells: Cells, boxes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return for every cell the index of its face, int64 (B, A), -1 where it has none.

    :param boxes: float32 (B, G, 4), pixels.
    :param valid: bool (B, G), the rows of ``boxes`` that are faces.
    """
    with torch.no_grad():
        overlap = pairwise_iou(boxes, cells.boxes)
        centers = cells.corners + cells.strides[:, None] / 2
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        near = (centers - middle[:, :, None]).abs().amax(-1) < REACH * cells.strides
        inside = holds(boxes, centers)
        likely = torch.sqrt(cells.scores.sigmoid() * cells.qualities.sigmoid())
        cost = (
            functional.binary_cross_entropy(likely, torch.ones_like(likely), reduction='none')[
                :, None
            ]
            - OVERLAP_WEIGHT * torch.log(overlap + 1e-7)
            + FAR * ~(near & inside)
            + FAR * FAR * ~(near | inside)
        )
        best = min(CANDIDATES, cost.shape[2])
        count = (overlap * (near | inside)).topk(best, dim=2).values.sum(2)
        count = count.int().clamp(min=MIN_CELLS)
        lowest = cost.topk(best, dim=2, largest=False).indices
        rank = torch.arange(best, device=cost.device)
        taken = (rank < count[..., None]) & valid[..., None]
        chosen = torch.zeros_like(cost, dtype=torch.bool).scatter_(2, lowest, taken)
        chosen &= near | inside
        cost = torch.where(chosen, cost, torch.inf)
        face = cost.argmin(1)
        return torch.where(chosen.any(1), face, -1)


def holds(boxes: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return bool (B, G, A): whether each of ``boxes`` (B, G, 4) holds each point (A, 2)."""
    return ((points > boxes[:, :, None, :2]) & (points < boxes[:, :, None, 2:])).all(-1)


def pairwise_iou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return intersection over union (B, G, A) of boxes (B, G, 4) with boxes (B, A, 4)."""
    low = torch.maximum(first[:, :, None, :2], second[:, None, :, :2])
    high = torch.minimum(first[:, :, None, 2:], second[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    union = areas[0][:, :, None] + areas[1][:, None, :] - shared
    return shared / union.clamp(min=1e-6)
