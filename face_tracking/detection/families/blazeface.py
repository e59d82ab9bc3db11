# SPDX-License-Identifier: Apache-2.0
"""BlazeFace of MediaPipe, short and full range: offsets in pixels from anchor points."""

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
    grid,
    require_rows,
    rows_of,
)

MAX_LOGIT = 100.0
"""Score logits are cut to this, as MediaPipe does."""
GRIDS = {
    (128, 128, 896): ((8, 2), (16, 6)),
    (256, 256, 896): ((16, 2), (32, 6)),
    (192, 192, 2304): ((4, 1),),
}
"""Stride and anchors of each cell, for width and height of the input and number of anchors:
short range, its variant for back cameras, full range."""


class BlazeFace:
    """Two outputs: regressors (1, A, 16) and score logits (1, A, 1).

    The regressors are center x, center y, width, height and six points x, y, in pixels from the
    anchor, which is the center of a cell: right eye, left eye, nose tip, mouth center and the
    two ears. It has no mouth corners, so those are NaN. Bazarevsky et al., "BlazeFace:
    Sub-millisecond Neural Face Detection on Mobile GPUs", 2019.

    :param grids: stride and number of anchors in each cell, in the order of the outputs' rows.
    """

    def __init__(self, width: int, height: int, grids: Sequence[Sequence[int]]):
        self._anchors = np.concatenate(
            [
                np.repeat((grid(width, height, stride)[:2] + 0.5) * stride, count, axis=1)
                for stride, count in grids
            ],
            axis=1,
        ).T.astype(np.float32)

    def __call__(self, outputs: Sequence[Array], score_threshold: float) -> Candidates:
        """Return the candidates of a network's outputs that reach the score."""
        logits = np.clip(outputs[1][0, :, 0], -MAX_LOGIT, MAX_LOGIT)
        require_rows('blazeface', len(logits), len(self._anchors))
        scores = 1 / (1 + np.exp(-logits))
        rows = np.flatnonzero(scores >= score_threshold)
        numbers, anchors = outputs[0][0, rows], self._anchors[rows]
        centers, half = numbers[:, :2] + anchors, numbers[:, 2:4] / 2
        landmarks = np.full((len(rows), 5, 2), np.nan, np.float32)
        landmarks[:, :3] = numbers[:, 4:10].reshape(-1, 3, 2) + anchors[:, None]
        boxes = np.concatenate([centers - half, centers + half], axis=1)
        return Candidates(boxes, scores[rows].astype(np.float32), landmarks)


def recognize(outputs: Shapes, size: tuple[int, int]) -> dict[str, Any] | None:
    """Recognize two outputs of 16 numbers and 1 for each anchor of a known input size."""
    kinds = by_last_side(outputs)
    if len(outputs) != 2 or any(len(kinds.get(side, ())) != 1 for side in (16, 1)):
        return None
    names = tuple(kinds[side][0] for side in (16, 1))
    grids = GRIDS.get((*size, rows_of(outputs[names[0]])))
    if grids is None:
        return None
    return {
        'decoder_options': {'grids': [list(row) for row in grids]},
        'outputs': names,
        'color': 'rgb',
        'mean': (127.5, 127.5, 127.5),
        'scale': 1 / 127.5,
        # The anchors are those of one input size.
        'size_multiple': size[0],
    }


FAMILY = Family('blazeface', BlazeFace, recognize)
