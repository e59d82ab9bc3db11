# SPDX-License-Identifier: Apache-2.0
"""How faces move: a Kalman filter in seconds, for all faces at once.

The state of a face is centre x, centre y, log width and log height, each with its rate of
change. The four do not mix, so the filter is four filters of two numbers, written out in closed
form over arrays (R. E. Kalman, "A New Approach to Linear Filtering and Prediction Problems",
1960). A rate fades with a time constant, driven by white noise: what is not measured comes to
rest (R. A. Singer, "Estimating Optimal Tracking Filter Performance for Manned Maneuvering
Targets", 1970, with velocity in the place of acceleration).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.tracking.flow import Warp

# In face sizes (centre) or in logarithms (size), per second where a rate is meant.
FADING_SECONDS = np.array([1.0, 1.0, 0.5, 0.5])
AGITATION = np.array([3.0, 3.0, 0.6, 0.6])
FIRST_RATE = np.array([1.5, 1.5, 0.3, 0.3])
DETECTION_NOISE = np.array([0.04, 0.04, 0.06, 0.06])
_GATE_NOISE = np.array([0.12, 0.12, 0.15, 0.15])

_LOG_SIZE_RANGE = (-2.0, 12.0)
_LONGEST_PREDICTION = 60.0


@dataclass
class States:
    """Gaussian beliefs about N faces, rows in step with the caller's ids.

    :ivar mean: float64 (N, 4, 2), of cx, cy (pixels), log w, log h: value and rate per second.
    :ivar covariance: float64 (N, 4, 3): variance of the value, covariance, variance of the rate.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def empty(cls) -> States:
        """Return the states of no face."""
        return cls(np.zeros((0, 4, 2)), np.zeros((0, 4, 3)))

    @classmethod
    def at_rest(cls, boxes: np.ndarray) -> States:
        """Return first states of faces detected at ``boxes`` (N, 4)."""
        values = _values(boxes)
        unit = _units(values)
        mean = np.stack([values, np.zeros_like(values)], axis=2)
        covariance = np.stack([(DETECTION_NOISE * unit) ** 2, np.zeros_like(values),
                               (FIRST_RATE * unit) ** 2], axis=2)
        return cls(mean, covariance)

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows) -> States:
        """Pick rows by index array or mask; the result shares nothing with this one."""
        return States(self.mean[rows], self.covariance[rows])

    def joined(self, other: States) -> States:
        """Return these rows with those of ``other`` after them."""
        return States(np.concatenate([self.mean, other.mean]),
                      np.concatenate([self.covariance, other.covariance]))

    def replaced(self, rows: np.ndarray, other: States) -> States:
        """Return these states with those of ``other`` in ``rows``."""
        mean, covariance = self.mean.copy(), self.covariance.copy()
        mean[rows], covariance[rows] = other.mean, other.covariance
        return States(mean, covariance)

    def boxes(self) -> np.ndarray:
        """Return the boxes, float64 (N, 4)."""
        values = self.mean[:, :, 0].copy()
        values[:, 2:] = np.exp(values[:, 2:])
        return box_arithmetic.from_centre_size(values)

    def predicted(self, seconds: float) -> States:
        """Return the states ``seconds`` later."""
        seconds = min(max(seconds, 0.0), _LONGEST_PREDICTION)
        kept = np.exp(-seconds / FADING_SECONDS)
        reach = FADING_SECONDS * (1 - kept)
        strength = (AGITATION * _units(self.mean[:, :, 0])) ** 2
        # However long ago, a face is believed to be within a bounded distance.
        noise = strength * min(seconds, 2.0)
        value, rate = self.mean[..., 0], self.mean[..., 1]
        vv, vr, rr = (self.covariance[..., part] for part in range(3))
        mean, covariance = np.empty_like(self.mean), np.empty_like(self.covariance)
        mean[..., 0] = value + reach * rate
        mean[..., 1] = kept * rate
        _limit(mean)
        covariance[..., 0] = vv + reach * (2 * vr + reach * (rr + noise / 3))
        covariance[..., 1] = kept * (vr + reach * rr) + noise * reach / 2
        covariance[..., 2] = kept ** 2 * rr + noise
        return States(mean, covariance)

    def seen_at(self, boxes: np.ndarray, noise: np.ndarray | float = 1.0) -> States:
        """Return the states after each face was detected at its row of ``boxes`` (N, 4).

        :param noise: factor on the standard deviation of a detection, scalar or (N,).
        """
        values = _values(boxes)
        deviation = DETECTION_NOISE * _units(self.mean[:, :, 0])
        return self._corrected(values, (deviation * np.reshape(noise, (-1, 1))) ** 2, which=0)

    def moved_by(self, motion: np.ndarray, seconds: float, deviation: np.ndarray) -> States:
        """Return the states before a prediction of ``seconds`` in which a carrier saw motion.

        :param motion: float64 (N, 4), change of cx, cy, log w, log h; NaN where not measured.
        :param deviation: its standard deviation, float64 (N, 4), in the same units.
        """
        reach = FADING_SECONDS * (1 - np.exp(-seconds / FADING_SECONDS))
        return self._corrected(motion / reach, (deviation / reach) ** 2, which=1)

    def distances(self, boxes: np.ndarray) -> np.ndarray:
        """Return how far detections (M, 4) are from each face, squared, in deviations, (N, M).

        P. C. Mahalanobis, "On the Generalised Distance in Statistics", 1936. The detections are
        held to be much less exact than they are, as those of half-hidden faces are.
        """
        values = _values(boxes)
        deviation = _GATE_NOISE * _units(self.mean[:, :, 0])
        variance = self.covariance[..., 0] + deviation ** 2
        # (z - m)^2 / s, summed, as three products of matrices; small boxes' logarithms and
        # thousands of pixels leave enough digits for that.
        mean, weight = self.mean[..., 0], 1 / variance
        squares = weight @ (values ** 2).T - 2 * (mean * weight) @ values.T
        return np.maximum(squares + (mean ** 2 * weight).sum(axis=1)[:, None], 0.0)

    def warped(self, warp: Warp) -> States:
        """Return the states after the camera moved and took the background along."""
        mean = self.mean.copy()
        mean[:, :2, 0] = warp(mean[:, :2, 0])
        mean[:, :2, 1] = mean[:, :2, 1] @ warp.matrix.T
        mean[:, 2:, 0] += np.log(warp.zoom)
        return States(mean, self.covariance)

    def scaled(self, across: float, down: float) -> States:
        """Return the states in an image that is ``across`` times as wide, ``down`` as high."""
        factors = np.array([across, down, 1.0, 1.0])
        mean = self.mean * factors[None, :, None]
        mean[:, 2:, 0] += np.log([across, down])
        return States(mean, self.covariance * (factors ** 2)[None, :, None])

    def _corrected(self, measured: np.ndarray, variance: np.ndarray, which: int) -> States:
        """Return the states after measuring values (``which`` 0) or rates (1), NaN for neither."""
        known = np.isfinite(measured)
        surprise = np.where(known, measured - self.mean[..., which], 0.0)
        across = self.covariance[..., which:which + 2]  # with the value, with the rate
        total = self.covariance[..., 2 * which] + variance
        gain = np.where(known[..., None], across / total[..., None], 0.0)
        mean = self.mean + gain * surprise[..., None]
        _limit(mean)
        covariance = self.covariance.copy()
        covariance[..., :2] -= gain[..., :1] * across
        covariance[..., 2] -= gain[..., 1] * across[..., 1]
        return States(mean, covariance)


def _limit(mean: np.ndarray) -> None:
    """Keep the logarithms of the sizes where they mean a size."""
    sizes = mean[:, 2:, 0]
    np.minimum(np.maximum(sizes, _LOG_SIZE_RANGE[0]), _LOG_SIZE_RANGE[1], out=sizes)


def _values(boxes: np.ndarray) -> np.ndarray:
    """Return cx, cy, log w, log h, float64 (N, 4), of boxes (N, 4)."""
    rows = box_arithmetic.to_centre_size(np.asarray(boxes, np.float64))
    rows[:, 2:] = np.log(rows[:, 2:])
    return rows


def _units(values: np.ndarray) -> np.ndarray:
    """Return what the noises of cx, cy, log w, log h are counted in, float64 (N, 4)."""
    unit = np.ones_like(values)
    unit[:, 0] = unit[:, 1] = np.exp((values[:, 2] + values[:, 3]) / 2)
    return unit
