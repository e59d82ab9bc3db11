# SPDX-License-Identifier: Apache-2.0
"""Where a face is around the head, and how fast it moves there."""

from __future__ import annotations

import math

import numpy as np

FASTEST = 4.0  # rad/s: nobody whom one would follow moves faster around the head
MEMORY = 0.6  # seconds after which an unseen face is taken to have slowed down to a third
LONGEST_GAP = 5.0  # seconds: after that the motion before says nothing any more


class AngleFilter:
    """A Kalman filter of constant velocity over a face's pan and tilt (the joint angles that
    would look at it), which share one covariance since they are measured alike.

    :param angles: (2,) radians.
    :param stamp: of the image, nanoseconds.
    :param noise: standard deviation of measured angles, radians.
    :param acceleration: standard deviation of the face's acceleration, rad/s^2.
    :ivar rates: (2,) rad/s.
    """

    def __init__(self, angles: np.ndarray, stamp: int, noise: float, acceleration: float):
        self.angles = np.array(angles, float)
        self.rates = np.zeros(2)
        self.born = self.stamp = stamp
        self._noise, self._acceleration = noise**2, acceleration**2
        # A face is met standing more often than running: half a radian a second either way.
        self._covariance = np.array([[self._noise, 0.0], [0.0, 0.25]])

    def update(self, angles: np.ndarray, stamp: int, motion_blur_noise: float = 0.0) -> None:
        """Take the angles measured in an image; one not later than the last is left out.

        :param motion_blur_noise: standard deviation in radians that this measurement has besides its usual.
        """
        dt = (stamp - self.stamp) / 1e9
        if dt <= 0:
            return
        if dt > LONGEST_GAP:
            born = self.born
            self.__init__(angles, stamp, math.sqrt(self._noise), math.sqrt(self._acceleration))
            self.born = born
            return
        transition = np.array([[1.0, dt], [0.0, 1.0]])
        spread = self._acceleration * np.array([[dt**4 / 4, dt**3 / 2], [dt**3 / 2, dt**2]])
        covariance = transition @ self._covariance @ transition.T + spread
        gain = covariance[:, 0] / (covariance[0, 0] + self._noise + motion_blur_noise**2)
        predicted = self.angles + dt * self.rates
        error = np.asarray(angles, float) - predicted
        self.angles = predicted + gain[0] * error
        self.rates = np.clip(self.rates + gain[1] * error, -FASTEST, FASTEST)
        self._covariance = covariance - np.outer(gain, covariance[0])
        self.stamp = stamp

    def at(self, stamp: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the angles (2,) and rates (2,) expected at a stamp.

        The motion goes on and dies away: over the latency that is its plain continuation, and a
        face that has long been out of sight is not followed for ever.
        """
        dt = max((stamp - self.stamp) / 1e9, 0.0)
        fading = math.exp(-((dt / MEMORY) ** 2))
        # The integral of that fading: it stays near dt as long as the latency, then levels off.
        way = MEMORY * math.sqrt(math.pi) / 2 * math.erf(dt / MEMORY)
        return self.angles + way * self.rates, fading * self.rates
