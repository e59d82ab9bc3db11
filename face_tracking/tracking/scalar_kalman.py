# SPDX-License-Identifier: Apache-2.0
"""The motion model for a few faces, in Python's own numbers.

A NumPy function takes longer to call than the arithmetic for a few faces takes altogether. Each
function here returns what the methods of :class:`~face_tracking.tracking.kalman.States` give, and
calls them where faces are many.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from face_tracking.arrays import FloatArray
from face_tracking.tracking import kalman
from face_tracking.tracking.kalman import Component, Face, States

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
_DETECTION_NOISE = [float(kalman.DETECTION_NOISE[part, 0]) for part in (0, 2)]


@lru_cache(maxsize=16)
def _steps(seconds: float) -> tuple[_Step, _Step]:
    """Return the steps of the position and of the size."""
    seconds = kalman.bounded(seconds)
    position, size = (
        _Step(
            decay := math.exp(-seconds / lasting),
            lasting * (1 - decay),
            noise**2 * min(seconds, kalman.MAX_NOISE),
        )
        for lasting, noise in _CONSTANTS
    )
    return position, size


def predicted(states: States, seconds: float) -> States:
    """Return ``states.predicted(seconds)``."""
    if len(states) > MOST:
        return states.predicted(seconds)
    position, size = _steps(seconds)
    return States.of_faces([_predicted(face, position, size) for face in states.faces])


def followed(
    states: States,
    motion: FloatArray,
    seconds: float,
    deviation: FloatArray,
    share: float = 1.0,
) -> States:
    """Return ``states.moved(share * motion, seconds, share * deviation).predicted(seconds)``.

    These are the states at the later of two images between which a motion was measured.
    """
    if len(states) > MOST:
        return states.moved(share * motion, seconds, share * deviation).predicted(seconds)
    position, size = _steps(seconds)
    measured = zip(states.faces, motion.tolist(), deviation.tolist(), strict=True)
    return States.of_faces(
        [
            _predicted(_moved(face, shift, doubt, share, position, size), position, size)
            for face, shift, doubt in measured
        ]
    )


def detected(states: States, boxes: FloatArray, noise: FloatArray) -> States:
    """Return ``states.detected(boxes, noise)``."""
    if len(states) > MOST:
        return states.detected(boxes, noise)
    return States.of_faces(
        [
            _detected(face, *measured)
            for face, *measured in zip(states.faces, boxes.tolist(), noise.tolist(), strict=True)
        ]
    )


def _predicted(face: Face, position: _Step, size: _Step) -> Face:
    """Return the state of a face some time later."""
    x, y, width, height = face
    area = math.exp(width[0] + height[0])
    return (
        _later(x, position, area),
        _later(y, position, area),
        _limited(_later(width, size, 1.0)),
        _limited(_later(height, size, 1.0)),
    )


def _later(component: Component, step: _Step, unit: float) -> Component:
    """Return a component some time later.

    :param unit: the squared unit of the component.
    """
    value, rate, variance, joint, rate_variance = component
    decay, reach, noise = step
    noise *= unit
    return (
        value + reach * rate,
        decay * rate,
        variance + reach * (2 * joint + reach * (rate_variance + noise / 3)),
        decay * (joint + reach * rate_variance) + reach * noise / 2,
        decay * decay * rate_variance + noise,
    )


def _limited(log_size: Component) -> Component:
    if kalman.LOG_SIZE_MIN <= log_size[0] <= kalman.LOG_SIZE_MAX:
        return log_size
    return (min(max(log_size[0], kalman.LOG_SIZE_MIN), kalman.LOG_SIZE_MAX), *log_size[1:])


def _moved(
    face: Face,
    motion: list[float],
    deviation: list[float],
    share: float,
    position: _Step,
    size: _Step,
) -> Face:
    """Return the state of a face whose motion was measured, before the motion."""
    x, y, width, height = face
    # Rates per unit of the motion.
    center, side = share / position.reach, share / size.reach
    return (
        _with_rate(x, motion[0] * center, deviation[0] * center),
        _with_rate(y, motion[1] * center, deviation[1] * center),
        _with_rate(width, motion[2] * side, deviation[2] * side),
        _with_rate(height, motion[3] * side, deviation[3] * side),
    )


def _with_rate(component: Component, measured: float, deviation: float) -> Component:
    """Return a component whose rate was measured, with a standard deviation."""
    if deviation == math.inf:
        return component
    _, rate, _, joint, rate_variance = component
    total = rate_variance + deviation * deviation
    return _corrected(component, measured - rate, joint, rate_variance, total)


def _detected(face: Face, box: list[float], noise: float) -> Face:
    """Return the state of a face that was detected at ``box``."""
    x, y, width, height = face
    x1, y1, x2, y2 = box
    area = math.exp(width[0] + height[0])
    center, size = (deviation * noise for deviation in _DETECTION_NOISE)
    return (
        _with_value(x, (x1 + x2) / 2, center * center * area),
        _with_value(y, (y1 + y2) / 2, center * center * area),
        _with_value(width, math.log(x2 - x1), size * size),
        _with_value(height, math.log(y2 - y1), size * size),
    )


def _with_value(component: Component, measured: float, noise: float) -> Component:
    """Return a component whose value was measured, with ``noise`` as the variance of that."""
    value, _, variance, joint, _ = component
    return _corrected(component, measured - value, variance, joint, variance + noise)


def _corrected(
    component: Component, surprise: float, with_value: float, with_rate: float, total: float
) -> Component:
    """Return a component after a measurement.

    :param surprise: what was measured less what was expected.
    :param with_value: covariance of the measured quantity with the value, like ``with_rate``.
    :param total: variance of the surprise.
    """
    value, rate, variance, joint, rate_variance = component
    gain, rate_gain = with_value / total, with_rate / total
    return (
        value + gain * surprise,
        rate + rate_gain * surprise,
        variance - gain * with_value,
        joint - rate_gain * with_value,
        rate_variance - rate_gain * with_rate,
    )
