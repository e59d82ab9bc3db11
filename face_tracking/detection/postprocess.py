# SPDX-License-Identifier: Apache-2.0
"""From a network's raw outputs to the faces in the image: decode, suppress, map back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.families import FAMILIES
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

VALUES_PER_FACE = 15
"""Values of a face: score, x1, y1, x2, y2, five landmarks x, y."""


class PostProcessParam(IntEnum):
    """The parameters of a compiled postprocessor: float32 numbers in this order."""

    MIN_LOGIT = 0  # minimum logit of a cell, for decoders whose first number is a logit
    MIN_SQUARED_SCORE = 1
    NMS_THRESHOLD = 2  # two boxes with a larger IoU are the same face
    MAX_FACES = 3
    SCALE_X = 4  # pixels of the image in one pixel of the network's input
    SCALE_Y = 5
    IMAGE_WIDTH = 6
    IMAGE_HEIGHT = 7


@dataclass(frozen=True)
class OutputLayout:
    """What a compiled postprocessor has to know about a network's outputs.

    :ivar kind: the name of the detector family.
    :ivar outputs: names of the outputs, in the decoder's order.
    """

    kind: str
    strides: tuple[int, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, description: ModelDescription) -> OutputLayout | None:
        """Return the layout of a model, None where its family has no compiled form."""
        options = dict(description.decoder_options)
        family = FAMILIES.get(description.decoder)
        if family is None or family.compiled is None or options.keys() != {'strides'}:
            return None
        return cls(family.name, tuple(options['strides']), tuple(description.outputs))

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> OutputLayout | None:
        """Return the layout that was stored as JSON, None where none was."""
        if not value:
            return None
        return cls(value['kind'], tuple(value['strides']), tuple(value['outputs']))

    def grids(self, width: int, height: int) -> list[tuple[int, int]]:
        """Return columns and rows of each grid for an input of this size in pixels."""
        return [(math.ceil(width / stride), math.ceil(height / stride)) for stride in self.strides]

    def cells(self, width: int, height: int) -> int:
        """Return the number of cells in all grids."""
        return sum(columns * rows for columns, rows in self.grids(width, height))


class PostProcessor(ABC):
    """Finds the faces in the outputs of a network."""

    @abstractmethod
    def process(
        self,
        outputs: Sequence[Array],
        score_threshold: float,
        nms_threshold: float,
        max_faces: int,
        fit: Fit,
        size: tuple[int, int],
    ) -> Array:
        """Return the faces in pixels of the image, best first, float32 (N, VALUES_PER_FACE).

        :param outputs: of the network, raw, in the decoder's order.
        :param score_threshold: minimum score of a face, 0 to 1.
        :param nms_threshold: two boxes with a larger intersection over union are the same face.
            Its box is the mean of the boxes that agree
            (:mod:`face_tracking.detection.suppression`).
        :param max_faces: maximum number of faces, the best ones; 0 = unlimited.
        :param fit: how the image was fitted into the input.
        :param size: width and height of the image. Boxes are cut to it, and a box of which
            nothing is left is dropped.
        """


class NumpyPostProcessor(PostProcessor):
    """Postprocessing with NumPy and OpenCV, for the outputs of any engine.

    :param decode: the model's decoder.
    :param vote_iou_threshold: see :func:`face_tracking.detection.suppression.blend`; 1 takes the
        best box alone.
    """

    def __init__(self, decode: Decoder, vote_iou_threshold: float = VOTE_IOU_THRESHOLD):
        self._decode, self._vote_iou_threshold = decode, vote_iou_threshold

    def process(
        self,
        outputs: Sequence[Array],
        score_threshold: float,
        nms_threshold: float,
        max_faces: int,
        fit: Fit,
        size: tuple[int, int],
    ) -> Array:
        """Return the faces, see :meth:`PostProcessor.process`."""
        candidates = self._decode(outputs, score_threshold)
        if not len(candidates.scores):
            return np.zeros((0, VALUES_PER_FACE), np.float32)
        if len(candidates.scores) > MAX_CANDIDATES:
            best = strongest(candidates.scores)
            candidates = Candidates(*(values[best] for values in candidates))
        kept = suppress(candidates.boxes, candidates.scores, nms_threshold, max_faces)
        points = self._merged_points(candidates, kept, nms_threshold)
        return _mapped_to_image(candidates.scores[kept], points, fit, size)

    def _merged_points(self, candidates: Candidates, kept: Array, nms_threshold: float) -> Array:
        """Return boxes and landmarks of the kept candidates, float32 (K, 14), after box voting."""
        points = np.concatenate([candidates.boxes, candidates.landmarks.reshape(-1, 10)], axis=1)
        return blend(
            points,
            candidates.boxes,
            candidates.scores,
            kept,
            nms_threshold,
            self._vote_iou_threshold,
        )


def _mapped_to_image(scores: Array, points: Array, fit: Fit, image_size: tuple[int, int]) -> Array:
    """Return the faces in pixels of the image, float32 (N, :data:`VALUES_PER_FACE`).

    :param scores: float32 (N,).
    :param points: boxes and landmarks in pixels of the network's input, float32 (N, 14).
    """
    scale, limit = np.array((fit, image_size), np.float32)
    rows = np.empty((len(scores), VALUES_PER_FACE), np.float32)
    rows[:, 0] = scores
    np.multiply(points.reshape(-1, 7, 2), scale, out=rows[:, 1:].reshape(-1, 7, 2))
    boxes = rows[:, 1:5].reshape(-1, 2, 2)
    np.maximum(boxes, 0, out=boxes)
    np.minimum(boxes, limit, out=boxes)
    # A box that lies in the padding entirely, or is not a number, has no inside.
    inside = (boxes[:, 1] > boxes[:, 0]).all(axis=1)
    return rows if inside.all() else rows[inside]
