# SPDX-License-Identifier: Apache-2.0
"""The records that modules pass on: detections of one image, and tracks at one stamp."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from face_tracking.arrays import Array


def _rows(shape: tuple[int, ...], dtype: type[np.generic] = np.float32) -> Any:
    return field(default_factory=lambda: np.zeros(shape, dtype))


@dataclass(eq=False)
class Detections:
    """The faces found in one image, best first.

    :ivar stamp: the image's stamp in nanoseconds.
    :ivar boxes: float32 (N, 4), ``[x1, y1, x2, y2]`` in pixels of the source image.
    :ivar scores: float32 (N,), 0 to 1.
    :ivar landmarks: float32 (N, 5, 2) in pixels, right eye, left eye, nose tip, right and left
        mouth corner as the image shows them from left to right; NaN where a model has none.
    """

    stamp: int = 0
    boxes: Array = _rows((0, 4))
    scores: Array = _rows((0,))
    landmarks: Array = _rows((0, 5, 2))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Array | slice) -> Detections:
        """Pick rows by index array, mask or slice."""
        return Detections(self.stamp, self.boxes[rows], self.scores[rows], self.landmarks[rows])

    def take(self, rows: Array) -> Detections:
        """Pick rows by index array: for a few, three times as fast as by brackets."""
        return Detections(
            self.stamp,
            self.boxes.take(rows, axis=0),
            self.scores.take(rows),
            self.landmarks.take(rows, axis=0),
        )


@dataclass(eq=False)
class Tracks:
    """The faces that are followed, as they are at one image's stamp.

    :ivar stamp: the image's stamp in nanoseconds.
    :ivar ids: int64 (N,), counted from 1, never reused.
    :ivar boxes: float32 (N, 4), ``[x1, y1, x2, y2]`` in pixels of the source image.
    :ivar scores: float32 (N,), the score of the detection last matched.
    :ivar velocities: float32 (N, 2), of the box center, in pixels per second.
    :ivar ages: float32 (N,), seconds since the track's first detection.
    :ivar time_since_update: float32 (N,), seconds since a detection last confirmed the track.
    :ivar landmarks: float32 (N, 5, 2) in pixels as in :class:`Detections`, as last detected and
        moved with the box; NaN for a face whose landmarks are not known. None where the source
        of the tracks does not have them.
    """

    stamp: int = 0
    ids: Array = _rows((0,), np.int64)
    boxes: Array = _rows((0, 4))
    scores: Array = _rows((0,))
    velocities: Array = _rows((0, 2))
    ages: Array = _rows((0,))
    time_since_update: Array = _rows((0,))
    landmarks: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)
