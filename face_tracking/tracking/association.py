# SPDX-License-Identifier: Apache-2.0
"""Which detection continues which track: arrays over all pairs, never a loop over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment

from face_tracking import boxes as box_arithmetic
from face_tracking.tracking.appearance import SIZE, difference, differences
from face_tracking.tracking.kalman import States

GATE = 16.0
"""Squared distance in standard deviations, over four numbers, within which a pair is likely."""

_FORBIDDEN = 1e6
_UNCLEAR = 0.4  # what a difference in looks counts as where it cannot be told
_STRANGER = 0.9  # from this difference on even a face in the right place is another's
_PLACE_HELPS = 2.0  # a lost face in the right place may differ that many times as much
_WEAK_OVERLAP = 0.3
_OBVIOUS, _TOUCH = 0.5, 0.02  # overlap that nobody else's can match; none to speak of


class SpatialCost:
    """How well N tracks and M detections agree in place.

    :param states: beliefs about the tracks.
    :param boxes: float64 (M, 4), the detections.
    :param iou_threshold: overlap from which a pair is likely, however certain the place.
    :ivar overlap: intersection over union, float (N, M).
    """

    def __init__(self, states: States, boxes: np.ndarray, iou_threshold: float):
        self._states, self._boxes, self._iou_threshold = states, boxes, iou_threshold
        self.overlap = box_arithmetic.iou(states.boxes(), boxes)

    @cached_property
    def _distance(self) -> np.ndarray:
        return self._states.distances(self._boxes)

    @cached_property
    def likely(self) -> np.ndarray:
        """Which pairs may be, bool (N, M)."""
        likely = self.overlap >= max(self._iou_threshold, 1e-6)
        likely |= self._distance < GATE
        return likely

    @cached_property
    def cost(self) -> np.ndarray:
        """What a pair costs, float (N, M), 0 to 1.5."""
        cost = np.minimum(self._distance / GATE, 1.0)
        cost -= 0.5 * self.overlap
        cost += 0.5
        return cost

    def obvious(self, tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the pairs of a track and a detection where overlap alone leaves no doubt.

        That is so when each detection lies on a track of its own, one of ``tracks``, bool (N,),
        and touches no other.

        :returns: tracks, rising, and their detections, int (M,) each; None where there is doubt.
        """
        rows, columns = (self.overlap > _TOUCH).nonzero()
        count = self.overlap.shape[1]
        if (
            count
            and count == len(rows) == np.count_nonzero(self.overlap > _OBVIOUS)
            and _are_pairs(rows)
            and _are_pairs(columns)
            and all(tracks.take(rows).tolist())
        ):
            return rows, columns
        return None

    def settled(self, tracks: np.ndarray) -> np.ndarray:
        """Return the detections whose track is beyond doubt and one of ``tracks``, bool (M,).

        :param tracks: bool (N,).
        """
        settled = np.zeros(self.likely.shape[1], bool)
        rows, columns = np.nonzero(self.likely)
        if len(rows):
            alone = np.bincount(rows)[rows] + np.bincount(columns)[columns] == 2
            alone &= tracks[rows]
            alone &= self.overlap[rows, columns] > _OBVIOUS
            settled[columns[alone]] = True
        return settled


@dataclass(frozen=True, eq=False)
class Appearance:
    """How tracks or detections look.

    :ivar values: float32 (N, SIZE), see :mod:`~face_tracking.tracking.appearance`.
    :ivar known: bool (N,), which can be told at all.
    """

    values: np.ndarray
    known: np.ndarray

    @classmethod
    def none(cls, count: int) -> Appearance:
        """Return the looks of ``count`` faces of which nothing is known."""
        return cls(np.zeros((count, SIZE), np.float32), np.zeros(count, bool))

    def __getitem__(self, rows) -> Appearance:
        """Pick rows by index array or mask."""
        return Appearance(self.values[rows], self.known[rows])

    def could_be(self, others: Appearance) -> bool:
        """Say whether none of these looks is a stranger's to the one in its row of others."""
        strange = difference(self.values, others.values) >= _STRANGER
        return not np.count_nonzero(strange & self.known & others.known)


def assign(cost: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows with columns: as many allowed pairs as can be had, at the least total cost.

    The problem is Kuhn's (H. W. Kuhn, "The Hungarian Method for the Assignment Problem", 1955).

    :param cost: float (N, M), of modest size (its sum well below a million).
    :param allowed: bool (N, M).
    :returns: the rows and the columns of the pairs, int (K,) each.
    """
    rows, columns = allowed.nonzero()
    if len(rows) <= len(cost) and _are_pairs(rows) and _are_pairs(columns):
        return rows, columns  # nothing to choose: so it is nearly always
    rows, columns = linear_sum_assignment(np.where(allowed, cost, _FORBIDDEN))
    good = allowed[rows, columns]
    return rows[good], columns[good]


def associate(
    places: SpatialCost,
    tracks: Appearance,
    remembered: np.ndarray,
    detections: Appearance,
    strong: np.ndarray,
    appearance_threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Match M detections to N tracks in three stages.

    First strong detections, by place and looks. Then weak ones with the tracks left over: such a
    detection is more often a true face seen badly than a false one where a track is expected
    anyway (Y. Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection
    Box", 2022); only its place counts, for what is seen badly looks like nobody. Last, strong
    ones by looks alone, wherever they are.

    :param remembered: bool (N,), the tracks that were lost from sight: place is not enough.
    :param strong: bool (M,).
    :param appearance_threshold: difference in looks up to which two faces are the same by that alone.
    :returns: for each detection the row of its track, int (M,), -1 where it has none; and
        whether it was found in another place than expected, bool (M,).
    """
    match = np.full(len(strong), -1)
    if not len(remembered) or not len(match):
        return match, np.zeros(len(match), bool)
    by_looks = bool(detections.known.any())
    in_sight = ~remembered[:, None]
    likely = places.likely & strong
    if by_looks:
        comparable = tracks.known[:, None] & detections.known
        limit = np.where(remembered, _PLACE_HELPS * appearance_threshold, _STRANGER)[:, None]
        looks = differences(tracks.values, detections.values, comparable & likely)
        first = likely & np.where(comparable, looks < limit, in_sight)
        _pair(match, places.cost + np.where(comparable, looks, _UNCLEAR), first)
    else:
        _pair(match, places.cost, likely & in_sight)
    if not strong.all():
        second = (places.overlap >= _WEAK_OVERLAP) & places.likely & ~strong & in_sight
        _pair(match, places.cost, second)
    by_place = match >= 0
    if not by_looks or by_place.all():
        return match, np.zeros(len(match), bool)
    left = comparable & strong & ~by_place
    left[match[by_place]] = False
    if left.any():
        looks = differences(tracks.values, detections.values, left)
        _pair(match, looks, left & (looks < appearance_threshold))
    return match, (match >= 0) & ~by_place


def _pair(match: np.ndarray, cost: np.ndarray, allowed: np.ndarray) -> None:
    """Add the best pairs among what is not yet matched to ``match`` (M,)."""
    taken = match >= 0
    if taken.any():
        allowed = allowed & ~taken
        allowed[match[taken]] = False
    rows, columns = assign(cost, allowed)
    match[columns] = rows


def _are_pairs(indices: np.ndarray) -> bool:
    """Say whether no index occurs twice."""
    return len(set(indices.tolist())) == len(indices)
