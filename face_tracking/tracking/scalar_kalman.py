# SPDX-License-Identifier: Apache-2.0
"""The motion model of a few faces from one image to the next, in Python's own numbers.

A NumPy function takes longer to call than the arithmetic for a few faces takes altogether. What is
computed is ``states.moved(motion, seconds, deviation).predicted(seconds)``.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
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


@lru_cache(maxsize=16)
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
    numbers = states.mean.ravel().tolist() + states.covariance.ravel().tolist()
    numbers += motion.T.ravel().tolist() + deviation.T.ravel().tolist()
    rows = [numbers[index :: 4 * count] for index in range(4 * count)]
    places = [_corrected(row, position.reach) for row in rows[: 2 * count]]
    sizes = [_corrected(row, size.reach) for row in rows[2 * count :]]
    areas = [math.exp(sizes[face][0] + sizes[count + face][0]) for face in range(count)]
    found = [
        *map(_predicted, places, [position] * (2 * count), areas + areas),
        *map(_predicted, sizes, [size] * (2 * count), [1.0] * (2 * count)),
    ]
    values, *others = zip(*found, strict=True)
    limited = map(_limited, values[2 * count :])
    flat = [*values[: 2 * count], *limited, *itertools.chain(*others)]
    later = np.array(flat).reshape(5, 4, count)
    return States(later[:2], later[2:])


def _limited(log_size: float) -> float:
    return min(max(log_size, kalman.LOG_SIZE_MIN), kalman.LOG_SIZE_MAX)


_Row = tuple[float, float, float, float, float]
"""Value, rate, variance of the value, covariance, variance of the rate."""


def _corrected(row: list[float], reach: float) -> _Row:
    """Return a component after a motion was measured.

    :param row: see :data:`_Row`, with the motion and its deviation behind.
    """
    value, rate, variance, joint, rate_variance, motion, deviation = row
    if deviation == math.inf:
        return value, rate, variance, joint, rate_variance
    noise = deviation / reach
    total = rate_variance + noise * noise
    surprise, gain, rate_gain = motion / reach - rate, joint / total, rate_variance / total
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
