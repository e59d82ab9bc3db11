# SPDX-License-Identifier: Apache-2.0
"""SCRFD, as InsightFace exports it: distances from two anchor points in each cell."""

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
    grid,
    no_candidates,
    require_rows,
    rows_of,
)

STRIDES = (8, 16, 32)


class Scrfd:
    """SCRFD's outputs: scores, boxes and landmarks for each stride S, in this order.

    Scores (A, 1) are probabilities, boxes (A, 4) the distances left, up, right and down in
    strides from the anchor, landmarks (A, 10) the offsets in strides from it; a batch dimension
    may lead. The anchors lie on the upper left corners of the cells, `anchors` of them on each,
    row-major. Guo et al., "Sample and Computation Redistribution for Efficient Face Detection",
    2021.

    :param landmarks: whether there are outputs of landmarks.
    """

    def __init__(
        self,
        width: int,
        height: int,
        strides: Sequence[int] = STRIDES,
        anchors: int = 2,
        landmarks: bool = True,
    ):
        self._levels = [
            np.repeat(grid(width, height, stride), anchors, axis=1).T for stride in strides
        ]
        self._landmarks = landmarks

    def __call__(self, outputs: Sequence[Array], score_threshold: float) -> Candidates:
        """Return the candidates of a network's outputs that reach the score."""
        levels = len(self._levels)
        found = []
        for level, places in enumerate(self._levels):
            parts = [output.reshape(-1, output.shape[-1]) for output in outputs[level::levels]]
            scores = parts[0][:, 0]
            require_rows('scrfd', len(scores), len(places))
            rows = np.flatnonzero(scores >= score_threshold)
            if rows.size:
                points = parts[2][rows] if self._landmarks else None
                found.append(_placed(places[rows], scores[rows], parts[1][rows], points))
        if not found:
            return no_candidates()
        return Candidates(*(np.concatenate(values) for values in zip(*found, strict=True)))


def _placed(places: Array, scores: Array, distances: Array, points: Array | None) -> Candidates:
    strides = places[:, 2:]
    anchors = places[:, :2] * strides
    boxes = np.concatenate(
        [anchors - distances[:, :2] * strides, anchors + distances[:, 2:] * strides], axis=1
    )
    if points is None:
        landmarks = np.full((len(scores), 5, 2), np.nan, np.float32)
    else:
        landmarks = anchors[:, None] + points.reshape(-1, 5, 2) * strides[:, :, None]
    return Candidates(boxes, scores, landmarks.astype(np.float32, copy=False))


def recognize(outputs: Shapes, size: tuple[int, int]) -> dict[str, Any] | None:
    """Recognize outputs of 1, 4 and, with landmarks, 10 numbers, one of each for each stride."""
    kinds = by_last_side(outputs)
    levels = len(STRIDES)
    if len(kinds.get(1, ())) != levels or len(kinds.get(4, ())) != levels:
        return None
    landmarks = len(kinds.get(10, ())) == levels
    if len(outputs) != levels * (3 if landmarks else 2):
        return None
    ordered = {
        side: sorted(names, key=lambda name: -rows_of(outputs[name]))
        for side, names in kinds.items()
    }
    first = rows_of(outputs[ordered[1][0]])
    if not first or first % cells(*size, STRIDES[0]):
        return None
    return {
        'decoder_options': {
            'strides': list(STRIDES),
            'anchors': first // cells(*size, STRIDES[0]),
            'landmarks': landmarks,
        },
        'outputs': tuple(name for side in (1, 4, 10) if side in ordered for name in ordered[side]),
        'color': 'rgb',
        'mean': (127.5, 127.5, 127.5),
        'scale': 1 / 128,
        'size_multiple': max(STRIDES),
    }


FAMILY = Family('scrfd', Scrfd, recognize)
