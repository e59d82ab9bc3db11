# SPDX-License-Identifier: Apache-2.0
"""Which detection continues which track: arrays over all pairs, never a loop over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from face_tracking import boxes as box_arithmetic
from face_tracking.tracking.appearance import difference
from face_tracking.tracking.motion import States

GATE = 16.0
"""Squared distance in standard deviations, over four numbers, within which a pair is likely."""

_FORBIDDEN = 1e6
_LOOKS_WEIGHT = 1.0
_STRANGER = 1.1  # a difference in looks from which even a face in the right place is another's


@dataclass(frozen=True, eq=False)
class Candidates:
    """One side of the matching.

    :ivar boxes: float64 (N, 4).
    :ivar looks: float32 (N, SIZE), see :mod:`~face_tracking.tracking.appearance`.
    :ivar known: bool (N,), whose look can be told at all.
    """

    boxes: np.ndarray
    looks: np.ndarray
    known: np.ndarray


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


def associate(states: States, tracks: Candidates, remembered: np.ndarray, detections: Candidates,
              strong: np.ndarray, iou_threshold: float, look_threshold: float) -> np.ndarray:
    """Match detections to tracks in two stages, strong detections first.

    A weak detection is more often a true face seen badly than a false one where a track is
    expected anyway (Y. Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every
    Detection Box", 2022). It is judged by its place alone: what is seen badly looks like nobody.

    :param states: where the tracks are believed to be, N of them.
    :param remembered: bool (N,), the tracks that were lost from sight; one of those must look
        right, too, within ``look_threshold``.
    :param strong: bool (M,).
    :param iou_threshold: overlap from which a pair is likely, however certain the place.
    :returns: for each detection the row of its track, int (M,), -1 where it has none.
    """
    match = np.full(len(detections.boxes), -1)
    if not len(states) or not len(match):
        return match
    overlap = box_arithmetic.iou(tracks.boxes, detections.boxes)
    distance = states.distances(detections.boxes)
    likely = (overlap >= max(iou_threshold, 1e-6)) | (distance < GATE)
    place = np.minimum(distance / GATE, 1.0) + 0.5 * (1 - overlap)
    comparable = tracks.known[:, None] & detections.known[None, :]
    looks = np.where(comparable, difference(tracks.looks, detections.looks), 0.5)
    limit = np.where(remembered[:, None], look_threshold, _STRANGER)
    first = likely & strong & np.where(comparable, looks < limit, ~remembered[:, None])
    second = (overlap >= max(iou_threshold, 0.3)) & ~strong & ~remembered[:, None]
    for cost, allowed in ((place + _LOOKS_WEIGHT * looks, first), (place, second)):
        allowed[match[match >= 0]] = False
        rows, columns = assign(cost, allowed)
        match[columns] = rows
    return match
