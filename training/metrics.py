# SPDX-License-Identifier: Apache-2.0
"""The figures that training reports, by the package's own metrics."""

from __future__ import annotations

import dataclasses

import numpy as np

from face_tracking.evaluation.detection_metrics import Labels, curve, landmark_error, match
from face_tracking.faces import Detections


@dataclasses.dataclass(frozen=True)
class Found:
    """The faces found in one image, in its pixels.

    :param boxes: float32 (N, 4), ``[x1, y1, x2, y2]``.
    :param scores: float32 (N,), 0 to 1.
    :param landmarks: float32 (N, 5, 2), NaN where the detector has none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
    """Figures over a set of images.

    :param average_precision: at IoU 0.5, area under the envelope of the precision, 0 to 1.
    :param recall: share of the faces found at any score, 0 to 1.
    :param faces: how many faces were to be found.
    :param landmark_error: mean distance of the landmarks over the distance of the eyes, of the
        faces found; NaN where there are none.
    :param landmark_median: the median of the same.
    :param landmark_faces: how many faces these are of: those with landmarks in both.
    :param empty_images: images without any label.
    :param false_alarms: detections in them at the threshold.
    :param precision_at, recall_at: of all faces, at the threshold.
    :param wrong_at: wrong detections per image at the threshold.
    """

    average_precision: float
    recall: float
    faces: int
    landmark_error: float
    landmark_median: float
    landmark_faces: int
    empty_images: int
    false_alarms: int
    precision_at: float
    recall_at: float
    wrong_at: float


def measure(
    labels,
    found: list[Found],
    sizes: list[tuple[int, int]],
    threshold: float = 0.7,
    min_side: float = 12.0,
    long_side: float = 320.0,
) -> Result:
    """Compare detections with labels.

    :param labels: one object per image with ``boxes``, ``landmarks`` and ``ignore``.
    :param sizes: (width, height) of each image.
    :param min_side: a label counts where its shorter side, with the image scaled to
        ``long_side``, is at least this.
    """
    matches, empty, alarms = [], 0, 0
    for label, seen, size in zip(labels, found, sizes, strict=True):
        scale = long_side / max(size)
        sides = (label.boxes[:, 2:] - label.boxes[:, :2]).min(axis=1, initial=np.inf) * scale
        counts = ~label.ignore & (sides >= min_side)
        if not len(label.boxes):
            empty += 1
            alarms += int((seen.scores >= threshold).sum())
        matches.append(
            match(
                Labels(label.boxes, counts, label.landmarks),
                Detections(0, seen.boxes, seen.scores, seen.landmarks),
                min_side / scale,
            )
        )
    whole = curve(matches)
    return Result(
        whole.average_precision,
        whole.recall,
        whole.faces,
        *landmark_error(matches),
        empty,
        alarms,
        whole.precision_at(threshold),
        whole.recall_at(threshold),
        whole.false_alarms_at(threshold),
    )
