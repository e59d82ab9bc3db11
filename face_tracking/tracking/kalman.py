# SPDX-License-Identifier: Apache-2.0
"""The motion model: a Kalman filter in continuous time, for all faces at once.

The state of a face is the center x, the center y, the logarithm of the width and the logarithm of
the height, each with its rate of change. The four components are independent, so the filter
consists of four filters with two numbers each (R. E. Kalman, "A New Approach to Linear Filtering
and Prediction Problems", 1960). Rates decay exponentially and are driven by white noise: a face
that is not measured comes to rest (R. A. Singer, "Estimating Optimal Tracking Filter Performance
for Manned Maneuvering Targets", 1970, with velocity in place of acceleration). The arithmetic is
that of arrays over the N faces; `scalar_kalman.py` has what is called for every image in plain
numbers, for a few faces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np

from face_tracking.arrays import BoolArray, FloatArray, IntArray
from face_tracking.tracking.optical_flow import Warp


def _column(center: float, size: float) -> FloatArray:
    """Return a constant for each component, (4, 1)."""
    return np.array([[center], [center], [size], [size]])


# Units: face sizes (the square root of the area) for the center, logarithms for the size.
RATE_DECAY = _column(1.0, 0.5)  # time constant, seconds
RATE_NOISE = _column(3.0, 1.2)  # standard deviation gained in one second, per second
INITIAL_RATE = _column(1.5, 0.8)  # standard deviation, per second
DETECTION_NOISE = _column(0.02, 0.04)
_GATE_NOISE = _column(0.12, 0.15)

_MIN_PREDICTION, _MAX_PREDICTION = 1e-4, 60.0  # seconds
MAX_NOISE = 2.0  # seconds after which the uncertainty of a rate grows no further
LOG_SIZE_MIN, LOG_SIZE_MAX = -2.0, 12.0

Component = tuple[float, float, float, float, float]
"""Value, rate, variance of the value, covariance of both, variance of the rate."""
Face = tuple[Component, Component, Component, Component]
"""The state of one face: center x, center y, log width, log height."""
Rows: TypeAlias = 'Sequence[Sequence[float]]'
"""Some numbers of each face."""


class States:
    """Gaussian estimates of the boxes of N faces and of their rates of change.

    Instances are not modified; every method returns a new one. They are kept as arrays, as plain
    numbers (:attr:`faces`) or, once both were used, as both.

    :param mean: see :attr:`mean`.
    :param covariance: see :attr:`covariance`.
    """

    __slots__ = ('_arrays', '_boxes', '_faces')

    def __init__(self, mean: FloatArray, covariance: FloatArray):
        self._arrays: tuple[FloatArray, FloatArray] | None = mean, covariance
        self._faces: Sequence[Face] | None = None
        self._boxes: FloatArray | None = None

    @classmethod
    def of_faces(cls, faces: Sequence[Face]) -> States:
        """Return states that are given in plain numbers."""
        states = cls.__new__(cls)
        states._arrays, states._faces, states._boxes = None, faces, None
        return states

    @classmethod
    def empty(cls) -> States:
        """Return the states of no face."""
        return cls(np.zeros((2, 4, 0)), np.zeros((3, 4, 0)))

    @classmethod
    def from_boxes(cls, boxes: FloatArray) -> States:
        """Return the initial states of faces detected at ``boxes`` (N, 4)."""
        values = _values(boxes)
        units = _units(values)
        mean = np.stack([values, np.zeros_like(values)])
        variance, rate_variance = DETECTION_NOISE**2 * units, INITIAL_RATE**2 * units
        return cls(mean, np.stack([variance, np.zeros_like(values), rate_variance]))

    def __len__(self) -> int:
        return self.mean.shape[-1] if self._faces is None else len(self._faces)

    def __getitem__(self, rows: IntArray | BoolArray | slice) -> States:
        """Pick faces by index array, mask or slice."""
        return States(self.mean[..., rows], self.covariance[..., rows])

    @property
    def mean(self) -> FloatArray:
        """The expected values and their rates per second, float64 (2, 4, N).

        The four are center x, center y (pixels), log width and log height.
        """
        return self._as_arrays()[0]

    @property
    def covariance(self) -> FloatArray:
        """Variance of the values, covariance of values and rates, variance of the rates.

        float64 (3, 4, N).
        """
        return self._as_arrays()[1]

    def _as_arrays(self) -> tuple[FloatArray, FloatArray]:
        if self._arrays is None:
            numbers = np.array(self._faces).reshape(-1, 4, 5).transpose(2, 1, 0)
            self._arrays = numbers[:2], numbers[2:]
        return self._arrays

    @property
    def faces(self) -> Sequence[Face]:
        """The same in plain numbers."""
        faces = self._faces
        if faces is None:
            faces = np.concatenate(self._as_arrays()).transpose(2, 1, 0).tolist()
            self._faces = faces
        return cast('Sequence[Face]', faces)

    @property
    def values(self) -> FloatArray:
        """The expected center x, center y (pixels), log width and log height, float64 (4, N)."""
        return self.mean[0]

    @property
    def rates(self) -> FloatArray:
        """The expected change of the values per second, float64 (4, N)."""
        return self.mean[1]

    def box_rows(self) -> Rows:
        """Return the boxes in plain numbers: x1, y1, x2, y2 of each face."""
        if self._faces is None or self._boxes is not None:
            return self.boxes().tolist()
        return [_box(face) for face in self._faces]

    def velocity_rows(self) -> Rows:
        """Return the velocities of the centers, x and y in pixels per second of each face."""
        if self._faces is None:
            return self.rates[:2].T.tolist()
        return [(x[1], y[1]) for x, y, *_ in self._faces]

    def boxes(self) -> FloatArray:
        """Return the boxes ``[x1, y1, x2, y2]`` in pixels, float64 (N, 4), read only."""
        if self._boxes is None and self._faces is not None:
            self._boxes = np.array(self.box_rows()).reshape(-1, 4)
        elif self._boxes is None:
            center, half = self.values[:2], np.exp(self.values[2:])
            half *= 0.5
            boxes = np.empty((4, len(self)))
            np.subtract(center, half, out=boxes[:2])
            np.add(center, half, out=boxes[2:])
            self._boxes = boxes.T
        return self._boxes

    def are_calm(self, speed: float, doubt: float, growth: float) -> bool:
        """Return whether it is known that no face moves fast.

        :param speed: largest speed of a center, face sizes per second.
        :param doubt: largest standard deviation of that speed across.
        :param growth: largest change of a side, as a part of it per second.
        """
        if self._faces is None:
            area = np.exp(self.values[2] + self.values[3])
            calm = (np.abs(self.rates[2:]) <= growth).all(axis=0)
            calm &= (self.rates[:2] ** 2).sum(axis=0) <= speed**2 * area
            calm &= self.covariance[2, 0] <= doubt**2 * area
            return bool(calm.all())
        return all(
            abs(width[1]) <= growth
            and abs(height[1]) <= growth
            and x[1] * x[1] + y[1] * y[1]
            <= speed * speed * (area := math.exp(width[0] + height[0]))
            and x[4] <= doubt * doubt * area
            for x, y, width, height in self._faces
        )

    def joined(self, other: States) -> States:
        """Return these faces followed by those of ``other``."""
        return States(
            np.concatenate([self.mean, other.mean], axis=-1),
            np.concatenate([self.covariance, other.covariance], axis=-1),
        )

    def replaced(self, rows: IntArray | BoolArray | slice, other: States) -> States:
        """Return these states with those of ``other`` in ``rows``."""
        mean, covariance = self.mean.copy(), self.covariance.copy()
        mean[..., rows], covariance[..., rows] = other.mean, other.covariance
        return States(mean, covariance)

    def predicted(self, seconds: float) -> States:
        """Return the states ``seconds`` later."""
        seconds = bounded(seconds)
        decay, reach = decay_in(seconds)
        noise = RATE_NOISE**2 * min(seconds, MAX_NOISE) * _units(self.values)
        (value, rate), (variance, joint, rate_variance) = self.mean, self.covariance
        mean, covariance = np.empty_like(self.mean), np.empty_like(self.covariance)
        mean[0] = value + reach * rate
        mean[1] = decay * rate
        mean[0, 2:] = np.minimum(np.maximum(mean[0, 2:], LOG_SIZE_MIN), LOG_SIZE_MAX)
        covariance[0] = variance + reach * (2 * joint + reach * (rate_variance + noise / 3))
        covariance[1] = decay * (joint + reach * rate_variance) + reach * noise / 2
        covariance[2] = decay**2 * rate_variance + noise
        return States(mean, covariance)

    def detected(self, boxes: FloatArray, noise: FloatArray | float = 1.0) -> States:
        """Return the states after each face was detected at its row of ``boxes`` (N, 4).

        :param noise: factor on the standard deviation of a detection, scalar or (N,).
        """
        variance = (DETECTION_NOISE * noise) ** 2 * _units(self.values)
        return self._corrected(_values(boxes), variance, 0)

    def moved(self, motion: FloatArray, seconds: float, deviation: FloatArray) -> States:
        """Return the states before a prediction in which a motion was measured in the images.

        The measurement corrects the rates, so that the prediction reproduces it.

        :param motion: float64 (N, 4), change of center x, center y, log width, log height.
        :param seconds: the time in which the faces moved.
        :param deviation: standard deviation of the motion, float64 (N, 4); infinite where
            nothing was measured.
        """
        _, reach = decay_in(bounded(seconds))
        return self._corrected(motion.T / reach, (deviation.T / reach) ** 2, 1)

    def distances(self, boxes: FloatArray) -> FloatArray:
        """Return the squared Mahalanobis distance of each detection (M, 4) to each face, (N, M).

        The noise of a detection is taken larger than it is, because the box of a partly occluded
        face is inaccurate.
        """
        expected = self.values
        variance = self.covariance[0] + _GATE_NOISE**2 * _units(expected)
        difference = expected[:, :, None] - _values(boxes)[:, None]
        return (difference * difference / variance[:, :, None]).sum(axis=0)

    def warped(self, warp: Warp) -> States:
        """Return the states after the camera moved and the background followed ``warp``."""
        mean = self.mean.copy()
        mean[:, :2] = warp.matrix @ mean[:, :2]
        mean[0, :2] += warp.offset[:, None]
        mean[0, 2:] += math.log(warp.zoom)
        return States(mean, self.covariance)

    def shifted(self, shift: FloatArray) -> States:
        """Return the states with the centers moved by ``shift`` (2, N), pixels."""
        mean = self.mean.copy()
        mean[0, :2] += shift
        return States(mean, self.covariance)

    def scaled(self, across: float, down: float) -> States:
        """Return the states in an image ``across`` times as wide and ``down`` times as high."""
        factors = np.array([across, down, 1.0, 1.0])[:, None]
        mean = self.mean * factors
        mean[0, 2:] += np.log([[across], [down]])
        return States(mean, self.covariance * factors**2)

    def _corrected(self, measured: FloatArray, variance: FloatArray, which: int) -> States:
        """Return the states after values (``which`` 0) or rates (1) were measured, (4, N).

        :param variance: of the measurement; infinite where nothing was measured.
        """
        # The covariances of the measured quantity with value and rate.
        shared = self.covariance[which : which + 2]
        gain = shared / (self.covariance[2 * which] + variance)
        mean = self.mean + gain * (measured - self.mean[which])
        covariance = self.covariance.copy()
        covariance[:2] -= gain * shared[0]
        covariance[2] -= gain[1] * shared[1]
        return States(mean, covariance)


def bounded(seconds: float) -> float:
    """Return a time by which states can be predicted, seconds."""
    return min(max(seconds, _MIN_PREDICTION), _MAX_PREDICTION)


def decay_in(seconds: float) -> tuple[FloatArray, FloatArray]:
    """Return what is left of a rate after a time, and how far a rate of 1 gets, (4, 1) each."""
    decay = np.exp(-seconds / RATE_DECAY)
    return decay, RATE_DECAY * (1 - decay)


def _box(face: Face) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 of a face."""
    (x, *_), (y, *_), (log_width, *_), (log_height, *_) = face
    across, down = 0.5 * math.exp(log_width), 0.5 * math.exp(log_height)
    return x - across, y - down, x + across, y + down


def _values(boxes: FloatArray) -> FloatArray:
    """Return center x, center y, log width and log height, float64 (4, N), of boxes (N, 4)."""
    low, high = boxes[:, :2].T, boxes[:, 2:].T
    return np.concatenate([(low + high) / 2, np.log(high - low)])


def _units(values: FloatArray) -> FloatArray:
    """Return the squared unit of each component, float64 (4, N): for the center, the area."""
    units = np.ones(values.shape)
    units[:2] = np.exp(values[2] + values[3])
    return units
