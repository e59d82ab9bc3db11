# SPDX-License-Identifier: Apache-2.0
"""The Ultra-Light-Fast-Generic-Face-Detector family: offsets from prior boxes.

The outputs are scores (1, P, 2) after the softmax, the face second, and boxes (1, P, 4), raw.
Priors and variances after Liu et al., "SSD: Single Shot MultiBox Detector", 2016. The family has
no landmarks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from face_tracking.detection.candidates import LARGEST_LOG_SIZE, Candidates
from face_tracking.detection.family import Family, Recognition, Shapes
from face_tracking.errors import UserError


class UltraLight:
    """The decoder.

    :param width: of the network's input in pixels, like ``height``.
    :param strides: of the feature maps.
    :param sides: for each stride, sides in pixels of the square priors of each cell.
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
                _priors(width, height, stride, own)
                for stride, own in zip(strides, sides, strict=True)
            ]
        )
        self._variances = center_variance, size_variance

    def __call__(self, outputs: Sequence[np.ndarray], score_threshold: float) -> Candidates:
        """Return the candidates, see :data:`face_tracking.detection.candidates.Decoder`.

        :raises UserError: the network has another number of priors than its description.
        """
        scores, offsets = outputs[0][0, :, 1], outputs[1][0]
        if len(scores) != len(self._priors):
            raise UserError(
                f'the network has {len(scores)} priors, its description {len(self._priors)}',
                'correct the strides and sides in the description',
            )
        rows = np.flatnonzero(scores >= score_threshold)
        priors, offsets = self._priors[rows], offsets[rows]
        centers = priors[:, :2] + offsets[:, :2] * self._variances[0] * priors[:, 2:]
        log_sizes = np.minimum(offsets[:, 2:] * self._variances[1], LARGEST_LOG_SIZE)
        half = priors[:, 2:] * np.exp(log_sizes) / 2
        return Candidates(
            np.concatenate([centers - half, centers + half], axis=1),
            scores[rows],
            np.full((len(rows), 5, 2), np.nan, np.float32),
        )


def _priors(width: int, height: int, stride: int, sides: Sequence[float]) -> np.ndarray:
    """Return priors [cx, cy, w, h], float32 (cells * sides, 4), in pixels, row-major."""
    rows, columns, which = np.indices(
        (math.ceil(height / stride), math.ceil(width / stride), len(sides))
    )
    side = np.asarray(sides, np.float32)[which]
    priors = np.stack([(columns + 0.5) * stride, (rows + 0.5) * stride, side, side], axis=-1)
    return priors.reshape(-1, 4).astype(np.float32)


def _recognize(outputs: Shapes) -> Recognition | None:
    if not {'scores', 'boxes'} <= set(outputs):
        return None
    return Recognition(
        outputs=('scores', 'boxes'),
        color='rgb',
        mean=(127.0, 127.0, 127.0),
        scale=1 / 128,
        size_multiple=16,
    )


FAMILY = Family('ultra_light', UltraLight, _recognize)
