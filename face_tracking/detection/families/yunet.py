# SPDX-License-Identifier: Apache-2.0
"""YuNet: four outputs for each stride."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.compiled_form import (
    CellGeometry,
    CellMath,
    CompiledForm,
    Expression,
    Reader,
    half_size,
)
from face_tracking.detection.families.base import (
    Candidates,
    Family,
    Shapes,
    grid,
    joined,
    no_candidates,
    placed,
    strides_of,
)


class YuNet:
    """YuNet's twelve outputs: cls, obj, bbox and kps, each for all strides S.

    cls and obj (1, cells, 1) are probabilities, score = sqrt(cls obj); bbox (1, cells, 4) as
    in `families.anchor_free.AnchorFree`; kps (1, cells, 10), landmark = (column + x, row + y) S.
    Cells are row-major. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023.
    """

    def __init__(self, width: int, height: int, strides: Sequence[int]):
        self._places = [grid(width, height, stride) for stride in strides]

    def __call__(self, outputs: Sequence[Array], score_threshold: float) -> Candidates:
        """Return the candidates of a network's outputs that reach the score."""
        levels = len(self._places)
        bound = score_threshold**2
        found, places = [], []
        for level, places_of in enumerate(self._places):
            cls, obj, bbox, kps = (output[0] for output in outputs[level::levels])
            hits = (cls[:, 0] >= bound).nonzero()[0]
            if not hits.size:
                continue
            cells = np.empty((15, hits.size), np.float32)
            np.multiply(cls[hits, 0], obj[hits, 0], out=cells[0])
            cells[1:5] = bbox[hits].T
            cells[5:] = kps[hits].T
            found.append(cells)
            places.append(places_of[:, hits])
        if not found:
            return no_candidates()
        return placed(joined(found), joined(places), bound, from_box=False)


class YuNetForm(CompiledForm):
    """The same for one cell in generated code."""

    channels = (1, 1, 4, 10)

    def squared_score(self, read: Reader, math: CellMath) -> Expression:
        """Return cls obj."""
        return read(0, 0) * read(1, 0)

    def geometry(
        self, read: Reader, math: CellMath, corner: tuple[Expression, Expression]
    ) -> CellGeometry:
        """Return the box, and the landmarks relative to the cell's corner."""
        center = math.name(corner[0] + read(2, 0)), math.name(corner[1] + read(2, 1))
        half = half_size(read(2, 2), math), half_size(read(2, 3), math)
        landmarks = tuple(corner[number % 2] + read(3, number) for number in range(10))
        return CellGeometry(center, half, landmarks)


def recognize(outputs: Shapes, _size: tuple[int, int]) -> dict[str, Any] | None:
    """Recognize outputs called ``cls_S``, ``obj_S``, ``bbox_S`` and ``kps_S``."""
    strides = strides_of(outputs, 'cls')
    names = tuple(
        f'{kind}_{stride}' for kind in ('cls', 'obj', 'bbox', 'kps') for stride in strides
    )
    if not strides or not set(names) <= set(outputs):
        return None
    return {
        'decoder_options': {'strides': strides},
        'outputs': names,
        'size_multiple': max(strides),
    }


FAMILY = Family('yunet', YuNet, recognize, YuNetForm())
