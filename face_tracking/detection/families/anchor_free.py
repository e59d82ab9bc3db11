# SPDX-License-Identifier: Apache-2.0
"""The family of the bundled detector: one raw output for each stride.

An output ``head_S`` of stride S has the shape (1, 16, rows, columns). Channel 0 is the score
logit, 1 to 4 are dx, dy, log w, log h, 5 to 14 are five landmarks x, y, 15 is the quality (IoU)
logit. Score = sqrt(sigmoid(c0) sigmoid(c15)); center = (column + dx, row + dy) S; size =
exp(d) S; landmark = center + (x, y) size / 2, so that landmarks depend on the face's shape and not
on its size. One point per cell after Tian et al., "FCOS", 2019; the two factors of the score after
Wu et al., "IoU-aware Single-stage Object Detector", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from face_tracking.detection.candidates import (
    LARGEST_LOG_SIZE,
    LEAST_LOGIT,
    NO_CANDIDATES,
    Candidates,
    cell_grid,
    decode_cells,
    join_levels,
    logit,
)
from face_tracking.detection.family import (
    CellGeometry,
    CellMath,
    CompiledForm,
    Expression,
    Family,
    Reader,
    Recognition,
    Shapes,
    names_by_kind,
    strides_of,
)

CHANNELS = 16
QUALITY = 15


class AnchorFree:
    """The decoder.

    :param width: of the network's input in pixels, like ``height``.
    :param strides: of the outputs, in their order.
    """

    def __init__(self, width: int, height: int, strides: Sequence[int]):
        self._grids = [cell_grid(width, height, stride) for stride in strides]

    def __call__(self, outputs: Sequence[np.ndarray], score_threshold: float) -> Candidates:
        """Return the candidates, see :data:`face_tracking.detection.candidates.Decoder`."""
        # The quality is at most 1, so the squared threshold bounds the first factor alone.
        squared_threshold = score_threshold**2
        least = logit(squared_threshold)
        found, grids = [], []
        for output, grid in zip(outputs, self._grids, strict=True):
            # In memory the channels may come first or last; either way this is a view.
            heads = output.reshape(output.shape[1], -1)
            hits = (heads[0] >= least).nonzero()[0]
            if hits.size:
                found.append(heads[:, hits])
                grids.append(grid[:, hits])
        if not found:
            return NO_CANDIDATES
        cells, grid = join_levels(found), join_levels(grids)
        inverses = np.exp(-np.maximum(cells[::QUALITY], LEAST_LOGIT)) + 1
        cells[0] = 1 / (inverses[0] * inverses[1])
        return decode_cells(cells[:QUALITY], grid, squared_threshold, landmarks_from_box=True)


class AnchorFreeForm(CompiledForm):
    """The same for one cell in generated code."""

    channels = (CHANNELS,)
    compares_logit = True

    def squared_score(self, read: Reader, math: CellMath) -> Expression:
        """Return sigmoid(c0) sigmoid(c15)."""

        def inverse(channel: int) -> Expression:
            value = math.name(math.maximum(read(0, channel), math.constant(LEAST_LOGIT)))
            return math.constant(1.0) + math.exp(math.constant(0.0) - value)

        return math.constant(1.0) / (inverse(0) * inverse(QUALITY))

    def geometry(
        self, read: Reader, math: CellMath, corner: tuple[Expression, Expression]
    ) -> CellGeometry:
        """Return the box and the landmarks, which follow from the box."""
        center = math.name(corner[0] + read(0, 1)), math.name(corner[1] + read(0, 2))
        half = log_size_to_half(read(0, 3), math), log_size_to_half(read(0, 4), math)
        landmarks = tuple(
            center[number % 2] + read(0, 5 + number) * half[number % 2] for number in range(10)
        )
        return CellGeometry(center, half, landmarks)


def log_size_to_half(value: Expression, math: CellMath) -> Expression:
    """Return half of exp(value), with the value bounded as in the decoder."""
    bounded = math.minimum(value, math.constant(LARGEST_LOG_SIZE))
    return math.name(math.exp(bounded) * math.constant(0.5))


def _recognize(outputs: Shapes) -> Recognition | None:
    strides = strides_of(outputs, 'head')
    if not strides:
        return None
    return Recognition(
        outputs=names_by_kind(('head',), strides),
        decoder_options={'strides': strides},
        size_multiple=max(strides),
    )


FAMILY = Family('anchor_free', AnchorFree, _recognize, AnchorFreeForm())
