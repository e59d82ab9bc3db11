# SPDX-License-Identifier: Apache-2.0
"""Sparse optical flow: how the camera turned, and how each face moved.

A grid of points on the background and a small grid on each face are followed from one image to the
next (`lucas_kanade.py`). Points on texture count, those that go another way than most do not.

Points are complex numbers where a similarity is fitted: it is then one factor and one shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from face_tracking.arrays import BoolArray, ComplexArray, FloatArray
from face_tracking.camera_model import CameraModel
from face_tracking.tracking import face_flow, lucas_kanade
from face_tracking.tracking.image_pyramid import ImagePyramid

_RESTED_LEVELS = 2  # for what moves by less than a tenth of the image's width
_GRID = (8, 6)  # background points across and down
_BACKGROUND_POINTS = 8
_ITERATIONS = 3  # of reweighting
RESTED = 5
"""Images in a row for which a camera must not have moved to be at rest."""
_STILL = 0.05  # pixels of the image searched by which points seem to move before a camera at rest
_STILL_OF_COLOR = 0.15  # the same between a gray that was made from colors and one of luma


@dataclass(frozen=True, eq=False)
class Warp:
    """How the background moved: a point p goes to ``matrix @ p + offset``, in pixels.

    :ivar matrix: float64 (2, 2), a rotation times a scale.
    :ivar offset: float64 (2,).
    """

    matrix: FloatArray
    offset: FloatArray

    @classmethod
    def none(cls) -> Warp:
        """Return the warp of a camera that stands still, always the same object."""
        return _NONE

    @classmethod
    def of_rotation(cls, camera: CameraModel, pan: float, tilt: float) -> Warp:
        """Return what a turn of the camera does to the middle of the image.

        :param pan: radians about the vertical, positive to the left (REP 103).
        :param tilt: radians about the axis to the left, positive downwards.
        """
        shift = np.array([camera.fx * np.tan(pan), -camera.fy * np.tan(tilt)])
        return cls(np.eye(2), shift)

    def __call__(self, points: FloatArray) -> FloatArray:
        """Return points (N, 2) moved."""
        return points @ self.matrix.T + self.offset

    def part(self, share: float) -> Warp:
        """Return the warp of a share of the time, 0 to 1; exact enough between two images."""
        if self is _NONE:
            return self
        return Warp(np.eye(2) + share * (self.matrix - np.eye(2)), share * self.offset)

    @property
    def zoom(self) -> float:
        """The scale."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))


_NONE = Warp(np.eye(2), np.zeros(2))


@dataclass(eq=False)
class Flow:
    """What was measured between two images.

    :ivar warp: of the background, None where it could not be measured.
    :ivar motion: float64 (N, 4), change of each face's cx, cy, log w, log h.
    :ivar deviation: float64 (N, 4), standard deviations; infinite where nothing is known.
    :ivar share: of ``motion`` and ``deviation`` that counts, 0 to 1.
    """

    warp: Warp | None
    motion: FloatArray
    deviation: FloatArray
    share: float = 1.0

    @classmethod
    def skipped(cls) -> Flow:
        """Return what is assumed of an image that is not looked at, always the same object."""
        return _SKIPPED

    @classmethod
    def unknown(cls, count: int, warp: Warp | None = None) -> Flow:
        """Return what is known of ``count`` faces of which nothing was measured."""
        return cls(warp, np.zeros((count, 4)), np.full((count, 4), np.inf))

    def part(self, share: float) -> Flow:
        """Return what happened in a share of the time, 0 to 1."""
        warp = None if self.warp is None else self.warp.part(share)
        return Flow(warp, self.motion, self.deviation, share * self.share)


_SKIPPED = Flow.unknown(0, Warp.none())


def measure(
    before: ImagePyramid,
    after: ImagePyramid,
    boxes: FloatArray,
    faces: bool = True,
    background: bool = True,
    hint: Warp | None = None,
) -> Flow:
    """Follow background and faces from one image to the next of the same shape.

    :param boxes: float64 (N, 4), pixels of the full image, of the faces in ``before``.
    :param faces: whether to follow the faces; ``background`` likewise.
    :param hint: how the background probably moved: where the search begins.
    """
    scale = before.gray_scale
    room = _background_points(before.gray.shape, boxes, scale) if background else _NO_POINTS
    face = face_flow.points_on(boxes, scale) if faces and len(boxes) else _NO_POINTS
    warp, shift, good = None, face, np.zeros(0, bool)
    # Where the background rested, less is enough to see that it still does.
    if before.rested >= RESTED:
        warp, shift, good = _follow_both(before, after, room[::2], face, hint, rested=True)
    if warp is not Warp.none():
        warp, shift, good = _follow_both(before, after, room, face, hint)
    elif len(face):
        shift, good = lucas_kanade.refine(before, after, face, shift)
    after.rested = before.rested + 1 if warp is Warp.none() else 0
    if not len(face):
        return Flow.unknown(len(boxes), warp)
    return Flow(warp, *face_flow.face_motion(shift / scale, good, boxes))


def _follow_both(
    before: ImagePyramid,
    after: ImagePyramid,
    room: FloatArray,
    face: FloatArray,
    hint: Warp | None,
    rested: bool = False,
) -> tuple[Warp | None, FloatArray, BoolArray]:
    """Follow points of the background (B, 2) and of faces (F, 2) together.

    :param rested: whether the background rested until now: half the size then shows whether it
        still does.
    :returns: the motion of the background; that of the points of the faces, float32 (F, 2), pixels
        of the gray image; and which of them can be trusted, bool (F,).
    """
    points, scale, split = np.concatenate([room, face]), before.gray_scale, len(room)
    if not len(points):
        return None, points, np.zeros(0, bool)
    guess = None
    if hint is not None:
        guess = (hint(points / scale) * scale - points).astype(np.float32)
    levels, last = (_RESTED_LEVELS, 1) if rested else (lucas_kanade.LEVELS, 0)
    shift, good = lucas_kanade.follow(before, after, points, guess, levels, last)
    same_kind = before.gray_of_color == after.gray_of_color
    still = (_STILL if same_kind else _STILL_OF_COLOR) * 2**last
    warp = _background_motion(points[:split], shift[:split], good[:split], scale, still)
    return warp, shift[split:], good[split:]


_NO_POINTS = np.zeros((0, 2), np.float32)


def _background_points(shape: tuple[int, ...], boxes: FloatArray, scale: FloatArray) -> FloatArray:
    """Return a grid over the gray image, float32 (B, 2), the points on or near faces left out."""
    height, width = shape
    across, down = scale[0] * _GRID[0] / width, scale[1] * _GRID[1] / height
    covered = []
    # A face covers as much as its box to either side of its center.
    for x1, y1, x2, y2 in boxes.tolist():
        reach_x, reach_y = (x2 - x1) / 2, (y2 - y1) / 2
        left, right = _covered((x1 - reach_x) * across, (x2 + reach_x) * across, _GRID[0])
        top, bottom = _covered((y1 - reach_y) * down, (y2 + reach_y) * down, _GRID[1])
        if left < right and top < bottom:
            covered.append((left, right, top, bottom))
    return _grid_without(shape, tuple(covered))


def _covered(begin: float, end: float, count: int) -> tuple[int, int]:
    """Return the first cell whose middle lies between two places, and the one after the last.

    :param begin: in cells from the edge of the image; so ``end``.
    """
    return max(math.floor(begin - 0.5) + 1, 0), min(math.ceil(end - 0.5), count)


@lru_cache(maxsize=64)
def _grid_without(
    shape: tuple[int, ...], covered: tuple[tuple[int, int, int, int], ...]
) -> FloatArray:
    """Return the middles of the cells of a grid over an image, float32 (B, 2), read only.

    :param covered: cells that are left out: first and last column, first and last row.
    """
    x = (np.arange(_GRID[0]) + 0.5) * shape[1] / _GRID[0]
    y = (np.arange(_GRID[1]) + 0.5) * shape[0] / _GRID[1]
    left = np.ones((_GRID[1], _GRID[0]), bool)
    for first_x, end_x, first_y, end_y in covered:
        left[first_y:end_y, first_x:end_x] = False
    points = np.stack(np.meshgrid(x, y), axis=-1)[left].astype(np.float32)
    points.flags.writeable = False
    return points


def _background_motion(
    points: FloatArray, shift: FloatArray, good: BoolArray, scale: FloatArray, still: float
) -> Warp | None:
    """Return how the background moved, None where that could not be measured.

    :param points: float32 (B, 2), pixels of the gray image; so ``shift``, their motion.
    :param good: bool (B,), which to trust.
    :param scale: pixels of the gray image per pixel, float64 (2,).
    :param still: pixels of the gray image by which points at rest may seem to move.
    """
    count = np.count_nonzero(good)
    if count < _BACKGROUND_POINTS:
        return None
    resting = np.abs(shift.view(np.complex64)[:, 0]) < still
    if np.count_nonzero(resting & good) > 0.75 * count:
        return Warp.none()
    before = points[good] / scale
    moved = before + shift[good] / scale
    return _similarity(before.view(np.complex128)[:, 0], moved.view(np.complex128)[:, 0])


def _similarity(points: ComplexArray, moved: ComplexArray) -> Warp | None:
    """Fit shift, rotation and scale to most of the points, by reweighted least squares.

    :param points: complex (P,), like ``moved``.
    """
    count, shift = len(points), moved - points
    turn, offset = 1 + 0j, complex(_median(shift.real), _median(shift.imag))
    residual = np.abs(shift - offset)
    for _ in range(_ITERATIONS):
        weight = residual / max(1.5 * _median(residual), 0.15)
        weight *= weight
        weight += 1
        weight *= weight
        np.divide(1, weight, out=weight)
        total = weight.sum()
        center, there = weight @ points / total, weight @ moved / total
        arms = points - center
        weighted = weight * arms
        turn = np.vdot(weighted, moved - there) / np.vdot(weighted, arms).real
        offset = there - turn * center
        residual = np.abs(turn * points + offset - moved)
    believed = np.count_nonzero(residual < 1.5)
    if believed < max(_BACKGROUND_POINTS, count / 3):
        return None
    return Warp(
        np.array([[turn.real, -turn.imag], [turn.imag, turn.real]]),
        np.array([offset.real, offset.imag]),
    )


def _median(values: FloatArray) -> float:
    """Return the middle one of some numbers: ``np.median`` takes ten times as long for few."""
    return float(np.sort(values)[len(values) // 2])
