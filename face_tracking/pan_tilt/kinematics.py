# SPDX-License-Identifier: Apache-2.0
"""Kinematics: from a pixel to the joint angles that point the camera at it.

The base's frame is x forward, y left, z up; the pan joint turns about z (positive to the left),
then the tilt joint about y (positive down), and the camera looks along x (REP 103). The axes are
taken to meet in the camera: at a meter, a few centimeters between them are a few degrees that the
image shows and the loop removes.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque

import numpy as np

from face_tracking.arrays import Array
from face_tracking.camera_model import CameraModel


def optical_axes(pan: float, tilt: float) -> Array:
    """Return the optical frame's axes x, y, z in the base's frame, the rows of (3, 3)."""
    sin_pan, cos_pan = math.sin(pan), math.cos(pan)
    sin_tilt, cos_tilt = math.sin(tilt), math.cos(tilt)
    return np.array(
        [
            [sin_pan, -cos_pan, 0.0],
            [-sin_tilt * cos_pan, -sin_tilt * sin_pan, -cos_tilt],
            [cos_tilt * cos_pan, cos_tilt * sin_pan, -sin_tilt],
        ]
    )


def joint_angles(points: Array, camera: CameraModel, pan: float, tilt: float) -> Array:
    """Return pan and tilt, float64 (N, 2) radians, that point the camera at pixels (N, 2).

    Both are in the frame of the base: pan is positive to the left, tilt is positive down.

    :param points: pixels of an image of the size of ``camera``.
    :param pan: pan angle at the time of the image, radians.
    :param tilt: tilt angle at the time of the image, radians.
    """
    rays = camera.rays(points) @ optical_axes(pan, tilt)
    return np.stack(
        [np.arctan2(rays[:, 1], rays[:, 0]), -np.arcsin(np.clip(rays[:, 2], -1, 1))], axis=1
    )


class JointHistory:
    """The joint angles of the last seconds, for images that arrive late.

    :param seconds: the length of the history.
    """

    def __init__(self, seconds: float = 2.0):
        self._nanoseconds = round(seconds * 1e9)
        self._stamps: deque[int] = deque()
        self._angles: deque[tuple[float, float]] = deque()

    def add(self, stamp: int, pan: float, tilt: float) -> None:
        """Add the angles at a time; a time before the newest restarts the history."""
        if self._stamps and stamp <= self._stamps[-1]:
            if stamp == self._stamps[-1]:
                self._angles[-1] = (pan, tilt)
                return
            self._stamps.clear()
            self._angles.clear()
        self._stamps.append(stamp)
        self._angles.append((pan, tilt))
        while self._stamps[0] < stamp - self._nanoseconds:
            self._stamps.popleft()
            self._angles.popleft()

    def at(self, stamp: int) -> tuple[float, float] | None:
        """Return pan and tilt at a time, the nearest known ones outside; None if empty."""
        if not self._stamps:
            return None
        after = bisect_right(self._stamps, stamp)
        if after == 0 or after == len(self._stamps):
            return self._angles[0 if after == 0 else -1]
        start, end = self._stamps[after - 1], self._stamps[after]
        share = (stamp - start) / (end - start)
        (pan, tilt), (pan_then, tilt_then) = self._angles[after - 1], self._angles[after]
        return pan + share * (pan_then - pan), tilt + share * (tilt_then - tilt)

    def rates(self, stamp: int, over: float = 0.03) -> Array:
        """Return the mean rates (2,), rad/s, of pan and tilt over ``over`` s before a time."""
        now, before = self.at(stamp), self.at(stamp - round(over * 1e9))
        return np.zeros(2) if now is None else (np.array(now) - before) / over
