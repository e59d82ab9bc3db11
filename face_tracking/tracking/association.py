# SPDX-License-Identifier: Apache-2.0
"""Association: which detection continues which track, in stages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment

from face_tracking import boxes as box_arithmetic
from face_tracking.arrays import BoolArray, FloatArray, IntArray
from face_tracking.tracking.cue import CueSet
from face_tracking.tracking.kalman import States

GATE = 16.0
"""Squared Mahalanobis distance, over four components, within which a pair is plausible."""

DIFFERENT_PERSON = 0.9
"""Appearance distance from which a face is another person, even in the expected position."""

_FORBIDDEN = 1e6
_UNKNOWN_DISTANCE = 0.4  # what an appearance distance that is not known counts as
_POSITION_BONUS = 2.0  # factor on the threshold for a lost face in the expected position
_WEAK_IOU = 0.3  # minimum overlap of a weak detection with the track that it continues
_MAX_ERROR, _MAX_SPEED = 0.5, 16.0  # beyond the expected motion: sizes, sizes per second
_CERTAIN_IOU, _TOUCHING_IOU = 0.5, 0.02


def within_reach(states: States, boxes: FloatArray, seconds: FloatArray) -> BoolArray:
    """Return which faces (N,) can have moved to which boxes (M, 4) in a time (N,), bool (N, M).

    :param states: where the faces are expected.
    :param seconds: since they were last seen.
    """
    expected = states.boxes()
    reach = np.sqrt(box_arithmetic.area(expected)) * (_MAX_ERROR + _MAX_SPEED * seconds)
    centers, others = ((rows[:, :2] + rows[:, 2:]) / 2 for rows in (expected, boxes))
    x, y = (centers[:, None] - others).transpose(2, 0, 1)
    return np.hypot(x, y) <= reach[:, None]


class SpatialCost:
    """How well the positions of N tracks and M detections agree.

    :param states: the tracks.
    :param boxes: float64 (M, 4), the detections.
    :param iou_threshold: overlap from which a pair is plausible, however certain the position.
    :param displaced: bool (N,), tracks whose position is not known.
    :ivar iou: intersection over union of each pair, float (N, M).
    """

    def __init__(
        self,
        states: States,
        boxes: FloatArray,
        iou_threshold: float,
        displaced: BoolArray,
    ):
        self._states, self._boxes, self._iou_threshold = states, boxes, iou_threshold
        self._displaced = displaced
        self.iou = box_arithmetic.iou(states.boxes(), boxes)
        if any(displaced.tolist()):
            self.iou[displaced] = 0.0

    @cached_property
    def distance(self) -> FloatArray:
        """The squared Mahalanobis distance of each pair, float (N, M)."""
        return self._states.distances(self._boxes)

    @cached_property
    def gate(self) -> BoolArray:
        """Which pairs are plausible, bool (N, M)."""
        gate = (self.distance < GATE) | (self.iou >= max(self._iou_threshold, 1e-6))
        return gate & ~self._displaced[:, None]

    @cached_property
    def cost(self) -> FloatArray:
        """What each pair costs, float (N, M), 0 to 1.5."""
        return np.minimum(self.distance / GATE, 1.0) + 0.5 * (1 - self.iou)

    def reachable(self, unseen: FloatArray) -> BoolArray:
        """Return where tracks can have moved since they were last detected, bool (N, M).

        :param unseen: seconds since then, float (N,).
        """
        reachable = within_reach(self._states, self._boxes, unseen)
        return reachable | self._displaced[:, None]

    def unambiguous_pairs(self, visible: BoolArray) -> tuple[IntArray, IntArray] | None:
        """Return the tracks and detections that match when overlap alone is unambiguous.

        That is so when each detection overlaps one track of its own, one of the ``visible`` ones
        (N,), and touches no other.

        :returns: tracks, rising, and their detections, int (M,) each; None if ambiguous.
        """
        rows, columns = np.nonzero(self.iou > _TOUCHING_IOU)
        count = self.iou.shape[1]
        certain = count == len(rows) == np.count_nonzero(self.iou > _CERTAIN_IOU)
        if count and certain and _one_to_one(rows, columns) and all(visible[rows].tolist()):
            return rows, columns
        return None

    def confirmed(self, tracks: BoolArray) -> BoolArray:
        """Return the detections whose track is certain by position alone, bool (M,).

        :param tracks: bool (N,), the tracks that may be certain.
        """
        confirmed = np.zeros(self.gate.shape[1], bool)
        rows, columns = np.nonzero(self.gate)
        if len(rows):
            alone = np.bincount(rows)[rows] + np.bincount(columns)[columns] == 2
            alone &= tracks[rows] & (self.iou[rows, columns] > _CERTAIN_IOU)
            confirmed[columns[alone]] = True
        return confirmed


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of a track and a detection.

    :ivar tracks: int (K,), rising.
    :ivar detections: int (K,).
    :ivar reid: bool (K,), whether the track was found by its appearance alone, at another position
        than expected.
    """

    tracks: IntArray
    detections: IntArray
    reid: BoolArray

    def __len__(self) -> int:
        return len(self.tracks)


def assign(cost: FloatArray, allowed: BoolArray) -> tuple[IntArray, IntArray]:
    """Pair rows with columns: as many allowed pairs as possible, at the smallest total cost.

    The problem is the one of H. W. Kuhn, "The Hungarian Method for the Assignment Problem", 1955.

    :param cost: float (N, M), of modest size (its sum well below a million).
    :param allowed: bool (N, M).
    :returns: the rows and the columns of the pairs, int (K,) each.
    """
    rows, columns = np.nonzero(allowed)
    if _one_to_one(rows, columns):
        return rows, columns  # the usual case: nothing to choose
    rows, columns = linear_sum_assignment(np.where(allowed, cost, _FORBIDDEN))
    kept = allowed[rows, columns]
    return rows[kept], columns[kept]


def associate(
    spatial: SpatialCost,
    cues: CueSet,
    tracks: FloatArray,
    detections: FloatArray,
    visible: BoolArray,
    lost: BoolArray,
    unseen: FloatArray,
    strong: BoolArray,
    threshold: float,
) -> Matches:
    """Match M detections to N tracks.

    1. Strong detections with tracks, by position and appearance.
    2. Weak detections with the visible tracks that are left, by position: such a detection is more
       often a face seen badly than a false alarm where a track is expected anyway (Y. Zhang et
       al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", 2022).
    3. Weak detections with the lost tracks that are expected there and look the same: a face that
       comes out from behind something is seen badly at first.
    4. A track whose appearance does not match its detection moves to an unmatched detection with
       the same appearance.
    5. Strong detections with tracks that are left, by appearance alone.

    :param tracks: float32 (N, size), descriptors of the tracks; NaN where unknown.
    :param detections: float32 (M, size), descriptors of the detections.
    :param visible: bool (N,), tracks that the previous detections found; if the position of one is
        certain, it keeps its detection whatever the appearance.
    :param lost: bool (N,), tracks whose position alone is not enough: they are not published any
        more, or the scene may have changed.
    :param unseen: seconds since the tracks were last detected, float (N,).
    :param strong: bool (M,), detections with a score that may spawn a track.
    :param threshold: appearance distance up to which two faces are the same by that alone.
    """
    assignment = _Assignment(*spatial.gate.shape)
    candidates = spatial.gate & strong
    distance = cues.distances(tracks, detections, candidates)
    unknown, certain = np.isnan(distance), spatial.confirmed(visible)
    limit = np.where(lost, _POSITION_BONUS * threshold, DIFFERENT_PERSON)[:, None]
    allowed = candidates & (certain | np.where(unknown, ~lost[:, None], distance < limit))
    assignment.match(spatial.cost + np.where(unknown, _UNKNOWN_DISTANCE, distance), allowed)

    allowed = spatial.gate & (spatial.iou >= _WEAK_IOU) & ~strong & ~lost[:, None]
    assignment.match(spatial.cost, allowed)

    reappearing = spatial.gate & ~strong & lost[:, None] & assignment.pairs()
    if reappearing.any():
        distance = cues.distances(tracks, detections, reappearing)
        assignment.match(distance, distance < threshold)

    by_position = assignment.match_of.copy()
    plausible = spatial.reachable(unseen) & strong
    assignment.swap_to_better_match(cues, tracks, detections, plausible, threshold)
    remaining = assignment.pairs() & plausible
    if remaining.any():
        distance = cues.distances(tracks, detections, remaining)
        assignment.match(distance, distance < threshold)
    return assignment.matches(by_position)


class _Assignment:
    """The tracks and detections that are not matched yet, and the matches so far."""

    def __init__(self, tracks: int, detections: int):
        self._tracks = np.ones(tracks, bool)
        self.match_of = np.full(detections, -1)  # the track of each detection

    def pairs(self) -> BoolArray:
        """Return the pairs that are free, bool (N, M)."""
        return self._tracks[:, None] & (self.match_of < 0)

    def match(self, cost: FloatArray, allowed: BoolArray) -> None:
        """Match what is free and allowed, bool (N, M), at the smallest cost."""
        rows, columns = assign(cost, allowed & self.pairs())
        self._tracks[rows] = False
        self.match_of[columns] = rows

    def swap_to_better_match(
        self,
        cues: CueSet,
        tracks: FloatArray,
        detections: FloatArray,
        allowed: BoolArray,
        threshold: float,
    ) -> None:
        """Move tracks from detections of other people to their own face where it is assignment.

        When two faces meet, the one in front may have taken the track of the one behind.
        """
        columns = np.flatnonzero(self.match_of >= 0)
        own = np.full(len(tracks), np.nan)
        own[self.match_of[columns]] = cues.distance(
            tracks[self.match_of[columns]], detections[columns]
        )
        allowed = allowed & (own > threshold)[:, None] & (self.match_of < 0)
        if allowed.any():
            distance = cues.distances(tracks, detections, allowed)
            better = distance < np.minimum(own - threshold, threshold)[:, None]
            rows, columns = assign(distance, better)
            self.match_of[np.isin(self.match_of, rows)] = -1
            self.match_of[columns] = rows

    def matches(self, by_position: IntArray) -> Matches:
        """Return the matches; those that differ from ``by_position`` are by appearance."""
        detections = np.flatnonzero(self.match_of >= 0)
        detections = detections[np.argsort(self.match_of[detections])]
        tracks = self.match_of[detections]
        return Matches(tracks, detections, by_position[detections] != tracks)


def _one_to_one(rows: IntArray, columns: IntArray) -> bool:
    """Return whether no row and no column occurs twice."""
    return len(set(rows.tolist())) == len(rows) == len(set(columns.tolist()))
