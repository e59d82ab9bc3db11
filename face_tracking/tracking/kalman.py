# SPDX-License-Identifier: Apache-2.0
"""How faces move: a Kalman filter in seconds, for all faces at once.

The state of a face is center x, center y, log width and log height, each with its rate of
change. The four do not mix, so the filter is four filters of two numbers (R. E. Kalman, "A New
Approach to Linear Filtering and Prediction Problems", 1960). A rate fades with a time constant,
driven by white noise: what is not measured comes to rest (R. A. Singer, "Estimating Optimal
Tracking Filter Performance for Manned Maneuvering Targets", 1970, with velocity in the place of
acceleration). Means and covariances of all faces lie in one array, so that a prediction is one
product of matrices: for a few faces it is the calls that cost, not the numbers. Dear are those
where NumPy must make two shapes agree; ``dot`` is cheap, ``@`` not.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from face_tracking.tracking.optical_flow import Warp

# In face sizes (center) or in logarithms (size), per second where a rate is meant.
FADING_SECONDS = np.array([[1.0, 1.0, 0.5, 0.5]]).T
AGITATION = np.array([[3.0, 3.0, 0.6, 0.6]]).T
FIRST_RATE = np.array([[1.5, 1.5, 0.3, 0.3]]).T
DETECTION_NOISE = np.array([[0.04, 0.04, 0.06, 0.06]]).T
_GATE_NOISE = np.array([[0.12, 0.12, 0.15, 0.15]]).T

_LOG_LEAST, _LOG_MOST = np.array(-2.0), np.array(12.0)  # of a size
_SHORTEST_PREDICTION, _LONGEST_PREDICTION = 1e-4, 60.0
_TICKS = 1e4  # per second: to which a prediction's time is rounded, so that few occur

VALUE, RATE = 0, 1

# Matrices that make a box of cx, cy, w, h; those of a box; and of a state's values the logarithms
# of what its variances are counted in.
_TO_BOX = np.array([[1, 0, -0.5, 0], [0, 1, 0, -0.5], [1, 0, 0.5, 0], [0, 1, 0, 0.5]])
_FROM_BOX = np.array([[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [-1, 0, 1, 0], [0, -1, 0, 1]])
_LOG_UNITS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], float)


class States:
    """Gaussian beliefs about N faces, in step with the caller's ids.

    :ivar belief: float64 (2, 3, 4, N). First index: the value, or its rate per second. Second:
        what is expected of it, its covariance with the value, that with the rate. Third: cx, cy
        (pixels), log w, log h. Not to be written to.
    """

    __slots__ = ('_boxes', 'belief')

    def __init__(self, belief: np.ndarray):
        self.belief = belief
        self._boxes: np.ndarray | None = None

    @classmethod
    def empty(cls) -> States:
        """Return the states of no face."""
        return cls(np.zeros((2, 3, 4, 0)))

    @classmethod
    def at_rest(cls, boxes: np.ndarray) -> States:
        """Return first states of faces detected at ``boxes`` (N, 4)."""
        values = _values(boxes)
        units = _units(values)
        belief = np.zeros((2, 3, *values.shape))
        belief[VALUE, 0] = values
        belief[VALUE, 1] = DETECTION_NOISE**2 * units
        belief[RATE, 2] = FIRST_RATE**2 * units
        return cls(belief)

    def __len__(self) -> int:
        return self.belief.shape[-1]

    def __getitem__(self, rows) -> States:
        """Pick faces by index array or mask; the result shares nothing with this one."""
        return States(self.belief[..., rows])

    @property
    def values(self) -> np.ndarray:
        """The expected cx, cy (pixels), log w, log h, float64 (4, N)."""
        return self.belief[VALUE, 0]

    @property
    def rates(self) -> np.ndarray:
        """How fast they are expected to change, per second, float64 (4, N)."""
        return self.belief[RATE, 0]

    def joined(self, other: States) -> States:
        """Return these faces with those of ``other`` after them."""
        return States(np.concatenate([self.belief, other.belief], axis=-1))

    def replaced(self, rows: np.ndarray, other: States) -> States:
        """Return these states with those of ``other`` in ``rows``."""
        belief = self.belief.copy()
        belief[..., rows] = other.belief
        return States(belief)

    def boxes(self) -> np.ndarray:
        """Return the boxes, float64 (N, 4), not to be written to."""
        if self._boxes is None:
            rows = self.values.copy()
            np.exp(rows[2:], out=rows[2:])
            self._boxes = rows.T.dot(_TO_BOX.T)
        return self._boxes

    def predicted(self, seconds: float) -> States:
        """Return the states ``seconds`` later, to a tenth of a millisecond."""
        _, transition, noise = _prediction(round(seconds * _TICKS))
        belief = transition.dot(self.belief.reshape(24, -1))
        belief += noise.dot(_units(self.values))
        sizes = belief[2:4]
        np.minimum(np.maximum(sizes, _LOG_LEAST), _LOG_MOST, out=sizes)
        return States(belief.reshape(self.belief.shape))

    def seen_at(self, boxes: np.ndarray, noise: np.ndarray | float = 1.0) -> States:
        """Return the states after each face was detected at its row of ``boxes`` (N, 4).

        :param noise: factor on the standard deviation of a detection, scalar or (N,).
        """
        deviation = DETECTION_NOISE * noise
        deviation *= deviation
        return self._corrected(_values(boxes), deviation * _units(self.values), VALUE)

    def moved_by(self, motion: np.ndarray, seconds: float, deviation: np.ndarray) -> States:
        """Return the states before a prediction of ``seconds`` in which a carrier saw motion.

        :param motion: float64 (N, 4), change of cx, cy, log w, log h.
        :param deviation: its standard deviation, float64 (N, 4), in the same units; infinite
            where nothing was measured.
        """
        reach, _, _ = _prediction(round(seconds * _TICKS))
        deviation = deviation.T / reach
        deviation *= deviation
        return self._corrected(motion.T / reach, deviation, RATE)

    def distances(self, boxes: np.ndarray) -> np.ndarray:
        """Return how far detections (M, 4) are from each face, squared, in deviations, (N, M).

        P. C. Mahalanobis, "On the Generalised Distance in Statistics", 1936. The detections are
        held to be much less exact than they are, as those of half-hidden faces are.
        """
        values, expected = _values(boxes), self.values
        variance = _GATE_NOISE**2 * _units(expected)
        variance += self.belief[VALUE, 1]
        # (z - m)^2 / s, summed, as three products of matrices; small boxes' logarithms and
        # thousands of pixels leave enough digits for that.
        weight = 1 / variance
        weighted = expected * weight
        squares = weight.T @ (values * values)
        squares -= (2 * weighted).T @ values
        squares += (weighted * expected).sum(axis=0)[:, None]
        return np.maximum(squares, 0.0, out=squares)

    def warped(self, warp: Warp) -> States:
        """Return the states after the camera moved and took the background along."""
        belief = self.belief.copy()
        belief[:, 0, :2] = warp.matrix @ belief[:, 0, :2]
        belief[VALUE, 0, :2] += warp.offset[:, None]
        belief[VALUE, 0, 2:] += math.log(warp.zoom)
        return States(belief)

    def shifted(self, shift: np.ndarray) -> States:
        """Return the states with the centers moved by ``shift`` (2, N), pixels."""
        belief = self.belief.copy()
        belief[VALUE, 0, :2] += shift
        return States(belief)

    def scaled(self, across: float, down: float) -> States:
        """Return the states in an image that is ``across`` times as wide, ``down`` as high."""
        factors = np.array([across, down, 1.0, 1.0])[:, None]
        belief = self.belief * np.stack([factors, factors**2, factors**2])
        belief[VALUE, 0, 2:] += np.log([[across], [down]])
        return States(belief)

    def _corrected(self, measured: np.ndarray, variance: np.ndarray, which: int) -> States:
        """Return the states after measuring values (``which`` 0) or rates (1), both (4, N).

        :param variance: infinite where nothing was measured.
        """
        surprise = self.belief[which].copy()  # with its covariances, which shrink likewise
        np.subtract(surprise[0], measured, out=surprise[0])
        gain = self.belief[:, 1 + which] / (surprise[1 + which] + variance)
        return States(self.belief - gain[:, None] * surprise)


@lru_cache(maxsize=1024)
def _prediction(ticks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what a prediction over so many ticks is made of.

    :returns: how far a rate of 1 gets, (4, 1); what becomes of a belief, (24, 24); and what is
        added to it, (24, 4), times the units.
    """
    seconds = min(max(ticks / _TICKS, _SHORTEST_PREDICTION), _LONGEST_PREDICTION)
    kept = np.exp(-seconds / FADING_SECONDS)
    reach = FADING_SECONDS * (1 - kept)
    # However long ago, a face is believed to be within a bounded distance.
    strength = AGITATION**2 * min(seconds, 2.0)
    transition, noise = np.zeros((2, 3, 4, 2, 3, 4)), np.zeros((2, 3, 4, 4))
    for part in range(4):
        k, r = kept[part, 0], reach[part, 0]
        step = np.array([[1, r], [0, k]])
        # The mean becomes step @ mean, the covariance step @ covariance @ step.T.
        transition[:, 0, part, :, 0, part] = step
        transition[:, 1:, part, :, 1:, part] = np.einsum('ik,jl->ijkl', step, step)
        noise[:, 1:, part, part] = strength[part] * [[r * r / 3, r / 2], [r / 2, 1]]
    return reach, transition.reshape(24, 24), noise.reshape(24, 4)


def _values(boxes: np.ndarray) -> np.ndarray:
    """Return cx, cy, log w, log h, float64 (4, N), of boxes (N, 4)."""
    values = _FROM_BOX.dot(boxes.T)
    np.log(values[2:], out=values[2:])
    return values


def _units(values: np.ndarray) -> np.ndarray:
    """Return what the variances of cx, cy, log w, log h are counted in, float64 (4, N).

    For the center that is the face's area, pixels.
    """
    units = _LOG_UNITS.dot(values)
    return np.exp(units, out=units)
