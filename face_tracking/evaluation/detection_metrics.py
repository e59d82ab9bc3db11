# SPDX-License-Identifier: Apache-2.0
"""How good detections are by labels: average precision, recall by group, landmarks, false alarms.

Matching follows Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010, with
the regions to ignore of Yang et al., "WIDER FACE: A Face Detection Benchmark", 2016: a detection
of a face that does not count is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from face_tracking import boxes as box_math
from face_tracking.arrays import Array
from face_tracking.faces import Detections

MATCH_IOU = 0.5
"""A detection is right from this intersection over union with a label on."""
IGNORE_IOU = 0.3
"""A detection that overlaps an ignored label by this much is neither right nor wrong."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What is labeled in one image.

    :ivar boxes: float32 (N, 4), ``[x1, y1, x2, y2]`` in pixels of the image.
    :ivar counts: bool (N,), the faces to find; the others are ignored.
    :ivar landmarks: float32 (N, 5, 2) in pixels, NaN where unknown.
    """

    boxes: Array
    counts: Array
    landmarks: Array


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one image beside its labels.

    :ivar scores: float32 (K,), of the detections.
    :ivar labels: int64 (K,), the label that each detection finds, -1 where it finds none.
    :ivar excused: bool (K,), detections that are neither right nor wrong.
    :ivar found_at: float32 (N,), the score at which each label is found, -1 where it is not.
    :ivar counts: bool (N,), as in `Labels`.
    :ivar landmark_errors: float32 (K,), mean distance of the landmarks over the distance of the
        labeled eyes, NaN where either side has no landmarks.
    """

    scores: Array
    labels: Array
    excused: Array
    found_at: Array
    counts: Array
    landmark_errors: Array


def match(labels: Labels, found: Detections, min_side: float = 0.0) -> Matches:
    """Match the detections of one image with its labels, the best detection first.

    :param min_side: a detection without a label whose shorter side is below this, in pixels of
        the image, is excused.
    """
    count = len(found.scores)
    matched, excused = np.full(count, -1), np.zeros(count, bool)
    found_at = np.full(len(labels.boxes), -1.0, np.float32)
    overlap = box_math.iou(found.boxes, labels.boxes)
    small = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1, initial=np.inf) < min_side
    for row in np.argsort(-found.scores, kind='stable'):
        free = np.where(labels.counts & (found_at < 0), overlap[row], -1.0)
        if len(free) and free.max() >= MATCH_IOU:
            matched[row] = free.argmax()
            found_at[matched[row]] = found.scores[row]
        else:
            ignored = (overlap[row][~labels.counts] >= IGNORE_IOU).any()
            excused[row] = len(free) > 0 and (ignored or small[row])
    errors = _landmark_errors(labels, found, matched)
    return Matches(found.scores, matched, excused, found_at, labels.counts, errors)


def _landmark_errors(labels: Labels, found: Detections, matched: Array) -> Array:
    errors = np.full(len(matched), np.nan, np.float32)
    rows = np.flatnonzero(matched >= 0)
    wanted = labels.landmarks[matched[rows]]
    eyes = np.linalg.norm(wanted[:, 0] - wanted[:, 1], axis=1)
    distance = np.linalg.norm(found.landmarks[rows] - wanted, axis=2).mean(axis=1)
    errors[rows] = np.where(eyes > 0, distance / np.maximum(eyes, 1e-6), np.nan)
    return errors


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision over recall of all images together, from the best score down.

    :ivar scores: float (M,), descending.
    :ivar right: float (M,), number of right detections from this score up.
    :ivar wrong: float (M,), number of wrong ones.
    :ivar faces: how many faces there are to find.
    :ivar images: how many images there are.
    """

    scores: Array
    right: Array
    wrong: Array
    faces: int
    images: int

    @property
    def average_precision(self) -> float:
        """Area under the envelope of the precision, 0 to 1."""
        recall = self.right / max(self.faces, 1)
        precision = self.right / np.maximum(self.right + self.wrong, 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(np.r_[0.0, recall]) * envelope))

    @property
    def recall(self) -> float:
        """Share of the faces that are found at any score, 0 to 1."""
        return float(self.right[-1]) / max(self.faces, 1) if len(self.right) else 0.0

    def recall_at(self, threshold: float) -> float:
        """Return the share of the faces that are found at this score or above."""
        return self._at(self.right, threshold) / max(self.faces, 1)

    def precision_at(self, threshold: float) -> float:
        """Return the share of the detections at this score or above that are right, or NaN."""
        right, wrong = self._at(self.right, threshold), self._at(self.wrong, threshold)
        return right / (right + wrong) if right + wrong else float('nan')

    def false_alarms_at(self, threshold: float) -> float:
        """Return the number of wrong detections at this score or above, per image."""
        return self._at(self.wrong, threshold) / max(self.images, 1)

    def recall_at_false_alarms(self, most: float) -> float:
        """Return the greatest recall with at most so many wrong detections per image."""
        quiet = self.wrong <= most * self.images
        return float(self.right[quiet].max(initial=0.0)) / max(self.faces, 1)

    def threshold_at_false_alarms(self, most: float) -> float:
        """Return the least score with at most so many wrong detections per image, 0 to 1."""
        loud = np.flatnonzero(self.wrong > most * self.images)
        return float(self.scores[loud[0]]) if len(loud) else 0.0

    def _at(self, values: Array, threshold: float) -> float:
        above = int((self.scores >= threshold).sum())
        return float(values[above - 1]) if above else 0.0


def curve(matches: Sequence[Matches]) -> Curve:
    """Return the curve of the matches of several images."""
    scores = np.concatenate([np.zeros(0), *(row.scores[~row.excused] for row in matches)])
    right = np.concatenate([np.zeros(0), *(row.labels[~row.excused] >= 0 for row in matches)])
    order = np.argsort(-scores, kind='stable')
    right = right[order].astype(float)
    faces = sum(int(row.counts.sum()) for row in matches)
    return Curve(scores[order], np.cumsum(right), np.cumsum(1 - right), faces, len(matches))


def recall_of(matches: Sequence[Matches], groups: Sequence[Array], threshold: float) -> float:
    """Return the share of the faces of a group that are found, NaN of none.

    :param groups: bool (N,) for each image, which of its labels belong to the group; those that
        do not count are left out.
    :param threshold: least score.
    """
    found = total = 0
    for row, group in zip(matches, groups, strict=True):
        chosen = group & row.counts
        total += int(chosen.sum())
        found += int((row.found_at[chosen] >= threshold).sum())
    return found / total if total else float('nan')


def landmark_error(matches: Sequence[Matches]) -> tuple[float, float, int]:
    """Return mean and median of the landmark errors, NaN of none, and of how many faces."""
    errors = np.concatenate([np.zeros(0), *(row.landmark_errors for row in matches)])
    errors = errors[np.isfinite(errors)]
    if not len(errors):
        return float('nan'), float('nan'), 0
    return float(errors.mean()), float(np.median(errors)), len(errors)
