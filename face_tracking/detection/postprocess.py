# SPDX-License-Identifier: Apache-2.0
"""From a network's raw outputs to the faces in the image: decoded, suppressed, mapped back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from face_tracking.detection.families.base import Candidates, Decoder
from face_tracking.detection.letterbox import Fit
from face_tracking.detection.model import ModelDescription
from face_tracking.detection.suppression import (
    MAX_CANDIDATES,
    VOTE_IOU_THRESHOLD,
    blend,
    strongest,
    suppress,
)

COMPILED = ('anchor_free', 'yunet')
"""The decoders that `face_tracking.compiler` can put into a network's library."""
NUMBERS = 15
"""Of each face: score, x1, y1, x2, y2, five landmarks x, y."""


class PostProcessParam(IntEnum):
    """What a compiled selection is told, as float32 numbers in this order."""

    LEAST_LOGIT = 0  # of a cell, for a decoder that gets logits
    LEAST_SQUARE = 1  # of its score
    OVERLAP = 2  # two boxes that overlap by more are one face
    MOST = 3  # faces
    SCALE_X = 4  # pixels of the image in one of the input
    SCALE_Y = 5
    WIDTH = 6  # of the image
    HEIGHT = 7


@dataclass(frozen=True)
class OutputLayout:
    """What a compiled selection has to know of a network's outputs.

    :ivar kind: the decoder's name.
    :ivar outputs: names of the outputs, in the decoder's order.
    """

    kind: str
    strides: tuple[int, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, description: ModelDescription) -> OutputLayout | None:
        """Return the head of a model, None where its decoder has no compiled form."""
        options = dict(description.decoder_options)
        if description.decoder not in COMPILED or options.keys() != {'strides'}:
            return None
        return cls(description.decoder, tuple(options['strides']), description.outputs)

    @classmethod
    def from_json(cls, value: dict | None) -> OutputLayout | None:
        """Return the head whose fields JSON has kept, None where there was none."""
        return value and cls(value['kind'], tuple(value['strides']), tuple(value['outputs']))

    def grids(self, width: int, height: int) -> list[tuple[int, int]]:
        """Return columns and rows of each grid over an input of so many pixels."""
        return [(math.ceil(width / stride), math.ceil(height / stride)) for stride in self.strides]

    def cells(self, width: int, height: int) -> int:
        """Return how many cells all grids have together."""
        return sum(columns * rows for columns, rows in self.grids(width, height))


class PostProcessor(ABC):
    """Finds the faces among what a network says of every cell of its input."""

    @abstractmethod
    def select(
        self,
        outputs: Sequence[np.ndarray],
        score_threshold: float,
        nms_threshold: float,
        max_faces: int,
        fit: Fit,
        size: tuple[int, int],
    ) -> np.ndarray:
        """Return the faces, float32 (N, `NUMBERS`), best first, in pixels of the image.

        :param outputs: of the network, raw, in the decoder's order.
        :param score_threshold: least score of a face, 0 to 1.
        :param nms_threshold: two boxes that overlap by more (intersection over union) are one
            face, whose place is the mean of the boxes that agree on it
            (`face_tracking.detection.suppression`).
        :param max_faces: return at most so many, the best; 0 returns all.
        :param fit: how the image was fitted into the input.
        :param size: width and height of the image, to which boxes are cut; one of which
            nothing is left is none.
        """


class NumpyPostProcessor(PostProcessor):
    """Selects with NumPy and OpenCV, whatever engine the outputs are from.

    :param decode: the model's decoder.
    :param vote_iou_threshold: see `face_tracking.detection.suppression.blend`; 1 takes the best
        box alone.
    """

    def __init__(self, decode: Decoder, vote_iou_threshold: float = VOTE_IOU_THRESHOLD):
        self._decode, self._vote_iou_threshold = decode, vote_iou_threshold

    def select(self, outputs, score_threshold, nms_threshold, max_faces, fit, size):
        candidates = self._decode(outputs, score_threshold)
        if not len(candidates.scores):
            return np.zeros((0, NUMBERS), np.float32)
        if len(candidates.scores) > MAX_CANDIDATES:
            rows = strongest(candidates.scores)
            candidates = Candidates(*(values[rows] for values in candidates))
        kept = suppress(candidates.boxes, candidates.scores, nms_threshold, max_faces)
        scale = np.array((fit, size), np.float32)
        places = np.concatenate([candidates.boxes, candidates.landmarks.reshape(-1, 10)], axis=1)
        places = blend(
            places,
            candidates.boxes,
            candidates.scores,
            kept,
            nms_threshold,
            self._vote_iou_threshold,
        )
        rows = np.empty((len(kept), NUMBERS), np.float32)
        rows[:, 0] = candidates.scores[kept]
        np.multiply(places.reshape(-1, 7, 2), scale[0], out=rows[:, 1:].reshape(-1, 7, 2))
        boxes = rows[:, 1:5].reshape(-1, 2, 2)
        np.maximum(boxes, 0, out=boxes)
        np.minimum(boxes, scale[1], out=boxes)
        # A box that lies wholly in the padding, or is not a number, has no inside.
        inside = (boxes[:, 1] > boxes[:, 0]).all(axis=1)
        return rows if inside.all() else rows[inside]
