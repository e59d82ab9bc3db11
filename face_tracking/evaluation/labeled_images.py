# SPDX-License-Identifier: Apache-2.0
"""Labeled images for measuring a detector: a folder with ``labels.json``.

The file is a list of ``{"file", "width", "height", "faces": [{"box": [x, y, w, h], "score",
"landmarks": [x1, y1, ... x5, y5]}]}``, in pixels of the image, "file" relative to the folder. A
face of a score below 0.7 is ignored; landmarks, and WIDER FACE's ``pose``, ``occlusion``,
``blur`` and ``subset``, may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from face_tracking.arrays import Array
from face_tracking.evaluation.detection_metrics import Labels
from face_tracking.files import malformed, read_json

_LARGEST = 1 << 28  # bytes of labels.json
FACE_SCORE = 0.7
SUBSETS = ('easy', 'medium', 'hard')
"""WIDER FACE's lists; each holds the one before."""


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """One image's labels.

    :ivar path: of the image.
    :ivar width: in pixels, like ``height``.
    :ivar boxes: float32 (N, 4), ``[x1, y1, x2, y2]`` in pixels.
    :ivar faces: bool (N,), False for a region to ignore.
    :ivar landmarks: float32 (N, 5, 2) in pixels, NaN where unknown.
    :ivar pose: int64 (N,), 1 for an atypical pose; -1 where unknown, like the next three.
    :ivar occlusion: int64 (N,), 0 none, 1 partial, 2 heavy.
    :ivar blur: int64 (N,), 0 clear, 1 slight, 2 heavy.
    :ivar subset: int64 (N,), the first of `SUBSETS` that holds the face.
    """

    path: Path
    width: int
    height: int
    boxes: Array
    faces: Array
    landmarks: Array
    pose: Array
    occlusion: Array
    blur: Array
    subset: Array

    def shorter_sides(self, long_side: float) -> Array:
        """Return the boxes' shorter sides with the image scaled to ``long_side``, in pixels."""
        scale = long_side / max(self.width, self.height)
        return (self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1, initial=np.inf) * scale

    def labels(self, counts: Array) -> Labels:
        """Return the labels of which those of the mask ``counts`` are to be found."""
        return Labels(self.boxes, self.faces & counts, self.landmarks)


def read_labels(folder: Path) -> list[LabeledImage]:
    """Return the labels of a folder.

    :raises UserError: ``labels.json`` is missing or cannot be understood.
    """
    path = Path(folder) / 'labels.json'
    remedy = 'write it as docs/training.md describes scored JSON'
    with malformed(path, 'list of labeled images', remedy):
        return [
            _read(path.parent, row) for row in read_json(path, 'list of labeled images', _LARGEST)
        ]


def _read(folder: Path, row: dict[str, Any]) -> LabeledImage:
    faces = row['faces']
    with np.errstate(over='ignore'):
        boxes = np.array([face['box'] for face in faces], np.float32).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise ValueError(f'{row["file"]}: a box is not finite')
    boxes[:, 2:] += boxes[:, :2]
    points = [face.get('landmarks') or [np.nan] * 10 for face in faces]
    subsets = {name: index for index, name in enumerate(SUBSETS)}

    def grades(name: str) -> Array:
        return np.array([face.get(name, -1) for face in faces], np.int64)

    return LabeledImage(
        folder / row['file'],
        int(row['width']),
        int(row['height']),
        boxes,
        np.array([face.get('score', 1.0) >= FACE_SCORE for face in faces], bool),
        np.array(points, np.float32).reshape(-1, 5, 2),
        grades('pose'),
        grades('occlusion'),
        grades('blur'),
        np.array([subsets.get(face.get('subset'), -1) for face in faces], np.int64),
    )
