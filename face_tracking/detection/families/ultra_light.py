# SPDX-License-Identifier: Apache-2.0
"""The Ultra-Light-Fast-Generic-Face-Detector family (slim, RFB): offsets from prior boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.families.base import (
    Candidates,
    Family,
    Shapes,
    prior_boxes,
    priors,
    require_rows,
)


class UltraLight:
    """The Ultra-Light-Fast-Generic-Face-Detector family: offsets from prior boxes.

    Outputs: scores (1, P, 2), after the soft maximum, face second; boxes (1, P, 4), raw. Priors
    and variances after Liu et al., "SSD: Single Shot MultiBox Detector", 2016.

    :param sides: sides in pixels of the square priors of each cell, for each stride.
    """

    def __init__(
        self,
        width: int,
        height: int,
        strides: Sequence[int] = (8, 16, 32, 64),
        sides: Sequence[Sequence[float]] = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256)),
        center_variance: float = 0.1,
        size_variance: float = 0.2,
    ):
        self._priors = np.concatenate(
            [
                priors(width, height, stride, own)
                for stride, own in zip(strides, sides, strict=True)
            ]
        )
        self._variances = center_variance, size_variance

    def __call__(self, outputs: Sequence[Array], score_threshold: float) -> Candidates:
        """Return the candidates of a network's outputs that reach the score."""
        scores, offsets = outputs[0][0, :, 1], outputs[1][0]
        require_rows('ultra_light', len(scores), len(self._priors))
        rows = np.flatnonzero(scores >= score_threshold)
        boxes = prior_boxes(self._priors[rows], offsets[rows], self._variances)
        return Candidates(boxes, scores[rows], np.full((len(rows), 5, 2), np.nan, np.float32))


def recognize(outputs: Shapes, _size: tuple[int, int]) -> dict[str, Any] | None:
    """Recognize outputs called ``scores`` and ``boxes``."""
    if not {'scores', 'boxes'} <= set(outputs):
        return None
    return {
        'outputs': ('scores', 'boxes'),
        'color': 'rgb',
        'mean': (127.0, 127.0, 127.0),
        'scale': 1 / 128,
        'size_multiple': 16,
    }


FAMILY = Family('ultra_light', UltraLight, recognize)
