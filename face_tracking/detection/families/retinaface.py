# SPDX-License-Identifier: Apache-2.0
"""RetinaFace in PyTorch's layout (MobileNet0.25, ResNet50): offsets from prior boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.families.base import (
    Candidates,
    Family,
    Shapes,
    by_last_side,
    cells,
    prior_boxes,
    priors,
    require_rows,
    rows_of,
)

STRIDES = (8, 16, 32)
SIDES = ((16, 32), (64, 128), (256, 512))


class RetinaFace:
    """Three outputs: boxes (1, P, 4), scores (1, P, 2), landmarks (1, P, 10).

    Scores after the soft maximum, face second; boxes and landmarks are offsets from the priors,
    raw. Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019.

    :param sides: sides in pixels of the square priors of each cell, for each stride.
    """

    def __init__(
        self,
        width: int,
        height: int,
        strides: Sequence[int] = STRIDES,
        sides: Sequence[Sequence[float]] = SIDES,
        center_variance: float = 0.1,
        size_variance: float = 0.2,
    ):
        levels = zip(strides, sides, strict=True)
        self._priors = np.concatenate(
            [priors(width, height, stride, own) for stride, own in levels]
        )
        self._variances = center_variance, size_variance

    def __call__(self, outputs: Sequence[Array], score_threshold: float) -> Candidates:
        """Return the candidates of a network's outputs that reach the score."""
        offsets, scores, points = outputs[0][0], outputs[1][0, :, 1], outputs[2][0]
        require_rows('retinaface', len(scores), len(self._priors))
        rows = np.flatnonzero(scores >= score_threshold)
        places = self._priors[rows]
        moves = points[rows].reshape(-1, 5, 2) * self._variances[0]
        landmarks = places[:, None, :2] + moves * places[:, None, 2:]
        boxes = prior_boxes(places, offsets[rows], self._variances)
        return Candidates(boxes, scores[rows], landmarks.astype(np.float32, copy=False))


def recognize(outputs: Shapes, size: tuple[int, int]) -> dict[str, Any] | None:
    """Recognize three outputs of 4, 2 and 10 numbers for each prior."""
    kinds = by_last_side(outputs)
    if len(outputs) != 3 or any(len(kinds.get(side, ())) != 1 for side in (4, 2, 10)):
        return None
    names = tuple(kinds[side][0] for side in (4, 2, 10))
    expected = sum(
        len(own) * cells(*size, stride) for stride, own in zip(STRIDES, SIDES, strict=True)
    )
    if any(rows_of(outputs[name]) != expected for name in names):
        return None
    return {
        'outputs': names,
        'mean': (104.0, 117.0, 123.0),
        'size_multiple': max(STRIDES),
    }


FAMILY = Family('retinaface', RetinaFace, recognize)
