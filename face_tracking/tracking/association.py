# SPDX-License-Identifier: Apache-2.0
"""Which detection continues which track."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from face_tracking import boxes as box_arithmetic

_FORBIDDEN = 1e6


def assign(cost: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows with columns: as many allowed pairs as can be had, at the least total cost.

    The problem is Kuhn's (H. W. Kuhn, "The Hungarian Method for the Assignment Problem", 1955).

    :param cost: float (N, M), of modest size (its sum well below a million).
    :param allowed: bool (N, M).
    :returns: the rows and the columns of the pairs, int (K,) each.
    """
    if not allowed.any():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    rows, columns = linear_sum_assignment(np.where(allowed, cost, _FORBIDDEN))
    good = allowed[rows, columns]
    return rows[good], columns[good]


def associate(tracks: np.ndarray, detections: np.ndarray, strong: np.ndarray,
              iou_threshold: float) -> np.ndarray:
    """Match detections to tracks in two stages, strong detections first.

    A weak detection is more often a true face seen badly than a false one where a track is
    expected anyway (Y. Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every
    Detection Box", 2022).

    :param tracks: boxes where the tracks are believed to be, float (N, 4).
    :param detections: boxes, float (M, 4).
    :param strong: bool (M,).
    :param iou_threshold: least overlap of a pair.
    :returns: for each detection the row of its track, int (M,), -1 where it has none.
    """
    match = np.full(len(detections), -1)
    overlap = box_arithmetic.iou(tracks, detections)
    for stage in (strong, ~strong):
        allowed = (overlap >= max(iou_threshold, 1e-6)) & stage[None, :]
        allowed[match[match >= 0]] = False
        rows, columns = assign(1 - overlap, allowed)
        match[columns] = rows
    return match
