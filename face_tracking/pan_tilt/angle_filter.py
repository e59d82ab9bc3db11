# SPDX-License-Identifier: Apache-2.0
"""A Kalman filter over the direction of one face and its angular velocity."""

from __future__ import annotations

import math

import numpy as np

from face_tracking.arrays import Array

FASTEST = 4.0  # rad/s: an upper bound for the motion of a person around the head
FADE_TIME = 0.6  # seconds after which the velocity of an unseen face has dropped to a third
MAX_GAP = 5.0  # seconds after which the previous velocity is discarded
INITIAL_RATE_VARIANCE = 0.25  # (rad/s)^2: a face is met at rest more often than moving


class AngleFilter:
    """A constant-velocity Kalman filter over the pan and tilt angles that point at a face.

    Both angles share one 2x2 covariance of angle and rate, since they are measured alike.

    :param angles: (2,) radians.
    :param stamp: time of the image, nanoseconds.
    :param noise: standard deviation of measured angles, radians.
    :param acceleration: standard deviation of the face's acceleration, rad/s^2.
    :ivar angles: (2,) radians, at ``stamp``; always finite.
    :ivar rates: (2,) rad/s.
    :ivar created: time of the first image, nanoseconds.
    """

    def __init__(self, angles: Array, stamp: int, noise: float, acceleration: float):
        self.created = stamp
        self._noise, self._acceleration = noise**2, acceleration**2
        self._reset(angles, stamp)

    def update(self, angles: Array, stamp: int, motion_blur_noise: float = 0.0) -> None:
        """Correct the state with the angles measured in an image.

        A measurement that is not finite, or not later than the last one, is ignored.

        :param motion_blur_noise: additional standard deviation of this measurement, radians.
        """
        dt = (stamp - self.stamp) / 1e9
        angles = np.asarray(angles, float)
        if dt <= 0 or not np.isfinite(angles).all():
            return
        if dt > MAX_GAP:
            self._reset(angles, stamp)
            return
        transition = np.array([[1.0, dt], [0.0, 1.0]])
        process = self._acceleration * np.array([[dt**4 / 4, dt**3 / 2], [dt**3 / 2, dt**2]])
        covariance = transition @ self._covariance @ transition.T + process
        gain = covariance[:, 0] / (covariance[0, 0] + self._noise + motion_blur_noise**2)
        predicted = self.angles + dt * self.rates
        innovation = angles - predicted
        self.angles = predicted + gain[0] * innovation
        self.rates = np.clip(self.rates + gain[1] * innovation, -FASTEST, FASTEST)
        self._covariance = covariance - np.outer(gain, covariance[0])
        self.stamp = stamp

    def at(self, stamp: int) -> tuple[Array, Array]:
        """Return the angles (2,) and rates (2,) predicted for a time.

        The velocity fades: over the latency of the pipeline this is plain extrapolation, and a
        face that is out of sight for long is not extrapolated without end.
        """
        dt = max((stamp - self.stamp) / 1e9, 0.0)
        fade = math.exp(-((dt / FADE_TIME) ** 2))
        # The integral of the fade.
        distance = FADE_TIME * math.sqrt(math.pi) / 2 * math.erf(dt / FADE_TIME)
        return self.angles + distance * self.rates, fade * self.rates

    def _reset(self, angles: Array, stamp: int) -> None:
        self.angles = np.nan_to_num(np.array(angles, float))
        self.rates = np.zeros(2)
        self.stamp = stamp
        self._covariance = np.array([[self._noise, 0.0], [0.0, INITIAL_RATE_VARIANCE]])
