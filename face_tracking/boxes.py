# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on boxes ``[x1, y1, x2, y2]``, in arrays."""

from __future__ import annotations

import numpy as np

from face_tracking.arrays import Array, FloatArray

_TINY = float(np.finfo(np.float32).tiny)
_FEW = 4
"""Pairs of boxes up to which plain numbers are faster than arrays."""


def area(boxes: Array) -> Array:
    """Return the areas, (N,), of boxes (N, 4); the area of an inverted box is 0."""
    corners = boxes.T
    across, down = np.maximum(corners[2:] - corners[:2], 0)
    return across * down


def iou(first: Array, second: Array) -> FloatArray:
    """Return the intersection over union, (N, M), of boxes (N, 4) with boxes (M, 4)."""
    if len(first) * len(second) <= _FEW:
        return _iou_of_few(first, second)
    return _iou_of_many(first, second)


def _iou_of_many(first: Array, second: Array) -> FloatArray:
    both, count = np.concatenate([first.T, second.T], axis=1), len(first)
    corners, others = both[:, :count, None], both[:, None, count:]
    sides = np.minimum(corners[2:], others[2:])
    sides -= np.maximum(corners[:2], others[:2])
    np.maximum(sides, 0, out=sides)
    shared = sides[0] * sides[1]
    areas = area(both.T)
    union = areas[:count, None] + areas[count:]
    union -= shared
    return shared / np.maximum(union, _TINY)


def _iou_of_few(first: Array, second: Array) -> FloatArray:
    others = [(*corners, _area(*corners)) for corners in second.tolist()]
    found = []
    for left, top, right, bottom in first.tolist():
        own = _area(left, top, right, bottom)
        for x1, y1, x2, y2, other in others:
            across, down = min(right, x2) - max(left, x1), min(bottom, y2) - max(top, y1)
            shared = across * down if across > 0 and down > 0 else 0.0
            found.append(shared / max(own + other - shared, _TINY))
    return np.array(found, np.result_type(first, second)).reshape(len(first), len(second))


def _area(left: float, top: float, right: float, bottom: float) -> float:
    return max(right - left, 0.0) * max(bottom - top, 0.0)


def clip(boxes: Array, width: float, height: float) -> Array:
    """Return boxes (N, 4) cut to an image of ``width`` by ``height`` pixels."""
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def to_center_size(boxes: Array) -> Array:
    """Return ``[cx, cy, w, h]`` (N, 4) of boxes (N, 4)."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def from_center_size(rows: Array) -> Array:
    """Return boxes (N, 4) of ``[cx, cy, w, h]`` rows (N, 4)."""
    half = rows[:, 2:] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
