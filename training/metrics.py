# SPDX-License-Identifier: Apache-2.0
"""How good detections are: average precision, landmark error, false alarms."""

from __future__ import annotations

import dataclasses

import numpy as np

from face_tracking import boxes as box_math

MATCH = 0.5
EXCUSED = 0.3
"""A detection that overlaps a region to ignore by this much is neither right nor wrong."""


@dataclasses.dataclass(frozen=True)
class Found:
    """The faces found in one picture, in its pixels.

    :param boxes: float32 (N, 4), ``[x1, y1, x2, y2]``.
    :param scores: float32 (N,), 0..1.
    :param landmarks: float32 (N, 5, 2), NaN where the detector tells none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
    """Figures over a set of pictures.

    :param average_precision: at IoU 0.5, area under the envelope of the precision, 0..1.
    :param recall: share of the faces found at any score, 0..1.
    :param faces: how many faces were to be found.
    :param landmark_error: mean distance of the landmarks over the distance of the eyes, of the
        faces found; NaN where there are none.
    :param landmark_median: the median of the same.
    :param landmark_faces: how many faces these are of: those with landmarks in both.
    :param empty_pictures: pictures without any label.
    :param false_alarms: detections in them at the threshold.
    :param precision_at, recall_at: of all faces, at the threshold.
    """

    average_precision: float
    recall: float
    faces: int
    landmark_error: float
    landmark_median: float
    landmark_faces: int
    empty_pictures: int
    false_alarms: int
    precision_at: float
    recall_at: float


def measure(
    labels,
    found: list[Found],
    sizes: list[tuple[int, int]],
    threshold: float = 0.7,
    min_side: float = 12.0,
    long_side: float = 320.0,
) -> Result:
    """Compare detections with labels, by the rules of ``ap.py``.

    :param labels: one object per picture with ``boxes``, ``landmarks`` and ``ignore``.
    :param sizes: (width, height) of each picture.
    :param min_side: a label counts where its shorter side, with the picture scaled to
        ``long_side``, is at least this.
    """
    rows, errors, total, empty, alarms = [], [], 0, 0, 0
    for label, seen, size in zip(labels, found, sizes, strict=True):
        scale = long_side / max(size)
        counts = ~label.ignore & (_shorter_sides(label.boxes) * scale >= min_side)
        total += int(counts.sum())
        if not len(label.boxes):
            empty += 1
            alarms += int((seen.scores >= threshold).sum())
        matched, excused = _match(label.boxes, counts, seen, min_side / scale)
        for k in range(len(seen.scores)):
            if matched[k] >= 0 or not excused[k]:
                rows.append((seen.scores[k], matched[k] >= 0))
        for k in np.flatnonzero(matched >= 0):
            points = label.landmarks[matched[k]]
            eyes = np.linalg.norm(points[0] - points[1])
            known = np.isfinite(points).all() and np.isfinite(seen.landmarks[k]).all()
            if known and eyes > 0:
                errors.append(np.linalg.norm(seen.landmarks[k] - points, axis=1).mean() / eyes)
    precision, recall, at = _curve(rows, total, threshold)
    area = float(np.sum(np.diff(np.r_[0.0, recall]) * precision))
    return Result(
        area,
        float(recall[-1]) if len(recall) else 0.0,
        total,
        *(
            (float(np.mean(errors)), float(np.median(errors)))
            if errors
            else (float('nan'), float('nan'))
        ),
        len(errors),
        empty,
        alarms,
        *at,
    )


def _shorter_sides(boxes):
    return (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)


def _match(boxes, counts, seen, min_side):
    """Return the label of each detection, -1 where it has none, and whether it is excused."""
    matched = np.full(len(seen.scores), -1)
    excused = np.zeros(len(seen.scores), bool)
    used = np.zeros(len(boxes), bool)
    overlap = box_math.iou(seen.boxes, boxes)
    small = _shorter_sides(seen.boxes) < min_side
    for k in np.argsort(-seen.scores, kind='stable'):
        free = np.where(counts & ~used, overlap[k], -1)
        if len(free) and free.max() >= MATCH:
            matched[k] = free.argmax()
            used[matched[k]] = True
        else:
            excused[k] = len(boxes) > 0 and ((overlap[k][~counts] >= EXCUSED).any() or small[k])
    return matched, excused


def _curve(rows, total, threshold):
    """Return envelope of the precision, recall, and both at ``threshold``."""
    rows = sorted(rows, key=lambda row: -row[0])
    right = np.cumsum([row[1] for row in rows], dtype=float)
    recall = right / max(total, 1)
    precision = right / np.arange(1, len(rows) + 1)
    above = sum(row[0] >= threshold for row in rows)
    at = (precision[above - 1], recall[above - 1]) if above else (float('nan'), 0.0)
    return np.maximum.accumulate(precision[::-1])[::-1], recall, tuple(map(float, at))
