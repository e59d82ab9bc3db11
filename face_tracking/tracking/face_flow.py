# SPDX-License-Identifier: Apache-2.0
"""How faces move and grow, from the motion of a small grid of points on each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from face_tracking.arrays import BoolArray, FloatArray

_SIDE = 3  # points each way
_PART = 0.3  # of the box, to either side of its center, that is surely face
_MIN_POINTS = 4
_FEW = 4  # faces up to which plain numbers are faster than arrays

_GRID = np.stack(np.meshgrid(*[np.linspace(-_PART, _PART, _SIDE)] * 2), axis=-1).reshape(-1, 2)
_MOMENTS = np.column_stack([np.ones(len(_GRID)), _GRID, _GRID**2])
"""1, x, y and their squares of each point of a face, in box sizes from the center."""
_MOMENTS_OF_POINTS = _MOMENTS[:, 1:].tolist()


def _points_of_corners() -> FloatArray:
    """Return the matrix that turns corners x1, y1, x2, y2 into the points on a face, (4, 2 P)."""
    matrix = np.zeros((2, 2, len(_GRID), 2))  # corner, its coordinate, point, its coordinate
    for axis in range(2):
        matrix[0, axis, :, axis] = 0.5 - _GRID[:, axis]
        matrix[1, axis, :, axis] = 0.5 + _GRID[:, axis]
    return matrix.reshape(4, -1)


_POINTS_OF_CORNERS = _points_of_corners()


def points_on(boxes: FloatArray, scale: FloatArray) -> FloatArray:
    """Return a grid of points on each face, float32 (N * P, 2).

    :param boxes: float64 (N, 4).
    :param scale: pixels of the result for one of the boxes, float64 (2,).
    """
    return ((boxes @ _POINTS_OF_CORNERS).reshape(-1, 2) * scale).astype(np.float32)


def face_motion(
    shift: FloatArray, good: BoolArray, boxes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return each face's motion and its deviation, float64 (N, 4) both.

    The points of a face are the same grid in every box, so a fit of shift and growth needs only a
    few sums over them.

    :param shift: float64 (N * P, 2), the motion of P points on each face, pixels.
    :param good: bool (N * P,), which of them to believe.
    :param boxes: float64 (N, 4), the faces before.
    """
    sides = [(right - left, bottom - top) for left, top, right, bottom in boxes.tolist()]
    sizes = [math.sqrt(width * height) for width, height in sides]
    method = _sums_of_few if len(boxes) <= _FEW else _sums
    sums, counts = method(shift, good, sizes)
    faces = map(_one_face, sums, sides, sizes, counts)
    numbers = np.array([number for face in faces for row in face for number in row])
    motion, deviation = numbers.reshape(-1, 2, 4).transpose(1, 0, 2)
    return motion, deviation


def _sums(
    shift: FloatArray, good: BoolArray, sizes: list[float]
) -> tuple[list[list[list[float]]], list[int]]:
    """Return what :func:`_one_face` needs of each face, and the number of its good points.

    :param sizes: the square root of the area of each face, pixels.
    """
    count = len(sizes), len(_GRID)
    shift, good = shift.T.reshape(2, *count), good.reshape(count)
    middle, believed = _medians(shift, good)
    shift = np.where(good, shift, 0.0)
    away = (shift - middle[..., None]) / _tolerance(np.array(sizes))[:, None]
    away *= away
    weighted = np.empty((3, *count))
    np.divide(good, 1 + away[0] + away[1], out=weighted[0])
    np.multiply(shift, weighted[0], out=weighted[1:])
    return (weighted @ _MOMENTS).transpose(1, 0, 2).tolist(), believed


def _sums_of_few(
    shift: FloatArray, good: BoolArray, sizes: list[float]
) -> tuple[list[list[list[float]]], list[int]]:
    """Return the same as :func:`_sums`: for a few faces, Python's own numbers are faster."""
    points, trusted = shift.tolist(), good.tolist()
    sums, counts, step = [], [], len(_GRID)
    for face, size in enumerate(sizes):
        part = slice(face * step, (face + 1) * step)
        seen = [
            (*moved, *moments)
            for moved, moments, is_good in zip(
                points[part], _MOMENTS_OF_POINTS, trusted[part], strict=True
            )
            if is_good
        ]
        counts.append(len(seen))
        sums.append(_weighted_sums(seen, _tolerance(size)))
    return sums, counts


def _weighted_sums(
    points: list[tuple[float, float, float, float, float, float]], tolerance: float
) -> list[list[float]]:
    """Return the sums of a face, see :func:`_one_face`.

    :param points: shift in x and y, x, y and their squares of each good point.
    :param tolerance: shift beyond the median, pixels, that halves a weight.
    """
    if not points:
        return [[0.0] * 5, [0.0] * 2, [0.0] * 3]
    half = (len(points) - 1) // 2
    middle_x = sorted([point[0] for point in points])[half]
    middle_y = sorted([point[1] for point in points])[half]
    unit = 1 / (tolerance * tolerance)
    total = x = y = xx = yy = across = across_x = down = down_y = 0.0
    for shift_x, shift_y, point_x, point_y, square_x, square_y in points:
        away_x, away_y = shift_x - middle_x, shift_y - middle_y
        weight = 1 / (1 + unit * (away_x * away_x + away_y * away_y))
        total += weight
        x += weight * point_x
        y += weight * point_y
        xx += weight * square_x
        yy += weight * square_y
        weighted_x, weighted_y = weight * shift_x, weight * shift_y
        across += weighted_x
        across_x += weighted_x * point_x
        down += weighted_y
        down_y += weighted_y * point_y
    return [[total, x, y, xx, yy], [across, across_x], [down, 0.0, down_y]]


def _tolerance(size: FloatArray | float) -> Any:
    """Return the shift beyond the median, pixels, that halves the weight of a point."""
    return 0.02 * size + 0.3


def _medians(shift: FloatArray, good: BoolArray) -> tuple[FloatArray, list[int]]:
    """Return the median shift of the good points of each face, (2, N), and their number.

    Without a good point the shift is 0.

    :param shift: float64 (2, N, P).
    :param good: bool (N, P).
    """
    count = good.sum(axis=1)
    rising = np.sort(np.where(good, shift, np.inf))  # what is not good comes last
    middle = rising[:, np.arange(len(good)), np.maximum(count - 1, 0) // 2]
    return np.where(count > 0, middle, 0.0), count.tolist()


def _one_face(
    sums: list[list[float]], sides: tuple[float, float], size: float, good: int
) -> tuple[list[float], list[float]]:
    """Return the motion of a face and its deviation, of center x, center y, log w and log h.

    :param sums: of the weights of its points, of these times the shift in x, and in y; each times
        the columns of :data:`_MOMENTS`.
    :param good: number of points to believe.
    """
    (total, x, y, xx, yy), (across, across_x, *_), (down, _, down_y, *_) = sums
    unit, (width, height) = 1 / max(total, 1e-9), sides
    x, y, across, down = x * unit, y * unit, across * unit, down * unit
    spread = width**2 * (xx * unit - x * x) + height**2 * (yy * unit - y * y)
    growth = width * (across_x * unit - x * across) + height * (down_y * unit - y * down)
    growth /= max(spread, 1e-9)
    # The weighted center of the points is not that of the box.
    across, down = across - growth * x * width, down - growth * y * height
    size_change = math.log(min(max(1 + growth, 0.8), 1.25))
    share = total / len(_GRID)
    doubt = 1 / max(share, 0.05) if good >= _MIN_POINTS and share > 0.25 else math.inf
    center, scale = 0.008 * size * doubt + 0.1, 0.012 * doubt
    return [across, down, size_change, size_change], [center, center, scale, scale]
