# SPDX-License-Identifier: Apache-2.0
"""Sparse optical flow: how the camera turned, and how each face moved.

One call follows a grid of points on the background and a small grid on each face from one
picture to the next (B. Lucas and T. Kanade, "An Iterative Image Registration Technique with an
Application to Stereo Vision", 1981; J.-Y. Bouguet, "Pyramidal Implementation of the Lucas Kanade
Feature Tracker", 2001). Points on texture count, those that go another way than most do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from face_tracking.camera_model import CameraModel
from face_tracking.tracking.picture import Picture

_WINDOW = (9, 9)
_LEVELS = 3
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
_LEAST_TEXTURE = 1e-3   # minimal eigenvalue of the gradient matrix, as OpenCV scales it
_GRID = (12, 9)         # background points across and down
_FACE_GRID = 5          # face points each way
_FACE_PART = 0.35       # of the box, to either side of its centre, that is surely face
_BACKGROUND_POINTS = 12
_FACE_POINTS = 6


@dataclass(frozen=True)
class Warp:
    """How the background moved: a point p goes to ``matrix @ p + offset``, in pixels.

    :ivar matrix: float64 (2, 2), a rotation times a scale.
    :ivar offset: float64 (2,).
    """

    matrix: np.ndarray
    offset: np.ndarray

    @classmethod
    def none(cls) -> Warp:
        """Return the warp of a camera that stands still."""
        return cls(np.eye(2), np.zeros(2))

    @classmethod
    def of_rotation(cls, camera: CameraModel, pan: float, tilt: float) -> Warp:
        """Return what a turn of the camera does to the middle of the picture.

        :param pan: radians about the vertical, positive to the left (REP 103).
        :param tilt: radians about the axis to the left, positive downwards.
        """
        shift = np.array([camera.fx * np.tan(pan), -camera.fy * np.tan(tilt)])
        return cls(np.eye(2), shift)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return points (N, 2) moved."""
        return points @ self.matrix.T + self.offset

    @property
    def zoom(self) -> float:
        """The scale."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))


@dataclass(frozen=True)
class Flow:
    """What was measured between two pictures.

    :ivar warp: of the background, None where it could not be told.
    :ivar motion: float64 (N, 4), change of each face's cx, cy, log w, log h; NaN if unknown.
    :ivar deviation: float64 (N, 4), standard deviations.
    """

    warp: Warp | None
    motion: np.ndarray
    deviation: np.ndarray


def measure(before: Picture, after: Picture, boxes: np.ndarray, faces: bool = True,
            background: bool = True) -> Flow:
    """Follow background and faces from one picture to the next of the same shape.

    :param boxes: float64 (N, 4), pixels of the full picture, of the faces in ``before``.
    :param faces: whether to follow the faces; ``background`` likewise.
    """
    scale = before.scale
    small = boxes * np.tile(scale, 2)
    places = [_background_points(before, small) if background else np.zeros((0, 2))]
    places.append(_face_points(small).reshape(-1, 2) if faces else np.zeros((0, 2)))
    points = np.concatenate(places).astype(np.float32)
    moved, good = _follow(before.grey, after.grey, points)
    points, moved = points / scale, moved / scale
    split = len(places[0])
    warp = _similarity(points[:split], moved[:split], good[:split])
    if not faces or not len(boxes):
        unknown = np.full((len(boxes), 4), np.nan)
        return Flow(warp, unknown, np.ones_like(unknown))
    shape = len(boxes), _FACE_GRID ** 2
    motion, deviation = _face_motion(points[split:].reshape(*shape, 2),
                                     moved[split:].reshape(*shape, 2),
                                     good[split:].reshape(shape), boxes)
    return Flow(warp, motion, deviation)


def _background_points(picture: Picture, faces: np.ndarray) -> np.ndarray:
    """Return a grid over the small picture, the points on or near faces left out."""
    height, width = picture.grey.shape
    across, down = _GRID
    x, y = np.meshgrid((np.arange(across) + 0.5) * width / across,
                       (np.arange(down) + 0.5) * height / down)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    if not len(faces):
        return points
    margin = 0.5 * (faces[:, 2:] - faces[:, :2])
    low, high = faces[:, :2] - margin, faces[:, 2:] + margin
    inside = (x.ravel()[:, None] > low[:, 0]) & (x.ravel()[:, None] < high[:, 0])
    inside &= (y.ravel()[:, None] > low[:, 1]) & (y.ravel()[:, None] < high[:, 1])
    return points[~inside.any(axis=1)]


def _face_points(boxes: np.ndarray) -> np.ndarray:
    """Return a grid (N, P, 2) over the middle of each box (N, 4)."""
    steps = np.linspace(-_FACE_PART, _FACE_PART, _FACE_GRID)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return centre[:, None] + grid * size[:, None]


def _follow(before: np.ndarray, after: np.ndarray,
            points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where points (P, 2) went and which can be believed."""
    if not len(points):
        return points, np.zeros(0, bool)
    height, width = before.shape
    # OpenCV has pixel centres at whole numbers.
    moved, found, texture = cv2.calcOpticalFlowPyrLK(
        before, after, (points - 0.5)[:, None], None, winSize=_WINDOW, maxLevel=_LEVELS,
        criteria=_CRITERIA, flags=cv2.OPTFLOW_LK_GET_MIN_EIGENVALS)
    moved = moved[:, 0] + 0.5
    good = (found[:, 0] > 0) & (texture[:, 0] > _LEAST_TEXTURE)
    for place in (points, moved):
        good &= ((place > 1) & (place < (width - 1, height - 1))).all(axis=1)
    return moved, good


def _similarity(points: np.ndarray, moved: np.ndarray, good: np.ndarray) -> Warp | None:
    """Fit shift, rotation and scale to most of the points, by reweighted least squares."""
    points, moved = points[good], moved[good]
    if len(points) < _BACKGROUND_POINTS:
        return None
    shift = moved - points
    residual = np.abs(shift - np.median(shift, axis=0)).max(axis=1)
    for _ in range(4):
        spread = max(1.5 * float(np.median(residual)), 0.15)
        weight = 1 / (1 + (residual / spread) ** 2) ** 2
        matrix, offset = _weighted_similarity(points, moved, weight)
        residual = np.linalg.norm(points @ matrix.T + offset - moved, axis=1)
    believed = np.count_nonzero(residual < 1.5)
    return Warp(matrix, offset) if believed >= max(_BACKGROUND_POINTS, len(points) / 3) else None


def _weighted_similarity(points, moved, weight) -> tuple[np.ndarray, np.ndarray]:
    weight = weight / weight.sum()
    centre, there = weight @ points, weight @ moved
    p, q = points - centre, moved - there
    spread = weight @ (p ** 2).sum(axis=1)
    a = weight @ (p * q).sum(axis=1) / spread
    b = weight @ (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]) / spread
    matrix = np.array([[a, -b], [b, a]])
    return matrix, there - matrix @ centre


def _face_motion(points, moved, good, boxes) -> tuple[np.ndarray, np.ndarray]:
    """Return each face's motion (N, 4) and its deviation from points (N, P, 2) that moved."""
    size = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    shift = np.where(good[..., None], moved - points, np.inf)
    count = good.sum(axis=1)
    enough = count >= _FACE_POINTS
    shift[~enough] = 0.0
    halfway = np.maximum(count - 1, 0)[:, None, None] // 2  # what is not good is sorted last
    middle = np.take_along_axis(np.sort(shift, axis=1), halfway, axis=1)[:, 0]
    away = np.linalg.norm(shift - middle[:, None], axis=2)
    away = np.where(good & enough[:, None], away, np.inf)
    weight = 1 / (1 + (away / (0.02 * size[:, None] + 0.3)) ** 2)
    weight[~enough] = 1.0
    total = weight.sum(axis=1, keepdims=True)
    share = (weight / total)[..., None]
    moved = np.where(good[..., None], moved, points)
    centre, there = (share * points).sum(axis=1), (share * moved).sum(axis=1)
    p, q = points - centre[:, None], moved - there[:, None]
    growth = (share * p * q).sum(axis=(1, 2)) / (share * p * p).sum(axis=(1, 2))
    # The weighted centre of the points is not that of the box.
    box_centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    change = there + growth[:, None] * (box_centre - centre) - box_centre
    scaling = np.log(np.clip(growth, 0.8, 1.25))
    motion = np.concatenate([change, scaling[:, None], scaling[:, None]], axis=1)
    believed = total[:, 0] / points.shape[1]
    known = enough & (believed > 0.25)
    motion[~known] = np.nan
    doubt = 1 / np.maximum(believed, 0.05)
    deviation = np.stack([0.008 * size * doubt + 0.1] * 2 + [0.012 * doubt] * 2, axis=1)
    return motion, deviation
