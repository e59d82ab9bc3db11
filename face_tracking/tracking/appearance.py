# SPDX-License-Identifier: Apache-2.0
"""The appearance descriptor: a cue that is cheap enough for every detection.

A patch of the face is described in two ways: by the directions of its edges in a grid of cells
(N. Dalal and B. Triggs, "Histograms of Oriented Gradients for Human Detection", 2005; with the
square root of R. Arandjelovic and A. Zisserman, "Three Things Everyone Should Know to Improve
Object Retrieval", 2012), and by its chromaticity in the same cells. Neither depends on the
brightness of the light. Two descriptors are compared cell by cell, and only the half of the cells
that agree best counts, so that a partly occluded face still matches itself. The descriptor
distinguishes the few people in front of a robot for minutes, while hair and light stay the same;
it is not face recognition.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from face_tracking.arrays import FloatArray, IntArray
from face_tracking.tracking.cue import Cue
from face_tracking.tracking.image_pyramid import ImagePyramid

_SIDE = 24  # pixels of the patch
_CELLS = 4  # across and down
_DIRECTIONS = 8
_MARGIN = 1.15  # size of the patch in box sizes: hair helps to distinguish people
SIZE = _CELLS**2 * (_DIRECTIONS + 2)
"""Numbers in a descriptor."""

# Median squared distances between the faces of different people, measured: of the edges and of
# the colors, which get the same weight, and of the better half of the cells after that.
_EDGE_DISTANCE = 0.51
_COLOR_DISTANCE = 0.057
_HALF_DISTANCE = 0.275

_MAX_ROLL = 1.2  # radians; beyond it the landmarks are wrong

_COLOR_SCALE = math.sqrt(0.5 / _COLOR_DISTANCE)
_DARKNESS = 20  # gray levels added to a cell's sum: dark cells have no color
_BATCH = 16  # faces: their patches then stay in the cache


def _patch_grid() -> FloatArray:
    """Return x, y and 1 for each pixel of a patch one wide and high, float32 (3, pixels)."""
    steps = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel(), np.ones(_SIDE**2)]).astype(np.float32)


def _first_bins() -> IntArray:
    """Return the first histogram bin of the cell of each pixel, int (faces, pixels)."""
    cell = np.arange(_SIDE) * _CELLS // _SIDE
    number = (cell[:, None] * _CELLS + cell[None, :]).ravel()
    return (np.arange(_BATCH)[:, None] * _CELLS**2 + number) * _DIRECTIONS


_GRID = _patch_grid()
_FIRST_BINS = _first_bins()


def roll_angles(landmarks: FloatArray) -> FloatArray:
    """Return the roll of heads in radians, (N,): the angle of the line through the eyes.

    :param landmarks: float (N, 5, 2), the eyes first; a head without landmarks (NaN) is upright.
    """
    across = landmarks[:, 1] - landmarks[:, 0]
    angles = np.arctan2(across[:, 1], across[:, 0]).tolist()
    # A comparison with NaN is False.
    return np.array([angle if abs(angle) < _MAX_ROLL else 0.0 for angle in angles])


def extract_descriptors(pyramid: ImagePyramid, boxes: FloatArray, rolls: FloatArray) -> FloatArray:
    """Return the descriptors of faces, float32 (N, SIZE).

    :param boxes: float (N, 4), pixels of the full image.
    :param rolls: float (N,), radians, see :func:`roll_angles`; the patch is turned by it.
    """
    descriptors = np.empty((len(boxes), _CELLS**2, _DIRECTIONS + 2), np.float32)
    for start in range(0, len(boxes), _BATCH):
        part = slice(start, start + _BATCH)
        patches = _patches(pyramid, boxes[part], rolls[part])
        descriptors[part, :, :_DIRECTIONS] = _edges(patches)
        descriptors[part, :, _DIRECTIONS:] = _colors(patches)
    return descriptors.reshape(len(boxes), SIZE)


def distance(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the distances of descriptors (N, SIZE) to others (N, SIZE), row by row, float32 (N,).

    The distance is near 0 for the same face and about 1 for different people.
    """
    difference = first - second
    cells = (difference * difference).reshape(-1, _CELLS**2, _DIRECTIONS + 2).sum(axis=2)
    half = _CELLS**2 // 2
    cells.partition(half, axis=1)
    return cells[:, :half].sum(axis=1) / np.float32(_HALF_DISTANCE)


def _patches(pyramid: ImagePyramid, boxes: FloatArray, rolls: FloatArray) -> FloatArray:
    """Return the pixels of faces, float32 (N * side, side, 3), one patch below the other."""
    across, down, *_ = pyramid.scale.tolist()
    transforms = [
        _transform(x1 * across, y1 * down, x2 * across, y2 * down, roll)
        for (x1, y1, x2, y2), roll in zip(boxes.tolist(), rolls.tolist(), strict=True)
    ]
    columns, rows = np.array(transforms, np.float32).transpose(1, 0, 2) @ _GRID
    pixels = cv2.remap(
        pyramid.small, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return pixels.reshape(-1, _SIDE, 3).astype(np.float32)


def _transform(
    x1: float, y1: float, x2: float, y2: float, roll: float
) -> list[tuple[float, float, float]]:
    """Return the matrix that moves a patch one wide and high, about its center, to a face."""
    width, height = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
    cos, sin = math.cos(roll), math.sin(roll)
    return [
        (cos * width, -sin * height, (x1 + x2) / 2 - 0.5),
        (sin * width, cos * height, (y1 + y2) / 2 - 0.5),
    ]


def _edges(patches: FloatArray) -> FloatArray:
    """Return the histogram of edge directions of each cell, normalized, (N, cells, 8)."""
    gray = cv2.cvtColor(patches, cv2.COLOR_BGR2GRAY).reshape(-1, _SIDE, _SIDE)
    count = len(gray)
    across, down = np.zeros((2, *gray.shape), np.float32)
    np.subtract(gray[:, :, 2:], gray[:, :, :-2], out=across[:, :, 1:-1])
    np.subtract(gray[:, 2:], gray[:, :-2], out=down[:, 1:-1])
    strength, angle = cv2.cartToPolar(across.reshape(count, -1), down.reshape(count, -1))
    angle *= _DIRECTIONS / (2 * np.pi)
    bins = np.minimum(angle.astype(np.intp), _DIRECTIONS - 1)
    bins += _FIRST_BINS[:count]
    cells = np.bincount(bins.ravel(), strength.ravel(), count * _CELLS**2 * _DIRECTIONS)
    cells = cells.reshape(count, -1)
    cells *= 0.5 / _EDGE_DISTANCE / np.maximum(cells.sum(axis=1, keepdims=True), 1e-9)
    return np.sqrt(cells).reshape(count, _CELLS**2, _DIRECTIONS)


def _colors(patches: FloatArray) -> FloatArray:
    """Return the chromaticity of each cell, the shares of blue and red less 1/3, (N, cells, 2)."""
    mean = cv2.resize(
        patches, (_CELLS, len(patches) * _CELLS // _SIDE), interpolation=cv2.INTER_AREA
    ).reshape(-1, 3)
    share = mean[:, ::2] / (mean.sum(axis=1, keepdims=True) + _DARKNESS)
    return ((share - 1 / 3) * _COLOR_SCALE).reshape(-1, _CELLS**2, 2)


def _extract(pyramid: ImagePyramid, boxes: FloatArray, landmarks: FloatArray) -> FloatArray:
    return extract_descriptors(pyramid, boxes, roll_angles(landmarks))


CUE = Cue('appearance', SIZE, _extract, distance)
"""The appearance descriptor as a cue of the tracker."""
