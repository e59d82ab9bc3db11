# SPDX-License-Identifier: Apache-2.0
"""The YuNet family: four outputs for each stride.

The outputs are ``cls_S``, ``obj_S``, ``bbox_S`` and ``kps_S`` for the strides S, with row-major
cells. cls and obj (1, cells, 1) are probabilities, score = sqrt(cls obj); bbox (1, cells, 4) is
dx, dy, log w, log h as in :mod:`face_tracking.detection.families.anchor_free`; kps (1, cells, 10)
are five landmarks (column + x, row + y) S. Wu et al., "YuNet: A Tiny Millisecond-level Face
Detector", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from face_tracking.detection.candidates import (
    NO_CANDIDATES,
    Candidates,
    cell_grid,
    decode_cells,
    join_levels,
)
from face_tracking.detection.families.anchor_free import log_size_to_half
from face_tracking.detection.family import (
    CellGeometry,
    CellMath,
    CompiledForm,
    Expression,
    Family,
    PublishedModel,
    Reader,
    Recognition,
    Shapes,
    names_by_kind,
    strides_of,
)

KINDS = ('cls', 'obj', 'bbox', 'kps')


class YuNet:
    """The decoder.

    :param width: of the network's input in pixels, like ``height``.
    :param strides: of the outputs of each kind, in their order.
    """

    def __init__(self, width: int, height: int, strides: Sequence[int]):
        self._grids = [cell_grid(width, height, stride) for stride in strides]

    def __call__(self, outputs: Sequence[np.ndarray], score_threshold: float) -> Candidates:
        """Return the candidates, see :data:`face_tracking.detection.candidates.Decoder`."""
        levels = len(self._grids)
        squared_threshold = score_threshold**2
        found, grids = [], []
        for level, grid in enumerate(self._grids):
            cls, obj, bbox, kps = (output[0] for output in outputs[level::levels])
            hits = (cls[:, 0] >= squared_threshold).nonzero()[0]
            if not hits.size:
                continue
            cells = np.empty((15, hits.size), np.float32)
            np.multiply(cls[hits, 0], obj[hits, 0], out=cells[0])
            cells[1:5] = bbox[hits].T
            cells[5:] = kps[hits].T
            found.append(cells)
            grids.append(grid[:, hits])
        if not found:
            return NO_CANDIDATES
        return decode_cells(
            join_levels(found), join_levels(grids), squared_threshold, landmarks_from_box=False
        )


class YuNetForm(CompiledForm):
    """The same for one cell in generated code."""

    channels = (1, 1, 4, 10)

    def squared_score(self, read: Reader, math: CellMath) -> Expression:
        """Return cls obj."""
        return read(0, 0) * read(1, 0)

    def geometry(
        self, read: Reader, math: CellMath, corner: tuple[Expression, Expression]
    ) -> CellGeometry:
        """Return the box, and the landmarks as distances from the cell's corner."""
        center = math.name(corner[0] + read(2, 0)), math.name(corner[1] + read(2, 1))
        half = log_size_to_half(read(2, 2), math), log_size_to_half(read(2, 3), math)
        landmarks = tuple(corner[number % 2] + read(3, number) for number in range(10))
        return CellGeometry(center, half, landmarks)


def _recognize(outputs: Shapes) -> Recognition | None:
    strides = strides_of(outputs, 'cls')
    names = names_by_kind(KINDS, strides)
    if not strides or not set(names) <= set(outputs):
        return None
    return Recognition(
        outputs=names, decoder_options={'strides': strides}, size_multiple=max(strides)
    )


FAMILY = Family(
    'yunet',
    YuNet,
    _recognize,
    YuNetForm(),
    {
        'yunet': PublishedModel(
            file='face_detection_yunet_2023mar.onnx',
            url='https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/'
            'face_detection_yunet_2023mar.onnx',
            sha256='8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4',
            license='MIT',
        ),
    },
)
