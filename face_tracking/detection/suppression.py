# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression with box voting.

Of the boxes that show the same face the best one remains. Which cell scores best changes from
image to image, and with each change the box would jump. The box that remains is therefore the
mean of those that agree, after Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face
Detection on Mobile GPUs", 2019, section 3.4.
"""

from __future__ import annotations

import cv2
import numpy as np

from face_tracking import boxes as box_math
from face_tracking.arrays import Array, IntArray

VOTE_IOU_THRESHOLD = 0.6
"""A suppressed box is averaged into the best one if their IoU is larger than this; boxes with a
smaller IoU may belong to a neighboring face."""
MAX_CANDIDATES = 2000
"""Maximum number of boxes that are compared, the best ones. The time rises with the square of
their number, and some networks score every cell above a low threshold."""
MIN_WEIGHT = 1e-30
"""Smallest weight in the mean; if all scores are 0, all boxes count equally."""


def strongest(scores: Array, count: int = MAX_CANDIDATES) -> IntArray | slice[None, None, None]:
    """Return the indices of the ``count`` highest of ``scores`` (N,), in their order.

    Of equal scores at the limit the earlier ones are taken.
    """
    if len(scores) <= count:
        return slice(None)
    return np.sort(np.argsort(-scores, kind='stable')[:count])


def suppress(boxes: Array, scores: Array, iou_threshold: float, limit: int = 0) -> Array:
    """Return the indices of the boxes to keep, int64 (K,), best first.

    Greedy: the best box is kept and those with a larger IoU than ``iou_threshold`` are removed,
    then the best of the rest is kept, and so on. Of equal scores the earlier index comes first.

    :param boxes: float32 (N, 4), ``[x1, y1, x2, y2]``.
    :param scores: float32 (N,).
    :param limit: maximum number of indices; 0 = unlimited.
    """
    rows = boxes.copy()
    rows[:, 2:] -= boxes[:, :2]
    # OpenCV reads lists several times faster than arrays.
    kept = cv2.dnn.NMSBoxes(rows.tolist(), scores.tolist(), 0, iou_threshold)
    return np.asarray(kept[:limit] if limit else kept, np.int64)


def blend(
    rows: Array,
    boxes: Array,
    scores: Array,
    kept: Array,
    iou_threshold: float,
    vote_iou_threshold: float = VOTE_IOU_THRESHOLD,
) -> Array:
    """Return the rows of the kept boxes, (K, M), each averaged over the boxes that agree with it.

    A kept box agrees with itself and with those of the boxes it suppressed whose IoU with it is
    larger than ``vote_iou_threshold``. The weights are the fourth powers of the scores.

    :param rows: float32 (N, M), what to average, for all boxes.
    :param boxes: see :func:`suppress`.
    :param scores: see :func:`suppress`.
    :param kept: what :func:`suppress` returned for these boxes.
    :param iou_threshold: the threshold given to :func:`suppress`.
    """
    found = rows[kept]
    removed = np.setdiff1d(np.arange(len(boxes)), kept, assume_unique=True)
    if not len(removed):
        return found
    overlap = box_math.iou(boxes[kept], boxes[removed])
    first = (overlap > iou_threshold).argmax(axis=0)
    agree = overlap[first, np.arange(len(removed))] > max(iou_threshold, vote_iou_threshold)
    weights = np.maximum(scores**4, MIN_WEIGHT)
    for k in np.unique(first[agree]):
        own = np.r_[kept[k], removed[agree & (first == k)]]
        found[k] = weights[own] @ rows[own] / weights[own].sum()
    return found
