# SPDX-License-Identifier: Apache-2.0
"""Scripted motion: values that follow waypoints in time, with a small sway."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from face_tracking.arrays import Array

INTERPOLATIONS = ('smooth', 'linear', 'hold')


@dataclass(frozen=True)
class Sway:
    """A small sway: two sines whose periods have no visible common multiple.

    :ivar amplitude: of the wobble, in the unit of the value that sways; one per column.
    :ivar period: of the slower sine in seconds.
    :ivar phase: radians.
    """

    amplitude: Array
    period: float = 3.0
    phase: float = 0.0

    def at(self, t: float) -> Array:
        """Return the offset at ``t`` seconds, shaped as ``amplitude``."""
        turns = 2 * math.pi * t / self.period
        columns = np.arange(len(self.amplitude))
        slow = np.sin(turns + self.phase + 1.3 * columns)
        quick = np.sin(1.618 * turns + 2.1 * self.phase + 0.7 * columns)
        return self.amplitude * (0.7 * slow + 0.3 * quick)


class Path:
    """Values (K,) as a function of time.

    :param times: seconds of the waypoints, rising, (N,).
    :param values: (N, K); before the first waypoint its values hold, after the last its.
    :param interpolation: ``smooth`` (monotone cubic, no overshoot), ``linear`` or ``hold``
        (steps).
    :param sway: added on top.
    """

    def __init__(
        self,
        times: ArrayLike,
        values: ArrayLike,
        interpolation: str = 'smooth',
        sway: Sway | None = None,
    ):
        self.times = np.asarray(times, float)
        self.values = np.asarray(values, float).reshape(len(self.times), -1)
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f'interpolation "{interpolation}" is none of {INTERPOLATIONS}')
        if len(self.times) == 0 or (np.diff(self.times) <= 0).any():
            raise ValueError('the times of a path must be rising')
        self._interpolation = interpolation
        self._sway = sway
        self._smooth = (
            PchipInterpolator(self.times, self.values)
            if interpolation == 'smooth' and len(self.times) > 1
            else None
        )

    @classmethod
    def still(cls, *values: float) -> Path:
        """Return a path with constant values."""
        return cls([0.0], [values])

    def at(self, t: float) -> Array:
        """Return the values (K,) at ``t`` seconds."""
        values = self._between(min(max(t, self.times[0]), self.times[-1]))
        return values if self._sway is None else values + self._sway.at(t)

    def _between(self, t: float) -> Array:
        if self._smooth is not None:
            return self._smooth(t)
        last = int(np.searchsorted(self.times, t, side='right')) - 1
        if self._interpolation != 'linear' or last + 1 >= len(self.times):
            return self.values[last]
        share = (t - self.times[last]) / (self.times[last + 1] - self.times[last])
        return self.values[last] * (1 - share) + self.values[last + 1] * share
