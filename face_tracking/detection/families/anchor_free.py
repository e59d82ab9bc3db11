# SPDX-License-Identifier: Apache-2.0
"""The bundled detector's family: one output for each stride."""

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
    MIN_LOGIT,
    Candidates,
    Family,
    Shapes,
    grid,
    joined,
    logit,
    no_candidates,
    placed,
    strides_of,
)


class AnchorFree:
    """The bundled detector's head: one output (1, 16, rows, columns) for each stride S, all raw.

    Channel 0 score logit, 1 to 4 dx, dy, log w, log h, 5 to 14 five landmarks x, y, 15 quality
    (IoU) logit. Score = sqrt(sigmoid(c0) sigmoid(c15)); center = (column + dx, row + dy) S; size
    = exp(d) S; landmark = center + (x, y) size / 2, so that landmarks follow from the face's shape
    alone, whatever its size. One point per cell after Tian et al., "FCOS", 2019; the score's two
    factors after Wu et al., "IoU-aware Single-stage Object Detector", 2020.
    """

    def __init__(self, width: int, height: int, strides: Sequence[int]):
        self._places = [grid(width, height, stride) for stride in strides]

    def __call__(self, outputs: Sequence[Array], score_threshold: float) -> Candidates:
        """Return the candidates of a network's outputs that reach the score."""
        # The quality is at most 1, so the squared threshold bounds the first factor alone.
        bound = score_threshold**2
        least = logit(bound)
        found, places = [], []
        for output, places_of in zip(outputs, self._places, strict=True):
            # In memory the channels may come first or last; either way this is a view.
            heads = output.reshape(output.shape[1], -1)
            hits = (heads[0] >= least).nonzero()[0]
            if hits.size:
                found.append(heads[:, hits])
                places.append(places_of[:, hits])
        if not found:
            return no_candidates()
        cells, places = joined(found), joined(places)
        inverses = np.exp(-np.maximum(cells[::15], MIN_LOGIT)) + 1
        cells[0] = 1 / (inverses[0] * inverses[1])
        return placed(cells[:15], places, bound, from_box=True)


class AnchorFreeForm(CompiledForm):
    """The same for one cell in generated code."""

    channels = (16,)
    compares_logit = True

    def squared_score(self, read: Reader, math: CellMath) -> Expression:
        """Return sigmoid(c0) sigmoid(c15)."""

        def inverse(channel: int) -> Expression:
            value = math.name(math.maximum(read(0, channel), math.constant(MIN_LOGIT)))
            return math.constant(1.0) + math.exp(math.constant(0.0) - value)

        return math.constant(1.0) / (inverse(0) * inverse(15))

    def geometry(
        self, read: Reader, math: CellMath, corner: tuple[Expression, Expression]
    ) -> CellGeometry:
        """Return the box, and the landmarks relative to the box."""
        center = math.name(corner[0] + read(0, 1)), math.name(corner[1] + read(0, 2))
        half = half_size(read(0, 3), math), half_size(read(0, 4), math)
        landmarks = tuple(
            center[number % 2] + read(0, 5 + number) * half[number % 2] for number in range(10)
        )
        return CellGeometry(center, half, landmarks)


def recognize(outputs: Shapes, _size: tuple[int, int]) -> dict[str, Any] | None:
    """Recognize outputs called ``head_S``."""
    strides = strides_of(outputs, 'head')
    if not strides:
        return None
    return {
        'decoder_options': {'strides': strides},
        'outputs': tuple(f'head_{stride}' for stride in strides),
        'size_multiple': max(strides),
    }


FAMILY = Family('anchor_free', AnchorFree, recognize, AnchorFreeForm())
