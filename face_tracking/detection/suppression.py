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
    corners = boxes.T[:, order]
    lows, highs = corners[:2], corners[2:]
    sides = highs - lows
    # IoU > t just where shared > t / (1 + t) * (the sum of both areas).
    shares = sides[0] * sides[1] * (iou_threshold / (1 + iou_threshold))
    kept = []
    while order.size:
        kept.append(order[0])
        if len(kept) == limit:
            break
        sides = np.minimum(highs, highs[:, :1]) - np.maximum(lows, lows[:, :1])
        np.maximum(sides, 0, out=sides)
        apart = sides[0] * sides[1] <= shares + shares[0]
        apart[0] = False
        rows = apart.nonzero()[0]
        order, shares, lows, highs = order[rows], shares[rows], lows[:, rows], highs[:, rows]
    return np.array(kept, np.int64)
