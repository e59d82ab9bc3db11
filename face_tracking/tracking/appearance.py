# SPDX-License-Identifier: Apache-2.0
"""How a face looks, in numbers cheap enough for every detection.

A look is a small patch of the face told in two ways: the directions of its edges in a grid of
cells (N. Dalal and B. Triggs, "Histograms of Oriented Gradients for Human Detection", 2005; with
the square root of R. Arandjelovic and A. Zisserman, "Three Things Everyone Should Know to Improve
Object Retrieval", 2012) and its chromaticity in the same cells. Neither changes with the
brightness of the light. Two looks are compared cell by cell, and only the half that agree best
count, so that a face half hidden still looks like itself. It tells apart the few people before
a robot for minutes, hair and light being the same; it is no face recognition.
"""

from __future__ import annotations

import cv2
import numpy as np

from face_tracking.tracking.image_pyramid import ImagePyramid

_SIDE = 24  # pixels of the patch
_CELLS = 4  # across and down
_DIRECTIONS = 8
_MARGIN = 1.15  # the patch is that much larger than the box: hair tells as well
SIZE = _CELLS**2 * (_DIRECTIONS + 2)
"""Numbers in a look."""

# Median squared distances between the faces of different people, measured: of the whole parts,
# which get the same weight, and of the better half of the cells after that.
_USUAL_EDGES = 0.51
_USUAL_COLOR = 0.057
_USUAL_HALF = 0.275

_FARTHEST_LEAN = 1.2  # radians; beyond, the landmarks are wrong

_COLOR_SCALE = np.sqrt(0.5 / _USUAL_COLOR)
_ONES = np.ones(SIZE // _CELLS**2, np.float32)
_SHARES = np.full(_CELLS**2 // 2, 1 / _USUAL_HALF, np.float32)
_AT_ONCE = 16  # faces: what is worked on then stays in the cache


def _patch_grid() -> np.ndarray:
    """Return x, y and 1 for each pixel of a patch one wide and high, float32 (3, pixels)."""
    steps = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel(), np.ones(_SIDE**2)]).astype(np.float32)


def _first_bins() -> np.ndarray:
    """Return the first bin of the cell of each pixel of so many patches, (faces, pixels)."""
    cell = np.arange(_SIDE) * _CELLS // _SIDE
    number = (cell[:, None] * _CELLS + cell[None, :]).ravel()
    return (np.arange(_AT_ONCE)[:, None] * _CELLS**2 + number) * _DIRECTIONS


# Made of a box: width and height of the patch, and its center.
_PATCH_OF_BOX = np.array(
    [[-_MARGIN, 0, 0.5, 0], [0, -_MARGIN, 0, 0.5], [_MARGIN, 0, 0.5, 0], [0, _MARGIN, 0, 0.5]]
)
_SUM = np.ones((3, 1), np.float32)
_GRID = _patch_grid()
_FIRST_BINS = _first_bins()


def lean(landmarks: np.ndarray) -> np.ndarray:
    """Return how far heads lean to the side, radians (N,): the angle of the line of the eyes.

    :param landmarks: float (N, 5, 2), the eyes first; where they are NaN the head is upright.
    """
    across = landmarks[:, 1] - landmarks[:, 0]
    angle = np.arctan2(across[:, 1], across[:, 0]).astype(float)
    return np.where(np.abs(angle) < _FARTHEST_LEAN, angle, 0.0)  # False for NaN too


def look(pyramid: ImagePyramid, boxes: np.ndarray, leans: np.ndarray) -> np.ndarray:
    """Return the looks of faces, float32 (N, SIZE).

    :param boxes: float (N, 4), pixels of the full image.
    :param leans: float (N,), radians, see :func:`lean`; the patch leans with the head.
    """
    looks = np.empty((len(boxes), _CELLS**2, _DIRECTIONS + 2), np.float32)
    for start in range(0, len(boxes), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        patches = _patches(pyramid, boxes[part], leans[part])
        looks[part, :, :_DIRECTIONS] = _edges(patches)
        looks[part, :, _DIRECTIONS:] = _colors(patches)
    return looks.reshape(len(boxes), SIZE)


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how different looks (N, SIZE) are from others (N, SIZE), row by row, float32 (N,).

    The same face is near 0, strangers are about 1 apart.
    """
    apart = first - second
    apart *= apart
    cells = apart.reshape(-1, SIZE // _CELLS**2).dot(_ONES).reshape(-1, _CELLS**2)
    half = _CELLS**2 // 2
    cells.partition(half, axis=1)
    return cells[:, :half].dot(_SHARES)


def differences(first: np.ndarray, second: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return how different looks (N, SIZE) and (M, SIZE) are, float32 (N, M).

    :param pairs: bool (N, M), which to compare; the rest is 9.
    """
    apart = np.full(pairs.shape, 9.0, np.float32)
    rows, columns = np.nonzero(pairs)
    if len(rows):
        apart[rows, columns] = difference(first[rows], second[columns])
    return apart


def _patches(pyramid: ImagePyramid, boxes: np.ndarray, leans: np.ndarray) -> np.ndarray:
    """Return the faces' pixels, float32 (N * side, side, 3), one face below the other."""
    width, height, x, y = (boxes * pyramid.scale).dot(_PATCH_OF_BOX).T
    x, y, cos, sin = x - 0.5, y - 0.5, np.cos(leans), np.sin(leans)
    places = np.array(
        [[cos * width, -sin * height, x], [sin * width, cos * height, y]], np.float32
    ).transpose(0, 2, 1)
    x, y = places @ _GRID
    pixels = cv2.remap(pyramid.small, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return pixels.reshape(-1, _SIDE, 3).astype(np.float32)


def _edges(patches: np.ndarray) -> np.ndarray:
    """Return each patch's edge directions by cell, of equal length, (N, cells, 8)."""
    gray = cv2.cvtColor(patches, cv2.COLOR_BGR2GRAY).reshape(-1, _SIDE, _SIDE)
    count = len(gray)
    across, down = np.zeros((2, *gray.shape), np.float32)
    np.subtract(gray[:, :, 2:], gray[:, :, :-2], out=across[:, :, 1:-1])
    np.subtract(gray[:, 2:], gray[:, :-2], out=down[:, 1:-1])
    strength, angle = cv2.cartToPolar(across.reshape(count, -1), down.reshape(count, -1))
    angle *= _DIRECTIONS / (2 * np.pi)
    bins = angle.astype(np.intp)
    np.minimum(bins, _DIRECTIONS - 1, out=bins)
    bins += _FIRST_BINS[:count]
    cells = np.bincount(bins.ravel(), strength.ravel(), count * _CELLS**2 * _DIRECTIONS)
    cells = cells.reshape(count, -1)
    cells *= 0.5 / _USUAL_EDGES / np.maximum(cells.sum(axis=1, keepdims=True), 1e-9)
    return np.sqrt(cells, out=cells).reshape(count, _CELLS**2, _DIRECTIONS)


def _colors(patches: np.ndarray) -> np.ndarray:
    """Return the chromaticity of each cell, blue and red less a third, (N, cells, 2)."""
    mean = cv2.resize(
        patches, (_CELLS, len(patches) * _CELLS // _SIDE), interpolation=cv2.INTER_AREA
    ).reshape(-1, 3)
    share = mean[:, ::2] / (mean.dot(_SUM) + 20)  # dark cells have no color
    share -= 1 / 3
    share *= _COLOR_SCALE
    return share.reshape(-1, _CELLS**2, 2)
