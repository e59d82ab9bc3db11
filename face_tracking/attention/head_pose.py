# SPDX-License-Identifier: Apache-2.0
"""Head pose from five landmarks: a perspective-n-point problem with an average head.

The landmarks are eyes, nose tip and mouth corners. They are rotated so that the camera looks
straight at the face before the problem is solved: then the angles are relative to the line of
sight, lens distortion is gone, and a face at the edge of a wide image is no special case.

The model is one average head, so that a person's own proportions appear as a constant offset,
mostly of the pitch; docs/attention.md has the measured error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.camera_model import CameraModel

# Meters, for a face that looks straight into the camera: x right in the image, y down, z away
# from the camera. Adult means: 63 mm between the pupils, 50 mm between the corners of the mouth,
# 68 mm from eyes to mouth; the tip of the nose is 42 mm below the pupils and 36 mm in front.
LANDMARKS = np.array(
    [
        [-0.0315, -0.034, 0.012],
        [0.0315, -0.034, 0.012],
        [0.0, 0.008, -0.024],
        [-0.025, 0.034, 0.012],
        [0.025, 0.034, 0.012],
    ]
)
_NO_DISTORTION = np.zeros(4)
MAX_ANGLE = math.radians(75)
"""Beyond this yaw or pitch one eye is hidden, so that the landmarks are a guess."""
MAX_RESIDUAL = 0.25
"""Of the distance between eyes and mouth: a worse fit is not a face that the model describes."""


@dataclass(frozen=True, eq=False)
class HeadPose:
    """The pose of a head, relative to the line of sight from the camera to it.

    :ivar yaw: radians; 0 looks into the camera, positive to the right in the image.
    :ivar pitch: radians; positive is up.
    :ivar roll: radians; positive is clockwise in the image.
    :ivar rotation: float64 (3, 3), from the head's axes (x right in the image, y down, z away
        from the camera while it looks into the camera) to the optical frame.
    :ivar position: float64 (3,), the middle of the face in meters in the optical frame. The
        distance assumes an adult head.
    :ivar residual: root mean square of the landmarks off the fitted head, over its size.
    """

    yaw: float
    pitch: float
    roll: float
    rotation: Array
    position: Array
    residual: float

    @property
    def off_axis(self) -> float:
        """The angle between the direction of the face and the line of sight, in radians."""
        return math.acos(max(-1.0, min(1.0, math.cos(self.yaw) * math.cos(self.pitch))))


def estimate_head_pose(landmarks: Array, camera: CameraModel) -> HeadPose | None:
    """Return the pose of a head, None if the landmarks do not determine one.

    :param landmarks: (5, 2) in pixels: right eye, left eye, nose tip, right and left corner of
        the mouth as the image shows them from left to right.
    :param camera: the intrinsics of the image.
    """
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        return None
    rays = camera.rays(landmarks)
    turn = _towards(rays.mean(axis=0))
    seen = rays @ turn.T
    if seen[:, 2].min() < 0.1:
        return None
    points = seen[:, :2] / seen[:, 2:]
    size = float(np.linalg.norm(points[:2].mean(axis=0) - points[3:].mean(axis=0)))
    solution = _solve(points) if size > 1e-6 else None
    if solution is None:
        return None
    relative, position, error = solution
    yaw, pitch, roll = _angles(relative)
    residual = error / size
    if max(abs(yaw), abs(pitch)) > MAX_ANGLE or residual > MAX_RESIDUAL:
        return None
    return HeadPose(yaw, pitch, roll, turn.T @ relative, turn.T @ position, residual)


def _towards(ray: Array) -> Array:
    """Return the rotation (3, 3) that turns a direction into the optical axis, without roll."""
    forward = ray / np.linalg.norm(ray)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= max(float(np.linalg.norm(right)), 1e-9)
    return np.stack([right, np.cross(forward, right), forward])


def _solve(points: Array) -> tuple[Array, Array, float] | None:
    """Return rotation, translation and root mean square error of points (5, 2) at depth 1."""
    identity = np.eye(3)
    try:
        found, rotations, translations, _ = cv2.solvePnPGeneric(
            LANDMARKS, points, identity, _NO_DISTORTION, flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:  # points on a line or on one another
        return None
    best: tuple[Array, Array, float] | None = None
    for start, place in zip(rotations[:found], translations[:found], strict=True):
        vector, position = cv2.solvePnPRefineLM(
            LANDMARKS, points, identity, _NO_DISTORTION, start, place
        )
        if not (np.isfinite(vector).all() and np.isfinite(position).all()) or position[2, 0] <= 0:
            continue
        rotation = cv2.Rodrigues(vector)[0]
        fitted = LANDMARKS @ rotation.T + position.ravel()
        if fitted[:, 2].min() <= 0:
            continue
        error = float(np.sqrt(np.mean((fitted[:, :2] / fitted[:, 2:] - points) ** 2) * 2))
        if rotation[2, 2] > 0 and (best is None or error < best[2]):
            best = rotation, position.ravel(), error
    return best


def _angles(rotation: Array) -> tuple[float, float, float]:
    """Return yaw, pitch and roll in radians of a rotation from head to camera axes."""
    # The face looks along the head's -z.
    x, y, z = (-rotation[:, 2]).tolist()
    yaw = math.atan2(x, -z)
    pitch = math.asin(max(-1.0, min(1.0, -y)))
    # Roll is what remains once yaw and pitch are undone: the direction of the head's x axis.
    without = _yaw_pitch(yaw, pitch).T @ rotation
    roll = math.atan2(without[1, 0], without[0, 0])
    return yaw, pitch, roll


def _yaw_pitch(yaw: float, pitch: float) -> Array:
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    return about_y @ about_x


def rotation_of(yaw: float, pitch: float, roll: float) -> Array:
    """Return the rotation (3, 3) from head to camera axes of a head on the optical axis."""
    c, s = math.cos(roll), math.sin(roll)
    return _yaw_pitch(yaw, pitch) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
