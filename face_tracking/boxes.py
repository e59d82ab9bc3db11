# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on boxes ``[x1, y1, x2, y2]``, in arrays."""

from __future__ import annotations

import numpy as np

_TINY = np.finfo(np.float32).tiny


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas, (N,), of boxes (N, 4); a box turned inside out has none."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union, (N, M), of boxes (N, 4) with boxes (M, 4)."""
    corners, others = first.T[:, :, None], second.T[:, None]
    sides = np.minimum(corners[2:], others[2:])
    sides -= np.maximum(corners[:2], others[:2])
    np.maximum(sides, 0, out=sides)
    shared = sides[0] * sides[1]
    areas = area(np.concatenate([first, second]))
    union = areas[:len(first), None] + areas[len(first):]
    union -= shared
    return shared / np.maximum(union, _TINY)


def clip(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return boxes (N, 4) cut to an image of ``width`` by ``height`` pixels."""
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def to_centre_size(boxes: np.ndarray) -> np.ndarray:
    """Return ``[cx, cy, w, h]`` (N, 4) of boxes (N, 4)."""
    return np.concatenate(
        [(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def from_centre_size(rows: np.ndarray) -> np.ndarray:
    """Return boxes (N, 4) of ``[cx, cy, w, h]`` rows (N, 4)."""
    half = rows[:, 2:] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
