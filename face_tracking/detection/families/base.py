# SPDX-License-Identifier: Apache-2.0
"""What the families of detectors share: the record of a family, candidates, grids, priors.

Nearly all cells of an image show no face, so each decoder compares first, on the numbers as
they come out of the network, and computes for the few that remain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.compiled_form import MAX_LOG_SIZE, MIN_LOGIT, CompiledForm
from face_tracking.errors import UserError

__all__ = ['MAX_LOG_SIZE', 'MIN_LOGIT']


class Candidates(NamedTuple):
    """What may be faces, in pixels of the network's input, in no order.

    boxes float32 (N, 4) ``[x1, y1, x2, y2]``, scores float32 (N,), landmarks float32 (N, 5, 2),
    NaN where the network has none.
    """

    boxes: Array
    scores: Array
    landmarks: Array


Decoder = Callable[[Sequence[Array], float], Candidates]
"""Maps the outputs of a network and a minimum score to all candidates that reach it."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each output by its name, in the order of the file; () or 0 where it is unknown."""


@dataclass(frozen=True)
class Family:
    """Detectors whose outputs are read in the same way.

    :ivar name: of the decoder, as descriptions give it.
    :ivar decoder: makes the decoder for an input of (width, height) pixels; further keyword
        arguments are the decoder's options.
    :ivar recognize: from the shapes of a network's outputs, and width and height of its input, to
        the fields of its description (``outputs``, and what differs from the defaults of
        `face_tracking.detection.model.ModelDescription`), or None for a network of another
        family.
    :ivar compiled: the same decoding for the compiler; its decoder must take the option
        ``strides`` and no other. None if NumPy is to decode.
    """

    name: str
    decoder: Callable[..., Decoder]
    recognize: Callable[[Shapes, tuple[int, int]], dict[str, Any] | None]
    compiled: CompiledForm | None = None


def no_candidates() -> Candidates:
    """Return what is found where there is nothing."""
    return Candidates(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
    )


def logit(probability: float) -> float:
    """Return log(p / (1 - p)), infinite at 0 and 1."""
    if probability <= 0:
        return -math.inf
    return math.log(probability / (1 - probability)) if probability < 1 else math.inf


def grid(width: int, height: int, stride: int) -> Array:
    """Return column, row and stride of a grid's cells, float32 (3, cells), row-major."""
    rows, columns = np.indices((math.ceil(height / stride), math.ceil(width / stride)))
    return np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)]).astype(np.float32)


def joined(found: list[Array]) -> Array:
    """Put together what was found at each stride; most often there is just one."""
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def placed(cells: Array, places: Array, bound: float, from_box: bool) -> Candidates:
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
    np.minimum(sides, MAX_LOG_SIZE, out=sides)
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


def priors(width: int, height: int, stride: int, sides: Sequence[float]) -> Array:
    """Return priors [cx, cy, w, h], float32 (cells * sides, 4), in pixels, row-major."""
    rows, columns, which = np.indices(
        (math.ceil(height / stride), math.ceil(width / stride), len(sides))
    )
    side = np.asarray(sides, np.float32)[which]
    priors = np.stack([(columns + 0.5) * stride, (rows + 0.5) * stride, side, side], axis=-1)
    return priors.reshape(-1, 4).astype(np.float32)


def strides_of(outputs: Iterable[str], prefix: str) -> list[int]:
    """Return the strides S of the outputs called ``prefix_S``, ascending."""
    found = (re.fullmatch(rf'{prefix}_(\d+)', name) for name in outputs)
    return sorted(int(match[1]) for match in found if match)


def by_last_side(outputs: Shapes) -> dict[int, list[str]]:
    """Return the names of the outputs by the last side of their shape, in the order given."""
    found: dict[int, list[str]] = {}
    for name, shape in outputs.items():
        found.setdefault(shape[-1] if shape else 0, []).append(name)
    return found


def rows_of(shape: Sequence[int]) -> int:
    """Return how many rows an output (rows, n) or (1, rows, n) has, 0 where unknown."""
    return shape[-2] if len(shape) > 1 else 0


def cells(width: int, height: int, stride: int) -> int:
    """Return how many cells the grid of a stride has over an input."""
    return math.ceil(width / stride) * math.ceil(height / stride)


def prior_boxes(priors: Array, offsets: Array, variances: tuple[float, float]) -> Array:
    """Return boxes, float32 (N, 4), of priors (N, 4) and a network's offsets (N, 4).

    Center and size after Liu et al., "SSD: Single Shot MultiBox Detector", 2016.
    """
    centers = priors[:, :2] + offsets[:, :2] * variances[0] * priors[:, 2:]
    sizes = np.exp(np.minimum(offsets[:, 2:] * variances[1], MAX_LOG_SIZE))
    half = priors[:, 2:] * sizes / 2
    return np.concatenate([centers - half, centers + half], axis=1)


def require_rows(decoder: str, found: int, expected: int) -> None:
    """Check that an output has as many rows as the decoder has places for.

    :raises UserError: it has not.
    """
    if found != expected:
        raise UserError(
            f'the network has {found} rows of scores where the decoder {decoder} expects '
            f'{expected}',
            "correct the decoder's options in the model's description",
        )
