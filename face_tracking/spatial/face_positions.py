# SPDX-License-Identifier: Apache-2.0
"""Where faces are in meters: by a depth image, else by the height of a face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from face_tracking.arrays import Array, BoolArray, FloatArray
from face_tracking.boxes import to_center_size
from face_tracking.camera_model import CameraModel

HEIGHT_SPREAD = 0.12
"""Standard deviation of a distance by face height, over the distance: adults differ by 6 %, and
the box of a face by as much again."""
DEPTH_SPREAD = 0.02
"""Of a distance by a depth image, over the distance; at least :data:`DEPTH_FLOOR`."""
DEPTH_FLOOR = 0.015
DIRECTION_SPREAD = 0.02
"""Standard deviation across the line of sight, over the distance."""
NEAREST, FARTHEST = 0.1, 20.0
"""Meters: what a depth image says beyond is not used."""
MIN_VALID = 0.2
"""Share of the pixels in the middle of a face that must have a depth."""


@dataclass(frozen=True, eq=False)
class FacePositions:
    """Positions of the faces of one image.

    :ivar points: float64 (N, 3), in meters in the optical frame.
    :ivar measured: bool (N,), the distance is from the depth image, not from the face's height.
    :ivar spread: float64 (N, 2), standard deviations along and across the line of sight, meters.
    """

    points: FloatArray
    measured: BoolArray
    spread: FloatArray


def positions_by_height(boxes: Array, camera: CameraModel, face_height: float) -> FloatArray:
    """Return where faces are, float64 (N, 3), in meters in the optical frame.

    The direction is that of the center of the box. The distance follows from the angle that the
    height of the box subtends: the faces of people differ little in height, and the height stays
    the same when a head turns.

    :param boxes: (N, 4) in pixels of the camera's image.
    :param face_height: of a face's box in meters.
    """
    rows = to_center_size(np.asarray(boxes, np.float64).reshape(-1, 4))
    ends = np.repeat(rows[:, None, :2], 2, axis=1)
    ends[:, 0, 1] -= rows[:, 3] / 2
    ends[:, 1, 1] += rows[:, 3] / 2
    rays = camera.rays(ends.reshape(-1, 2)).reshape(-1, 2, 3)
    cosine = np.clip((rays[:, 0] * rays[:, 1]).sum(axis=1), -1, 1)
    half_angle = np.maximum(np.arccos(cosine) / 2, 1e-4)
    distance = face_height / 2 / np.tan(half_angle)
    return camera.rays(rows[:, :2]) * distance[:, None]


def locate(
    boxes: Array, camera: CameraModel, face_height: float, depth: Array | None = None
) -> FacePositions:
    """Return the positions of faces.

    :param boxes: (N, 4) in pixels of the camera's image.
    :param camera: the intrinsics of that image.
    :param face_height: of a face's box in meters, where no depth is measured.
    :param depth: float32 (H, W), depth along the optical axis in meters, registered to the image
        at any size; 0 or NaN where it is unknown. None without a depth image.
    """
    points = positions_by_height(boxes, camera, face_height)
    measured = np.zeros(len(points), np.bool_)
    if depth is not None and depth.size:
        for row, box in enumerate(np.asarray(boxes, np.float64).reshape(-1, 4)):
            z = depth_of(box, camera, depth)
            if z is not None and points[row, 2] > 0:
                points[row] *= z / points[row, 2]
                measured[row] = True
    distance = np.linalg.norm(points, axis=1)
    by_depth = np.maximum(DEPTH_SPREAD * distance, DEPTH_FLOOR)
    along = np.where(measured, by_depth, HEIGHT_SPREAD * distance)
    spread = np.stack([along, DIRECTION_SPREAD * distance], axis=1)
    return FacePositions(points, measured, spread)


def depth_of(box: Array, camera: CameraModel, depth: Array) -> float | None:
    """Return the depth of a face in meters, None if too few of its pixels have one.

    The median of the middle half of the box: hair, background and a hand in front count little.

    :param box: (4,) in pixels of the camera's image.
    """
    scale = np.array([depth.shape[1] / camera.width, depth.shape[0] / camera.height] * 2)
    corners = box * scale
    quarter = (corners[2:] - corners[:2]) / 4
    middle = corners + np.concatenate([quarter, -quarter])
    limits = np.array([depth.shape[1], depth.shape[0]] * 2)
    left, top, right, bottom = np.clip(np.round(middle), 0, limits).astype(int)
    part = depth[top : max(bottom, top + 1), left : max(right, left + 1)]
    valid = part[(part >= NEAREST) & (part <= FARTHEST)]  # False for NaN
    if part.size == 0 or valid.size < MIN_VALID * part.size:
        return None
    return float(np.median(valid))


def covariance(point: Array, along: float, across: float) -> FloatArray:
    """Return the covariance (3, 3) of a position whose error differs along the line of sight.

    :param point: (3,) in meters.
    :param along: standard deviation along the line from the camera to the point.
    :param across: standard deviation across it.
    """
    length = float(np.linalg.norm(point))
    axis = point / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])
    outer = np.outer(axis, axis)
    return along**2 * outer + across**2 * (np.eye(3) - outer)
