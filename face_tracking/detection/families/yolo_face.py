# SPDX-License-Identifier: Apache-2.0
"""YOLO face detectors in the layout of YOLOv8 and YOLO11: one output, already in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.families.base import (
    Candidates,
    Family,
    Shapes,
    cells,
    require_rows,
)

STRIDES = (8, 16, 32)
POINTS = {5: 0, 15: 2, 20: 3}
"""Numbers of a landmark by the number of rows of the output: none, x and y, or with its score."""


class YoloFace:
    """One output (1, C, A): center x, center y, width, height, score, then the landmarks.

    All in pixels of the input; the score is a probability; each of five landmarks is x, y and,
    where C is 20, its visibility. Exported without non-maximum suppression. After Maji et al.,
    "YOLO-Pose", 2022.
    """

    def __init__(self, width: int, height: int, strides: Sequence[int] = STRIDES):
        self._count = sum(cells(width, height, stride) for stride in strides)

    def __call__(self, outputs: Sequence[Array], score_threshold: float) -> Candidates:
        """Return the candidates of a network's output that reach the score."""
        table = outputs[0][0]
        require_rows('yolo_face', table.shape[1], self._count)
        columns = np.flatnonzero(table[4] >= score_threshold)
        rows = table[:, columns].T
        numbers = POINTS.get(len(table), 0)
        if numbers:
            landmarks = rows[:, 5:].reshape(-1, 5, numbers)[..., :2]
        else:
            landmarks = np.full((len(rows), 5, 2), np.nan, np.float32)
        half = rows[:, 2:4] / 2
        boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
        return Candidates(boxes, rows[:, 4], landmarks)


def recognize(outputs: Shapes, size: tuple[int, int]) -> dict[str, Any] | None:
    """Recognize one output of 5, 15 or 20 rows and as many columns as there are cells."""
    if len(outputs) != 1:
        return None
    ((name, shape),) = outputs.items()
    expected = sum(cells(*size, stride) for stride in STRIDES)
    if len(shape) != 3 or shape[1] not in POINTS or shape[2] != expected:
        return None
    return {
        'outputs': (name,),
        'color': 'rgb',
        'scale': 1 / 255,
        'size_multiple': max(STRIDES),
    }


FAMILY = Family('yolo_face', YoloFace, recognize)
