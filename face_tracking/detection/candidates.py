# SPDX-License-Identifier: Apache-2.0
"""Candidate faces, and the arithmetic that decoders of grid cells have in common.

Nearly all cells of an image show no face. Decoders therefore compare the network's raw numbers
with a threshold first and compute the rest for the few cells that remain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

LARGEST_LOG_SIZE = 5.0
"""Upper bound of log(box side / stride). A side is at most 148 strides, more than 4,700 pixels at
stride 32, and broken outputs do not overflow."""
LEAST_LOGIT = -40.0
"""Lower bound of a logit, for the same reason."""


class Candidates(NamedTuple):
    """Candidate faces in pixels of the network's input, in no particular order.

    boxes float32 (N, 4) ``[x1, y1, x2, y2]``, scores float32 (N,), landmarks float32 (N, 5, 2),
    NaN where the network has none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray


Decoder = Callable[[Sequence[np.ndarray], float], Candidates]
"""Takes the outputs of a network and the minimum score, returns all candidates that reach it."""

NO_CANDIDATES = Candidates(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
)


def logit(probability: float) -> float:
    """Return log(p / (1 - p)), infinite at 0 and 1."""
    if probability <= 0:
        return -math.inf
    return math.log(probability / (1 - probability)) if probability < 1 else math.inf


def cell_grid(width: int, height: int, stride: int) -> np.ndarray:
    """Return column, row and stride of the cells of a grid, float32 (3, cells), row-major."""
    rows, columns = np.indices((math.ceil(height / stride), math.ceil(width / stride)))
    return np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)]).astype(np.float32)


def join_levels(found: list[np.ndarray]) -> np.ndarray:
    """Concatenate what was found at each stride along the last axis; usually there is one."""
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def decode_cells(
    cells: np.ndarray, grid: np.ndarray, squared_threshold: float, landmarks_from_box: bool
) -> Candidates:
    """Turn the numbers of cells into candidates, in place.

    :param cells: float32 (15, N): squared score, dx, dy, log w, log h, five landmarks x, y.
    :param grid: float32 (3, N): column, row and stride of each cell.
    :param squared_threshold: minimum squared score.
    :param landmarks_from_box: landmarks are given in half box sides from the box's center, not in
        strides from the cell's corner.
    """
    enough = cells[0] >= squared_threshold
    if not enough.all():
        cells, grid = cells[:, enough], grid[:, enough]
    np.sqrt(cells[0], out=cells[0])
    centers, sides, points = cells[1:3], cells[3:5], cells[5:].reshape(5, 2, -1)
    np.minimum(sides, LARGEST_LOG_SIZE, out=sides)
    np.exp(sides, out=sides)
    sides *= 0.5
    centers += grid[:2]
    if landmarks_from_box:
        points *= sides
    points += centers if landmarks_from_box else grid[:2]
    cells[1:] *= grid[2]
    lows = centers - sides
    sides += centers
    centers[:] = lows
    return Candidates(cells[1:5].T, cells[0], points.transpose(2, 0, 1))
