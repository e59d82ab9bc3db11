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

from face_tracking.tracking.picture import Picture

_SIDE = 24       # pixels of the patch
_CELLS = 4       # across and down
_DIRECTIONS = 8
_MARGIN = 1.15   # the patch is that much larger than the box: hair tells as well
SIZE = _CELLS ** 2 * (_DIRECTIONS + 2)
"""Numbers in a look."""

# Median squared distances between the faces of different people, measured: of the whole parts,
# which get the same weight, and of the better half of the cells after that.
_USUAL_EDGES = 0.51
_USUAL_COLOUR = 0.057
_USUAL_HALF = 0.275

_FARTHEST_LEAN = 1.2  # radians; beyond, the landmarks are wrong

_ONES = np.ones(SIZE // _CELLS ** 2, np.float32)
_SHARES = np.full(_CELLS ** 2 // 2, 1 / _USUAL_HALF, np.float32)
_STEPS = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
_CELL = np.arange(_SIDE) * _CELLS // _SIDE
_CELL_NUMBER = _CELL[:, None] * _CELLS + _CELL[None, :]


def lean(landmarks: np.ndarray) -> np.ndarray:
    """Return how far heads lean to the side, radians (N,): the angle of the line of the eyes.

    :param landmarks: float (N, 5, 2), the eyes first; where they are NaN the head is upright.
    """
    across = landmarks[:, 1] - landmarks[:, 0]
    angle = np.arctan2(across[:, 1], across[:, 0]).astype(float)
    return np.where(np.abs(angle) < _FARTHEST_LEAN, angle, 0.0)  # False for NaN too


def look(picture: Picture, boxes: np.ndarray, leans: np.ndarray) -> np.ndarray:
    """Return the looks of faces, float32 (N, SIZE).

    :param boxes: float (N, 4), pixels of the full picture.
    :param leans: float (N,), radians, see :func:`lean`; the patch leans with the head.
    """
    if not len(boxes):
        return np.zeros((0, SIZE), np.float32)
    patches = _patches(picture, np.asarray(boxes, float), leans)
    grey = cv2.transform(patches.reshape(-1, 1, 3), _TO_GREY).reshape(patches.shape[:3])
    return np.concatenate([_edges(grey) * np.float32(np.sqrt(0.5 / _USUAL_EDGES)),
                           _colours(patches) * np.float32(np.sqrt(0.5 / _USUAL_COLOUR))],
                          axis=2).reshape(len(boxes), SIZE)


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how different looks (N, SIZE) are from others (N, SIZE), row by row, float32 (N,).

    The same face is near 0, strangers are about 1 apart.
    """
    apart = first - second
    apart *= apart
    cells = apart.reshape(-1, SIZE // _CELLS ** 2) @ _ONES
    half = _CELLS ** 2 // 2
    return np.partition(cells.reshape(-1, _CELLS ** 2), half, axis=1)[:, :half] @ _SHARES


def differences(first: np.ndarray, second: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return how different looks (N, SIZE) and (M, SIZE) are, float32 (N, M).

    :param pairs: bool (N, M), which to compare; the rest is 9.
    """
    apart = np.full(pairs.shape, 9.0, np.float32)
    rows, columns = np.nonzero(pairs)
    if len(rows):
        apart[rows, columns] = difference(first[rows], second[columns])
    return apart


_TO_GREY = np.array([[0.114, 0.587, 0.299]], np.float32)


def _patches(picture: Picture, boxes: np.ndarray, leans: np.ndarray) -> np.ndarray:
    """Return the faces' pixels, float32 (N, side, side, 3), all sampled in one go."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 * picture.scale
    size = (boxes[:, 2:] - boxes[:, :2]) * picture.scale * _MARGIN
    across = _STEPS[None, None, :] * size[:, 0, None, None]
    down = _STEPS[None, :, None] * size[:, 1, None, None]
    cos, sin = np.cos(leans)[:, None, None], np.sin(leans)[:, None, None]
    places = np.stack([centre[:, 0, None, None] + cos * across - sin * down,
                       centre[:, 1, None, None] + sin * across + cos * down], axis=-1) - 0.5
    # One long strip would pass OpenCV's limit on the rows of an image at a thousand faces.
    pixels = [cv2.remap(picture.small, part.reshape(-1, _SIDE, 2).astype(np.float32), None,
                        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
              for part in np.array_split(places, -(-len(boxes) // 1000))]
    return np.concatenate(pixels).reshape(-1, _SIDE, _SIDE, 3).astype(np.float32)


def _edges(grey: np.ndarray) -> np.ndarray:
    """Return each patch's edge directions by cell, of unit length, float32 (N, cells, 8)."""
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength, angle = cv2.cartToPolar(across.reshape(len(grey), -1), down.reshape(len(grey), -1))
    direction = (angle * np.float32(_DIRECTIONS / (2 * np.pi))).astype(np.intp) % _DIRECTIONS
    cell = np.arange(len(grey))[:, None] * _CELLS ** 2 + _CELL_NUMBER.ravel()
    bins = np.bincount((cell * _DIRECTIONS + direction).ravel(), strength.ravel(),
                       len(grey) * _CELLS ** 2 * _DIRECTIONS)
    rows = np.sqrt(bins).reshape(len(grey), -1).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows.reshape(len(grey), _CELLS ** 2, _DIRECTIONS)


def _colours(patches: np.ndarray) -> np.ndarray:
    """Return the chromaticity of each cell, blue and red less a third, float32 (N, cells, 2)."""
    step = _SIDE // _CELLS
    mean = patches.reshape(-1, _CELLS, step, _CELLS, step, 3).mean(axis=(2, 4))
    share = mean / (mean.sum(axis=-1, keepdims=True) + 20)  # dark cells have no colour
    return (share[..., [0, 2]] - np.float32(1 / 3)).reshape(len(patches), _CELLS ** 2, 2)
