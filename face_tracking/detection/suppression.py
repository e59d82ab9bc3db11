# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression: of boxes that show the same face, the best remains.

The best of several cells that see a face is now this one and now that one, and with each change
the box would jump. So what remains is the mean of those that agree, after Bazarevsky et al.,
"BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019, section 3.4.
"""

from __future__ import annotations

import cv2
import numpy as np

from face_tracking import boxes as box_math

VOTE_IOU_THRESHOLD = 0.6
"""Of the boxes that a better one displaces, those that overlap it by more than this (intersection
over union) have their say: the others may be of a neighbor."""
MAX_CANDIDATES = 2000
"""Boxes that are compared at most, the best ones: the time rises with the square of their number,
and some networks score every cell above a low threshold."""
LEAST_WEIGHT = 1e-30
"""Of a box in the mean: where all scores are 0, all count alike."""


def strongest(scores: np.ndarray, count: int = MAX_CANDIDATES) -> np.ndarray | slice:
    """Return which of ``scores`` (N,) are the ``count`` highest, in their order.

    Of equal scores at the limit, the earlier ones.
    """
    if len(scores) <= count:
        return slice(None)
    return np.sort(np.argsort(-scores, kind='stable')[:count])


def suppress(
    boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, limit: int = 0
) -> np.ndarray:
    """Return the rows to keep, int64 (K,), best first.

    Greedy: the best box is kept and those that overlap it by more than ``iou_threshold`` go,
    then the best of the rest, and so on. Of equal scores the earlier row counts as better.

    :param boxes: float32 (N, 4), ``[x1, y1, x2, y2]``.
    :param scores: float32 (N,).
    :param limit: return at most so many; 0 returns all.
    """
    rows = boxes.copy()
    rows[:, 2:] -= boxes[:, :2]
    # As lists: OpenCV reads those several times faster than arrays.
    kept = cv2.dnn.NMSBoxes(rows.tolist(), scores.tolist(), 0, iou_threshold)
    return np.asarray(kept[:limit] if limit else kept, np.int64)


def blend(
    rows: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    kept: np.ndarray,
    iou_threshold: float,
    vote_iou_threshold: float = VOTE_IOU_THRESHOLD,
) -> np.ndarray:
    """Return ``rows`` (K, M) of the boxes kept, each the mean over the boxes that agree on a face.

    Those are the one kept and, of those that it displaced, those that overlap it by more than
    ``vote_iou_threshold``. They weigh as much as the fourth power of their scores: beside a sure
    box a weak one counts next to nothing.

    :param rows: float32 (N, M), what to average, of all boxes.
    :param boxes, scores: see :func:`suppress`.
    :param kept, iou_threshold: what that returned, and what it was told.
    """
    found = rows[kept]
    gone = np.setdiff1d(np.arange(len(boxes)), kept, assume_unique=True)
    if not len(gone):
        return found
    overlap = box_math.iou(boxes[kept], boxes[gone])
    first = (overlap > iou_threshold).argmax(axis=0)
    agree = overlap[first, np.arange(len(gone))] > max(iou_threshold, vote_iou_threshold)
    weights = np.maximum(scores**4, LEAST_WEIGHT)
    for k in np.unique(first[agree]):
        own = np.r_[kept[k], gone[agree & (first == k)]]
        found[k] = weights[own] @ rows[own] / weights[own].sum()
    return found
    overlap = box_math.iou(boxes[kept], boxes)
    first = (overlap > iou_threshold).argmax(axis=0)
    agree = overlap > max(iou_threshold, vote_iou_threshold)
    agree &= first == np.arange(len(kept))[:, None]
    agree[:, kept] = np.eye(len(kept), dtype=bool)
    weights = np.maximum(scores**4, LEAST_WEIGHT)
    for k in np.flatnonzero(agree.sum(axis=1) > 1):
        own = weights[agree[k]]
        found[k] = own @ rows[agree[k]] / own.sum()
    return found
