# SPDX-License-Identifier: Apache-2.0
"""Sparse optical flow: how the camera turned, and how each face moved.

One call follows a grid of points on the background and a small grid on each face from one
image to the next (B. Lucas and T. Kanade, "An Iterative Image Registration Technique with an
Application to Stereo Vision", 1981; J.-Y. Bouguet, "Pyramidal Implementation of the Lucas Kanade
Feature Tracker", 2001). Points on texture count, those that go another way than most do not.

Points are complex numbers where a similarity is fitted: it is then one factor and one shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import cv2
import numpy as np

from face_tracking.arrays import Array, BoolArray, ComplexArray, FloatArray
from face_tracking.camera_model import CameraModel
from face_tracking.tracking.image_pyramid import ImagePyramid

_WINDOW = (8, 7)  # OpenCV computes rows of 8 pixels in vectors, rows of 7 one by one
_LEVELS = 3
_RESTED_LEVELS = 2  # for what moves by less than a tenth of the image's width
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
_MIN_TEXTURE = 1e-3  # minimal eigenvalue of the gradient matrix, as OpenCV scales it
_GRID = (8, 6)  # background points across and down
_FACE_GRID = 3  # face points each way
_FACE_PART = 0.3  # of the box, to either side of its center, that is surely face
_BACKGROUND_POINTS = 8
_FACE_POINTS = 4
_ITERATIONS = 3  # of reweighting
_RESTED = 5  # images in a row
_STILL = 0.05  # pixels of the small image by which points seem to move before a camera at rest


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

    @property
    def zoom(self) -> float:
        """The scale."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))


_NONE = Warp(np.eye(2), np.zeros(2))


@dataclass(frozen=True)
class Flow:
    """What was measured between two images.

    :ivar warp: of the background, None where it could not be measured.
    :ivar motion: float64 (N, 4), change of each face's cx, cy, log w, log h.
    :ivar deviation: float64 (N, 4), standard deviations; infinite where nothing is known.
    """

    warp: Warp | None
    motion: FloatArray
    deviation: FloatArray

    @classmethod
    def unknown(cls, count: int, warp: Warp | None = None) -> Flow:
        """Return what is known of ``count`` faces of which nothing was measured."""
        return cls(warp, np.zeros((count, 4)), np.full((count, 4), np.inf))


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
    scale, shape = before.gray_scale, before.gray.shape
    centers = (boxes[:, :2] + boxes[:, 2:]) * (0.5 * scale)
    sizes = (boxes[:, 2:] - boxes[:, :2]) * scale
    room = _background_points(shape, centers, sizes) if background else _NO_POINTS
    face = _NO_POINTS
    if faces:
        face = (centers[:, None] + _FACE_POINTS_GRID * sizes[:, None]).reshape(-1, 2)
    # Where the background rested, less is enough to see that it still does.
    rested = before.rested >= _RESTED
    warp, shift, good = _follow_both(before, after, room[:: 1 + rested], face, hint, rested)
    if rested and warp is not Warp.none():
        warp, shift, good = _follow_both(before, after, room, face, hint)
    after.rested = before.rested + 1 if warp is Warp.none() else 0
    if not faces or not len(boxes):
        return Flow.unknown(len(boxes), warp)
    return Flow(warp, *_face_motion(shift, good, boxes))


def _follow_both(
    before: ImagePyramid,
    after: ImagePyramid,
    room: FloatArray,
    face: FloatArray,
    hint: Warp | None,
    rested: bool = False,
) -> tuple[Warp | None, FloatArray, BoolArray]:
    """Follow points of the background (B, 2) and of faces (F, 2) in one call.

    :param rested: whether the background rested until now.
    :returns: the motion of the background; that of the points of the faces, float64 (F, 2), pixels
        of the full image; and which of them can be trusted, bool (F,).
    """
    split, scale = len(room), before.gray_scale
    points = np.concatenate([room, face], dtype=np.float32)
    if not len(points):
        return None, np.zeros((0, 2)), np.zeros(0, bool)
    guess = (
        None if hint is None else np.ascontiguousarray(hint(points / scale) * scale, np.float32)
    )
    levels = _RESTED_LEVELS if rested else _LEVELS
    places, good = _follow(before.gray, after.gray, points, guess, levels)
    places /= scale
    background = places[:, :split].view(np.complex128)[..., 0]
    warp = _similarity(background[0], background[1], good[:split], _STILL / scale[0])
    return warp, places[1, split:] - places[0, split:], good[split:]


_NO_POINTS = np.zeros((0, 2), np.float32)
_FACE_POINTS_GRID = np.stack(
    np.meshgrid(*[np.linspace(-_FACE_PART, _FACE_PART, _FACE_GRID)] * 2), axis=-1
).reshape(-1, 2)
_FACE_MOMENTS = np.column_stack(
    [np.ones(len(_FACE_POINTS_GRID)), _FACE_POINTS_GRID, _FACE_POINTS_GRID**2]
)
"""1, x, y and their squares of each point of a face, in box sizes from the center."""


@lru_cache(maxsize=8)
def _grid(shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return a grid over an image: columns' x, rows' y, and the points (rows, columns, 2)."""
    x = ((np.arange(_GRID[0]) + 0.5) * shape[1] / _GRID[0]).astype(np.float32)
    y = ((np.arange(_GRID[1]) + 0.5) * shape[0] / _GRID[1]).astype(np.float32)
    return x, y, np.stack(np.meshgrid(x, y), axis=-1)


def _background_points(
    shape: tuple[int, ...], centers: FloatArray, sizes: FloatArray
) -> FloatArray:
    """Return a grid over the small image, the points on or near faces left out."""
    x, y, points = _grid(shape)
    if not len(centers):
        return points.reshape(-1, 2)
    columns = np.abs(x[:, None] - centers[:, 0]) < sizes[:, 0]
    rows = np.abs(y[:, None] - centers[:, 1]) < sizes[:, 1]
    return points[~(rows @ columns.T)]


def _follow(
    before: Array,
    after: Array,
    points: FloatArray,
    guess: FloatArray | None,
    levels: int,
) -> tuple[FloatArray, BoolArray]:
    """Return where points (P, 2) were and where they went, (2, P, 2), and which to believe.

    :param levels: how often the images are halved for motions that are larger than the window.
    """
    # OpenCV has pixel centers at whole numbers. It accepts None, but its annotation does not.
    begin = cast('FloatArray', None) if guess is None else (guess - 0.5).reshape(-1, 1, 2)
    moved, found, texture = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        (points - 0.5).reshape(-1, 1, 2),
        begin,
        winSize=_WINDOW,
        maxLevel=levels,
        criteria=_CRITERIA,
        flags=cv2.OPTFLOW_LK_GET_MIN_EIGENVALS
        | (0 if guess is None else cv2.OPTFLOW_USE_INITIAL_FLOW),
    )
    places = np.empty((2, len(points), 2))
    places[0] = points
    np.add(moved[:, 0], 0.5, out=places[1])
    good = (found[:, 0] > 0) & (texture[:, 0] > _MIN_TEXTURE)
    middle = np.array(before.shape[::-1]) / 2
    inside = np.abs(places - middle) < middle - 1
    good &= inside[0, :, 0] & inside[0, :, 1] & inside[1, :, 0] & inside[1, :, 1]
    return places, good


def _similarity(
    points: ComplexArray, moved: ComplexArray, good: BoolArray, still: float
) -> Warp | None:
    """Fit shift, rotation and scale to most of the points, by reweighted least squares.

    :param points: complex (P,), like ``moved``.
    :param still: distance by which points at rest may seem to move.
    """
    points, moved = points[good], moved[good]
    count = len(points)
    if count < _BACKGROUND_POINTS:
        return None
    shift = moved - points
    if np.count_nonzero(np.abs(shift) < still) > 0.75 * count:
        return Warp.none()
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


def _face_motion(
    shift: FloatArray, good: BoolArray, boxes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return each face's motion and its deviation, float64 (N, 4) both.

    The points of a face are the same grid in every box, so a fit of shift and growth needs only a
    few sums over them. These are computed for all faces at once, the rest for one face at a time:
    a NumPy function takes longer for a few numbers than Python for one.

    :param shift: float64 (N * P, 2), the motion of P points on each face, pixels.
    :param good: bool (N * P,), which of them to believe.
    :param boxes: float64 (N, 4), the faces before.
    """
    count = len(boxes), len(_FACE_POINTS_GRID)
    shift, good = shift.T.reshape(2, *count), good.reshape(count)
    sides = boxes[:, 2:] - boxes[:, :2]
    size = np.sqrt(sides[:, 0] * sides[:, 1])
    if good.all():
        middle = np.sort(shift)[..., count[1] // 2]
        believed = [count[1]] * count[0]
    else:
        middle, believed = _medians(shift, good)
        shift = np.where(good, shift, 0.0)
    away = (shift - middle[..., None]) / (0.02 * size + 0.3)[:, None]
    away *= away
    weighted = np.empty((3, *count))
    np.divide(good, 1 + away[0] + away[1], out=weighted[0])
    np.multiply(shift, weighted[0], out=weighted[1:])
    rows = (weighted @ _FACE_MOMENTS).transpose(1, 0, 2).tolist()
    found = [
        _one_face(*values)
        for values in zip(rows, sides.tolist(), size.tolist(), believed, strict=True)
    ]
    motion, deviation = np.array(found).transpose(1, 0, 2)
    return motion, deviation


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
    sums: list[list[float]], sides: list[float], size: float, good: int
) -> tuple[list[float], list[float]]:
    """Return the motion of a face and its deviation, of center x, center y, log w and log h.

    :param sums: of the weights of its points, of these times the shift in x, and in y; each times
        the columns of :data:`_FACE_MOMENTS`.
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
    share = total / len(_FACE_POINTS_GRID)
    doubt = 1 / max(share, 0.05) if good >= _FACE_POINTS and share > 0.25 else math.inf
    center, scale = 0.008 * size * doubt + 0.1, 0.012 * doubt
    return [across, down, size_change, size_change], [center, center, scale, scale]
