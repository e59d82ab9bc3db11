# SPDX-License-Identifier: Apache-2.0
"""From a network's raw outputs to boxes, scores and landmarks, in pixels of its input.

Nearly all cells of an image show no face, so each decoder compares first, on the numbers as
they come out of the network, and computes for the few that remain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from face_tracking.detection.model import Model
from face_tracking.errors import UserError

LARGEST_LOG_SIZE = 8.0
"""Box sides are at most exp(this) strides: a broken output must not overflow."""
LEAST_LOGIT = -40.0
"""A lower logit counts as this, for the same reason."""


class Candidates(NamedTuple):
    """What may be faces, in pixels of the network's input, in no order.

    boxes float32 (N, 4) ``[x1, y1, x2, y2]``, scores float32 (N,), landmarks float32 (N, 5, 2),
    NaN where the network has none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray


Decoder = Callable[[Sequence[np.ndarray], float], Candidates]
"""Takes a network's outputs and the least score, returns all candidates that reach it."""

NOTHING = Candidates(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
)


def create_decoder(model: Model) -> Decoder:
    """Return the decoder that the model's description names.

    :raises UserError: if there is no such decoder, or it does not take the stated options.
    """
    description = model.description
    if description.decoder not in DECODERS:
        raise UserError(
            f'the model {model.name} names an unknown decoder {description.decoder}',
            f'correct its description to one of {", ".join(DECODERS)}',
        )
    try:
        return DECODERS[description.decoder](
            model.width, model.height, **description.decoder_options
        )
    except TypeError as error:
        raise UserError(
            f'the model {model.name} gives its decoder wrong options ({error})',
            'correct its description',
        ) from error


class AnchorFree:
    """Our own head: one output (1, 16, rows, columns) for each stride S, all raw.

    Channel 0 score logit, 1 to 4 dx, dy, log w, log h, 5 to 14 five landmarks x, y, 15 quality
    (IoU) logit. Score = sqrt(sigmoid(c0) sigmoid(c15)); center = (column + dx, row + dy) S; size
    = exp(d) S; landmark = center + (x, y) size / 2, so that landmarks follow from the face's shape
    alone, whatever its size. One point per cell after Tian et al., "FCOS", 2019; the score's two
    factors after Wu et al., "IoU-aware Single-stage Object Detector", 2020.
    """

    def __init__(self, width: int, height: int, strides: Sequence[int]):
        self._places = [_grid(width, height, stride) for stride in strides]

    def __call__(self, outputs: Sequence[np.ndarray], score_threshold: float) -> Candidates:
        # The quality is at most 1, so the squared threshold bounds the first factor alone.
        bound = score_threshold**2
        least = logit(bound)
        found, places = [], []
        for output, grid in zip(outputs, self._places, strict=True):
            # In memory the channels may come first or last; either way this is a view.
            heads = output.reshape(output.shape[1], -1)
            hits = (heads[0] >= least).nonzero()[0]
            if hits.size:
                found.append(heads[:, hits])
                places.append(grid[:, hits])
        if not found:
            return NOTHING
        cells, places = _joined(found), _joined(places)
        doubts = np.exp(-np.maximum(cells[::15], LEAST_LOGIT)) + 1
        cells[0] = 1 / (doubts[0] * doubts[1])
        return _placed(cells[:15], places, bound, from_box=True)


class YuNet:
    """YuNet's twelve outputs: cls, obj, bbox and kps, each for all strides S.

    cls and obj (1, cells, 1) are probabilities, score = sqrt(cls obj); bbox (1, cells, 4) as in
    :class:`AnchorFree`; kps (1, cells, 10), landmark = (column + x, row + y) S. Cells are
    row-major. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023.
    """

    def __init__(self, width: int, height: int, strides: Sequence[int]):
        self._places = [_grid(width, height, stride) for stride in strides]

    def __call__(self, outputs: Sequence[np.ndarray], score_threshold: float) -> Candidates:
        levels = len(self._places)
        bound = score_threshold**2
        found, places = [], []
        for level, grid in enumerate(self._places):
            cls, obj, bbox, kps = (output[0] for output in outputs[level::levels])
            hits = (cls[:, 0] >= bound).nonzero()[0]
            if not hits.size:
                continue
            cells = np.empty((15, hits.size), np.float32)
            np.multiply(cls[hits, 0], obj[hits, 0], out=cells[0])
            cells[1:5] = bbox[hits].T
            cells[5:] = kps[hits].T
            found.append(cells)
            places.append(grid[:, hits])
        if not found:
            return NOTHING
        return _placed(_joined(found), _joined(places), bound, from_box=False)


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
                _priors(width, height, stride, own)
                for stride, own in zip(strides, sides, strict=True)
            ]
        )
        self._variances = center_variance, size_variance

    def __call__(self, outputs: Sequence[np.ndarray], score_threshold: float) -> Candidates:
        scores, offsets = outputs[0][0, :, 1], outputs[1][0]
        if len(scores) != len(self._priors):
            raise UserError(
                f'the network has {len(scores)} priors, its description {len(self._priors)}',
                'correct the strides and sides in the description',
            )
        rows = np.flatnonzero(scores >= score_threshold)
        priors, offsets = self._priors[rows], offsets[rows]
        centers = priors[:, :2] + offsets[:, :2] * self._variances[0] * priors[:, 2:]
        half = (
            priors[:, 2:]
            * np.exp(np.minimum(offsets[:, 2:] * self._variances[1], LARGEST_LOG_SIZE))
            / 2
        )
        return Candidates(
            np.concatenate([centers - half, centers + half], axis=1),
            scores[rows],
            np.full((len(rows), 5, 2), np.nan, np.float32),
        )


DECODERS = {'anchor_free': AnchorFree, 'yunet': YuNet, 'ultra_light': UltraLight}
"""The decoders by the names that descriptions use."""


def logit(probability: float) -> float:
    """Return log(p / (1 - p)), infinite at 0 and 1."""
    if probability <= 0:
        return -math.inf
    return math.log(probability / (1 - probability)) if probability < 1 else math.inf


def _grid(width: int, height: int, stride: int) -> np.ndarray:
    """Return column, row and stride of a grid's cells, float32 (3, cells), row-major."""
    rows, columns = np.indices((math.ceil(height / stride), math.ceil(width / stride)))
    return np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)]).astype(np.float32)


def _joined(found: list[np.ndarray]) -> np.ndarray:
    """Put together what was found at each stride; most often there is just one."""
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def _placed(cells: np.ndarray, places: np.ndarray, bound: float, from_box: bool) -> Candidates:
    """Turn cells' numbers into candidates, in place.

    :param cells: float32 (15, n): squared score, dx, dy, log w, log h, five landmarks x, y.
    :param places: float32 (3, n): column and row in the grid, its stride.
    :param bound: least squared score.
    :param from_box: landmarks are in halves of the box from its center, not in cells from the
        cell's corner.
    """
    enough = cells[0] >= bound
    if not enough.all():
        cells, places = cells[:, enough], places[:, enough]
    np.sqrt(cells[0], out=cells[0])
    centers, sides, points = cells[1:3], cells[3:5], cells[5:].reshape(5, 2, -1)
    np.minimum(sides, LARGEST_LOG_SIZE, out=sides)
    np.exp(sides, out=sides)
    sides *= 0.5
    centers += places[:2]
    if from_box:
        points *= sides
    points += centers if from_box else places[:2]
    cells[1:] *= places[2]
    lows = centers - sides
    sides += centers
    centers[:] = lows
    return Candidates(cells[1:5].T, cells[0], points.transpose(2, 0, 1))


def _priors(width: int, height: int, stride: int, sides: Sequence[float]) -> np.ndarray:
    """Return priors [cx, cy, w, h], float32 (cells * sides, 4), in pixels, row-major."""
    rows, columns, which = np.indices(
        (math.ceil(height / stride), math.ceil(width / stride), len(sides))
    )
    side = np.asarray(sides, np.float32)[which]
    priors = np.stack([(columns + 0.5) * stride, (rows + 0.5) * stride, side, side], axis=-1)
    return priors.reshape(-1, 4).astype(np.float32)
