# SPDX-License-Identifier: Apache-2.0
"""Following points from one image to the next, from halved images to the full ones.

B. Lucas and T. Kanade, "An Iterative Image Registration Technique with an Application to Stereo
Vision", 1981; J.-Y. Bouguet, "Pyramidal Implementation of the Lucas Kanade Feature Tracker", 2001.
OpenCV's function halves both images again in each call, by a filter that takes as long as half of
the search. Here each image is halved once, and the function is called once for each size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import cv2
import numpy as np

from face_tracking.arrays import Array, BoolArray, FloatArray
from face_tracking.tracking.image_pyramid import ImagePyramid

LEVELS = 3
"""How often images are halved for motions that are larger than the window."""
WINDOW = (8, 7)  # OpenCV computes rows of 8 pixels in vectors, rows of 7 one by one
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
_MIN_TEXTURE = 1e-3  # minimal eigenvalue of the gradient matrix, as OpenCV scales it
_MARGIN = 12  # pixels around points in which they are searched


def follow(
    before: ImagePyramid,
    after: ImagePyramid,
    points: FloatArray,
    guess: FloatArray | None = None,
    levels: int = LEVELS,
    last: int = 0,
) -> tuple[FloatArray, BoolArray]:
    """Return how points of ``before.gray`` moved, float32 (P, 2), and which to trust, bool (P,).

    :param points: float32 (P, 2), pixels of the gray image, (0, 0) its outer corner.
    :param guess: how they probably moved, float32 (P, 2); None if nothing is known.
    :param levels: how often the images are halved for the beginning, ``last`` for the end.
    """
    levels = max(min(levels, _most_levels(before.gray.shape)), last)
    factors = _factors(levels, last)
    starts = points * factors
    starts -= 0.5  # OpenCV has pixel centers at whole numbers
    moved = None if guess is None else starts[0] + guess * factors[0]
    found = texture = np.zeros(0)
    for start, level in zip(starts, range(levels, last - 1, -1), strict=True):
        if moved is not None and level < levels:
            moved *= 2
            moved += 0.5
        moved, found, texture = _search(before.halved(level), after.halved(level), start, moved)
    moved, start = cast('FloatArray', moved), starts[-1]
    good = _are_good(start, moved, found, texture, before.halved(last).shape)
    shift = moved - start
    if last:
        shift *= 2**last
    return shift, good


def refine(
    before: ImagePyramid, after: ImagePyramid, points: FloatArray, guess: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Return the same as :func:`follow` where the motion is nearly known.

    Only the part of the images in which the points are is looked at.
    """
    count, start = len(points), points - np.float32(0.5)
    both = np.concatenate([start, start + guess])
    left, top, width, height = cv2.boundingRect(both)
    rows, columns = before.gray.shape
    right = min(left + width - 1 + _MARGIN, columns)
    bottom = min(top + height - 1 + _MARGIN, rows)
    left, top = max(left - _MARGIN, 0), max(top - _MARGIN, 0)
    if right - left <= WINDOW[0] or bottom - top <= WINDOW[1]:
        return guess, np.zeros(count, bool)
    corner = np.array([left, top], np.float32)
    both -= corner
    moved, found, texture = _search(
        before.gray[top:bottom, left:right],
        after.gray[top:bottom, left:right],
        both[:count],
        both[count:],
    )
    moved += corner
    return moved - start, _are_good(start, moved, found, texture, before.gray.shape)


def _search(
    before: Array, after: Array, start: FloatArray, guess: FloatArray | None
) -> tuple[FloatArray, Array, Array]:
    """Return where points (P, 2) are now, whether they were found, and how textured they are."""
    # OpenCV accepts None, but its annotation does not, and its results could be of any type.
    moved, found, texture = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        start,
        cast('FloatArray', guess),
        winSize=WINDOW,
        maxLevel=0,
        criteria=_CRITERIA,
        flags=cv2.OPTFLOW_LK_GET_MIN_EIGENVALS
        | (0 if guess is None else cv2.OPTFLOW_USE_INITIAL_FLOW),
    )
    return cast('FloatArray', moved), found, texture


def _are_good(
    start: FloatArray, moved: FloatArray, found: Array, texture: Array, shape: tuple[int, ...]
) -> BoolArray:
    """Return which points (P, 2) can be trusted, bool (P,).

    They were found, lie on texture, and were and are inside the image.
    """
    good = texture.ravel() > _MIN_TEXTURE
    good &= found.ravel().view(np.bool_)
    if not (_all_inside(start, shape) and _all_inside(moved, shape)):
        middle, reach = _extent(shape)
        inside = np.abs(np.stack([start, moved]) - middle) < reach
        good &= inside.all(axis=(0, 2))
    return good


def _all_inside(points: FloatArray, shape: tuple[int, ...]) -> bool:
    """Return whether a rectangle of whole pixels around points (P, 2) lies inside the image."""
    left, top, width, height = cv2.boundingRect(points)
    return min(left, top) > 0 and left + width < shape[1] - 1 and top + height < shape[0] - 1


@lru_cache(maxsize=16)
def _factors(levels: int, last: int) -> FloatArray:
    """Return the size of each level, from the smallest, float32 (levels - last + 1, 1, 1)."""
    return (0.5 ** np.arange(levels, last - 1, -1)).astype(np.float32)[:, None, None]


@lru_cache(maxsize=16)
def _extent(shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Return the middle of an image, and how far around it points may be, float32 (2,) each."""
    size = np.array(shape[::-1], np.float32)
    return size / 2 - np.float32(0.5), size / 2 - 1


@lru_cache(maxsize=16)
def _most_levels(shape: tuple[int, ...]) -> int:
    """Return how often an image can be halved and is still larger than the window."""
    levels = 0
    while shape[1] >> (levels + 1) > WINDOW[0] and shape[0] >> (levels + 1) > WINDOW[1]:
        levels += 1
    return levels
