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
_UNCLEAR = 0.4     # what a difference in looks counts as where it cannot be told
_STRANGER = 0.9    # from this difference on even a face in the right place is another's
_PLACE_HELPS = 2.0  # a lost face in the right place may differ that many times as much
_WEAK_OVERLAP = 0.3


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
              strong: np.ndarray, iou_threshold: float,
              look_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Match detections to tracks in three stages.

    First strong detections, by place and looks. Then weak ones with the tracks left over: such a
    detection is more often a true face seen badly than a false one where a track is expected
    anyway (Y. Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection
    Box", 2022); only its place counts, for what is seen badly looks like nobody. Last, strong
    ones by looks alone, wherever they are.

    :param states: where the tracks are believed to be, N of them.
    :param remembered: bool (N,), the tracks that were lost from sight: place is not enough.
    :param strong: bool (M,).
    :param iou_threshold: overlap from which a pair is likely, however certain the place.
    :param look_threshold: difference in looks up to which two faces are the same by that alone.
    :returns: for each detection the row of its track, int (M,), -1 where it has none; and
        whether it was found in another place than expected, bool (M,).
    """
    match = np.full(len(detections.boxes), -1)
    elsewhere = np.zeros(len(match), bool)
    if not len(states) or not len(match):
        return match, elsewhere
    overlap = box_arithmetic.iou(tracks.boxes, detections.boxes)
    distance = states.distances(detections.boxes)
    likely = (overlap >= max(iou_threshold, 1e-6)) | (distance < GATE)
    place = np.minimum(distance / GATE, 1.0) + 0.5 * (1 - overlap)
    comparable = tracks.known[:, None] & detections.known[None, :]
    limit = np.where(remembered, _PLACE_HELPS * look_threshold, _STRANGER)[:, None]
    looks = difference(tracks.looks, detections.looks, comparable & likely & strong)
    first = likely & strong & np.where(comparable, looks < limit, ~remembered[:, None])
    cost = place + _LOOKS_WEIGHT * np.where(comparable, looks, _UNCLEAR)
    _pair(match, cost, first)
    weak = (overlap >= max(iou_threshold, _WEAK_OVERLAP)) & ~strong & ~remembered[:, None]
    _pair(match, place, weak)
    left = comparable & strong & (match < 0)
    left[match[match >= 0]] = False
    looks = difference(tracks.looks, detections.looks, left)
    before = match >= 0
    _pair(match, looks, left & (looks < look_threshold))
    return match, (match >= 0) & ~before


def _pair(match: np.ndarray, cost: np.ndarray, allowed: np.ndarray) -> None:
    """Add the best pairs among what is not yet matched to ``match`` (M,)."""
    allowed = allowed & (match < 0)
    allowed[match[match >= 0]] = False
    rows, columns = assign(cost, allowed)
    match[columns] = rows
