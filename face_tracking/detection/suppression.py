# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression: of boxes that show the same face, the best remains."""

from __future__ import annotations

import numpy as np


def suppress(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float,
             limit: int = 0) -> np.ndarray:
    """Return the rows to keep, int64 (K,), best first.

    Greedy: the best box is kept and those that overlap it by more than ``iou_threshold`` go,
    then the best of the rest, and so on. Of equal scores the earlier row counts as better.

    :param boxes: float32 (N, 4), ``[x1, y1, x2, y2]``.
    :param scores: float32 (N,).
    :param limit: stop after so many; 0 keeps all.
    """
    order = np.argsort(-scores, kind='stable')
    boxes = boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order) and (not limit or len(kept) < limit):
        kept.append(order[0])
        overlapping = _overlaps(boxes, areas, iou_threshold)
        order, boxes, areas = order[~overlapping], boxes[~overlapping], areas[~overlapping]
    return np.array(kept, np.int64)


def _overlaps(boxes: np.ndarray, areas: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Tell which boxes overlap the first one too much; the first itself always does."""
    low = np.maximum(boxes[:, :2], boxes[0, :2])
    sides = np.minimum(boxes[:, 2:], boxes[0, 2:]) - low
    np.maximum(sides, 0, out=sides)
    shared = sides[:, 0] * sides[:, 1]
    overlapping = shared > iou_threshold * (areas + areas[0] - shared)
    overlapping[0] = True
    return overlapping
