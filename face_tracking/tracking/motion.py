# SPDX-License-Identifier: Apache-2.0
"""How faces move: a Kalman filter in seconds, for all faces at once.

The state of a face is centre x, centre y, log width and log height, each with its rate of
change. The four do not mix, so the filter is four filters of two numbers (R. E. Kalman, "A New
Approach to Linear Filtering and Prediction Problems", 1960). A rate fades with a time constant,
driven by white noise: what is not measured comes to rest (R. A. Singer, "Estimating Optimal
Tracking Filter Performance for Manned Maneuvering Targets", 1970, with velocity in the place of
acceleration). Means and covariances of all faces lie in one array, so that a prediction is one
product of matrices: for a few faces it is the calls that cost, not the numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from face_tracking.tracking.flow import Warp

# In face sizes (centre) or in logarithms (size), per second where a rate is meant.
FADING_SECONDS = np.array([1.0, 1.0, 0.5, 0.5])
AGITATION = np.array([3.0, 3.0, 0.6, 0.6])
FIRST_RATE = np.array([1.5, 1.5, 0.3, 0.3])
DETECTION_NOISE = np.array([0.04, 0.04, 0.06, 0.06])
_GATE_NOISE = np.array([0.12, 0.12, 0.15, 0.15])

_LOG_SIZE_RANGE = (-2.0, 12.0)
_LONGEST_PREDICTION = 60.0
_TICKS = 1e4  # per second: to which a prediction's time is rounded, so that few occur

VALUE, RATE, VALUE_VARIANCE, COVARIANCE, RATE_VARIANCE = range(5)


class States:
    """Gaussian beliefs about N faces, rows in step with the caller's ids.

    :ivar belief: float64 (N, 4, 5), of cx, cy (pixels), log w, log h: value, rate per second,
        variance of the value, covariance of the two, variance of the rate. Not to be written to.
    """

    __slots__ = ('belief', '_boxes')

    def __init__(self, belief: np.ndarray):
        self.belief = belief
        self._boxes: np.ndarray | None = None

    @classmethod
    def empty(cls) -> States:
        """Return the states of no face."""
        return cls(np.zeros((0, 4, 5)))

    @classmethod
    def at_rest(cls, boxes: np.ndarray) -> States:
        """Return first states of faces detected at ``boxes`` (N, 4)."""
        values = _values(boxes)
        unit = _units(values)
        belief = np.zeros((len(values), 4, 5))
        belief[:, :, VALUE] = values
        belief[:, :, VALUE_VARIANCE] = (DETECTION_NOISE * unit) ** 2
        belief[:, :, RATE_VARIANCE] = (FIRST_RATE * unit) ** 2
        return cls(belief)

    def __len__(self) -> int:
        return len(self.belief)

    def __getitem__(self, rows) -> States:
        """Pick rows by index array or mask; the result shares nothing with this one."""
        return States(self.belief[rows])

    @property
    def values(self) -> np.ndarray:
        """The expected cx, cy (pixels), log w, log h, float64 (N, 4)."""
        return self.belief[:, :, VALUE]

    @property
    def rates(self) -> np.ndarray:
        """How fast they are expected to change, per second, float64 (N, 4)."""
        return self.belief[:, :, RATE]

    def joined(self, other: States) -> States:
        """Return these rows with those of ``other`` after them."""
        return States(np.concatenate([self.belief, other.belief]))

    def replaced(self, rows: np.ndarray, other: States) -> States:
        """Return these states with those of ``other`` in ``rows``."""
        belief = self.belief.copy()
        belief[rows] = other.belief
        return States(belief)

    def boxes(self) -> np.ndarray:
        """Return the boxes, float64 (N, 4), not to be written to."""
        if self._boxes is None:
            half = np.exp(self.belief[:, 2:, VALUE])
            half *= 0.5
            self._boxes = np.empty((len(half), 4))
            np.subtract(self.belief[:, :2, VALUE], half, out=self._boxes[:, :2])
            np.add(self.belief[:, :2, VALUE], half, out=self._boxes[:, 2:])
        return self._boxes

    def predicted(self, seconds: float) -> States:
        """Return the states ``seconds`` later, to a tenth of a millisecond."""
        _, transition, noise = _prediction(_ticks(seconds))
        belief = (self.belief.reshape(-1, 20) @ transition).reshape(-1, 4, 5)
        area = np.exp(self.belief[:, 2, VALUE] + self.belief[:, 3, VALUE])
        belief[:, :2, 2:] += area[:, None, None] * noise[:2]
        belief[:, 2:, 2:] += noise[2:]
        _limit(belief)
        return States(belief)

    def seen_at(self, boxes: np.ndarray, noise: np.ndarray | float = 1.0) -> States:
        """Return the states after each face was detected at its row of ``boxes`` (N, 4).

        :param noise: factor on the standard deviation of a detection, scalar or (N,).
        """
        deviation = DETECTION_NOISE * _units(self.values) * np.reshape(noise, (-1, 1))
        return self._corrected(_values(boxes), deviation * deviation, VALUE)

    def moved_by(self, motion: np.ndarray, seconds: float, deviation: np.ndarray) -> States:
        """Return the states before a prediction of ``seconds`` in which a carrier saw motion.

        :param motion: float64 (N, 4), change of cx, cy, log w, log h.
        :param deviation: its standard deviation, float64 (N, 4), in the same units; infinite
            where nothing was measured.
        """
        reach, _, _ = _prediction(_ticks(seconds))
        deviation = deviation / reach
        return self._corrected(motion / reach, deviation * deviation, RATE)

    def distances(self, boxes: np.ndarray) -> np.ndarray:
        """Return how far detections (M, 4) are from each face, squared, in deviations, (N, M).

        P. C. Mahalanobis, "On the Generalised Distance in Statistics", 1936. The detections are
        held to be much less exact than they are, as those of half-hidden faces are.
        """
        values = _values(boxes)
        deviation = _GATE_NOISE * _units(self.values)
        weight = 1 / (self.belief[:, :, VALUE_VARIANCE] + deviation * deviation)
        # (z - m)^2 / s, summed, as three products of matrices; small boxes' logarithms and
        # thousands of pixels leave enough digits for that.
        weighted = self.values * weight
        squares = weight @ (values * values).T
        squares -= (2 * weighted) @ values.T
        squares += (weighted * self.values).sum(axis=1)[:, None]
        return np.maximum(squares, 0.0, out=squares)

    def warped(self, warp: Warp) -> States:
        """Return the states after the camera moved and took the background along."""
        belief = self.belief.copy()
        belief[:, :2, :2] = warp.matrix @ belief[:, :2, :2]
        belief[:, :2, VALUE] += warp.offset
        belief[:, 2:, VALUE] += math.log(warp.zoom)
        return States(belief)

    def shifted(self, shift: np.ndarray) -> States:
        """Return the states with the centres moved by ``shift`` (N, 2), pixels."""
        belief = self.belief.copy()
        belief[:, :2, VALUE] += shift
        return States(belief)

    def scaled(self, across: float, down: float) -> States:
        """Return the states in an image that is ``across`` times as wide, ``down`` as high."""
        factors = np.array([across, down, 1.0, 1.0])[:, None]
        belief = self.belief * np.concatenate([factors, factors] + [factors ** 2] * 3, axis=1)
        belief[:, 2:, VALUE] += np.log([across, down])
        return States(belief)

    def _corrected(self, measured: np.ndarray, variance: np.ndarray, which: int) -> States:
        """Return the states after measuring values (``which`` 0) or rates (1), both (N, 4).

        :param variance: infinite where nothing was measured.
        """
        belief = self.belief.copy()
        across = self.belief[:, :, VALUE_VARIANCE + which:COVARIANCE + which + 1]
        total = across[:, :, which] + variance
        gain = across / total[:, :, None]
        surprise = measured - self.belief[:, :, which]
        belief[:, :, :2] += gain * surprise[:, :, None]
        belief[:, :, 2:4] -= gain[:, :, :1] * across
        belief[:, :, RATE_VARIANCE] -= gain[:, :, 1] * across[:, :, 1]
        if which == VALUE:
            _limit(belief)
        return States(belief)


def _ticks(seconds: float) -> int:
    return round(min(max(seconds * _TICKS, 1.0), _LONGEST_PREDICTION * _TICKS))


@lru_cache(maxsize=1024)
def _prediction(ticks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what a prediction over so many ticks is made of.

    :returns: how far a rate of 1 gets, (4,); what becomes of a belief, (20, 20); and the
        variances added to it, (4, 3), for the centre those of a face one pixel wide and high.
    """
    seconds = ticks / _TICKS
    kept = np.exp(-seconds / FADING_SECONDS)
    reach = FADING_SECONDS * (1 - kept)
    transition = np.zeros((4, 5, 4, 5))
    for part in range(4):
        k, r = kept[part], reach[part]
        # Rows are before, columns after, as in row @ matrix.
        transition[part, :, part] = [[1, 0, 0, 0, 0],
                                     [r, k, 0, 0, 0],
                                     [0, 0, 1, 0, 0],
                                     [0, 0, 2 * r, k, 0],
                                     [0, 0, r * r, k * r, k * k]]
    # However long ago, a face is believed to be within a bounded distance.
    strength = AGITATION ** 2 * min(seconds, 2.0)
    noise = strength[:, None] * np.stack([reach ** 2 / 3, reach / 2, np.ones(4)], axis=1)
    return reach, transition.reshape(20, 20), noise


def _limit(belief: np.ndarray) -> None:
    """Keep the logarithms of the sizes where they mean a size."""
    sizes = belief[:, 2:, VALUE]
    np.minimum(np.maximum(sizes, _LOG_SIZE_RANGE[0]), _LOG_SIZE_RANGE[1], out=sizes)


def _values(boxes: np.ndarray) -> np.ndarray:
    """Return cx, cy, log w, log h, float64 (N, 4), of boxes (N, 4)."""
    values = np.empty(boxes.shape)
    np.add(boxes[:, :2], boxes[:, 2:], out=values[:, :2])
    values[:, :2] *= 0.5
    np.log(boxes[:, 2:] - boxes[:, :2], out=values[:, 2:])
    return values


def _units(values: np.ndarray) -> np.ndarray:
    """Return what the noises of cx, cy, log w, log h are counted in, float64 (N, 4)."""
    unit = np.ones(values.shape)
    unit[:, :2] = np.exp(0.5 * (values[:, 2] + values[:, 3]))[:, None]
    return unit
