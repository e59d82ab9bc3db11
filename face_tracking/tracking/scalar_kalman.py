# SPDX-License-Identifier: Apache-2.0
"""The motion model of a few faces from one image to the next, in Python's own numbers.

A NumPy function takes longer to call than the arithmetic for a few faces takes altogether. What is
computed is ``states.moved(motion, seconds, deviation).predicted(seconds)``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from face_tracking.arrays import FloatArray
from face_tracking.tracking import kalman
from face_tracking.tracking.kalman import States

MOST = 12
"""Faces up to which this is faster than the arrays."""


class _Step(NamedTuple):
    """What a time does to the position of a face, or to its size.

    :ivar decay: what is left of a rate.
    :ivar reach: how far a rate of 1 gets.
    :ivar noise: variance that a rate gains, in squared units.
    """

    decay: float
    reach: float
    noise: float


# NumPy's own numbers would make the arithmetic slow.
_CONSTANTS = [
    (float(kalman.RATE_DECAY[part, 0]), float(kalman.RATE_NOISE[part, 0])) for part in (0, 2)
]


def _steps(seconds: float) -> tuple[_Step, _Step]:
    """Return the steps of the position and of the size."""
    position, size = (
        _Step(
            decay := math.exp(-seconds / lasting),
            lasting * (1 - decay),
            noise**2 * min(seconds, kalman.MAX_NOISE),
        )
        for lasting, noise in _CONSTANTS
    )
    return position, size


def followed(states: States, motion: FloatArray, seconds: float, deviation: FloatArray) -> States:
    """Return the states after a motion was measured in the images, at the later image.

    The parameters are those of :meth:`States.moved`.
    """
    position, size = _steps(kalman.bounded(seconds))
    count = len(states)
    # One row for each component of each face, center x of all faces first.
    rows = list(
        zip(
            *states.mean.reshape(2, -1).tolist(),
            *states.covariance.reshape(3, -1).tolist(),
            motion.T.ravel().tolist(),
            deviation.T.ravel().tolist(),
            strict=True,
        )
    )
    found = [_corrected(row, position) for row in rows[: 2 * count]]
    found += [_corrected(row, size) for row in rows[2 * count :]]
    areas = [
        math.exp(found[2 * count + face][0] + found[3 * count + face][0]) for face in range(count)
    ]
    units = areas + areas + [1.0] * (2 * count)
    steps = [position] * (2 * count) + [size] * (2 * count)
    later = list(zip(*map(_predicted, found, steps, units), strict=True))
    later[0] = later[0][: 2 * count] + tuple(map(_limited, later[0][2 * count :]))
    numbers = np.array(later).reshape(5, 4, count)
    return States(numbers[:2], numbers[2:])


def _limited(log_size: float) -> float:
    return min(max(log_size, kalman.LOG_SIZE_MIN), kalman.LOG_SIZE_MAX)


_Row = tuple[float, float, float, float, float]
"""Value, rate, variance of the value, covariance, variance of the rate."""


def _corrected(row: tuple[float, ...], step: _Step) -> _Row:
    """Return a component after a motion was measured.

    :param row: see :data:`_Row`, with the motion and its deviation behind.
    """
    value, rate, variance, joint, rate_variance, motion, deviation = row
    noise = deviation / step.reach
    total = rate_variance + noise * noise
    surprise, gain, rate_gain = motion / step.reach - rate, joint / total, rate_variance / total
    return (
        value + gain * surprise,
        rate + rate_gain * surprise,
        variance - gain * joint,
        joint - rate_gain * joint,
        rate_variance - rate_gain * rate_variance,
    )


def _predicted(row: _Row, step: _Step, unit: float) -> _Row:
    """Return a component some time later.

    :param unit: the squared unit of the component.
    """
    value, rate, variance, joint, rate_variance = row
    decay, reach, noise = step
    noise *= unit
    return (
        value + reach * rate,
        decay * rate,
        variance + reach * (2 * joint + reach * (rate_variance + noise / 3)),
        decay * (joint + reach * rate_variance) + reach * noise / 2,
        decay * decay * rate_variance + noise,
    )
