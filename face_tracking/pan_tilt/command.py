# SPDX-License-Identifier: Apache-2.0
"""The command for two joints, and the hard limiter that every command passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from face_tracking.pan_tilt.trajectory import AxisLimits


class State(str, Enum):
    """What the head is doing."""

    IDLE = 'idle'
    TRACKING = 'tracking'
    LOST = 'lost'
    SEARCHING = 'searching'
    HOMING = 'homing'


@dataclass(frozen=True)
class Command:
    """What the joints are to do now.

    :ivar stamp: nanoseconds.
    :ivar positions: pan and tilt, radians.
    :ivar velocities: pan and tilt, rad/s.
    :ivar state: what the head is doing.
    :ivar target: the track id that the head follows or waits for, None without one.
    """

    stamp: int
    positions: tuple[float, float]
    velocities: tuple[float, float]
    state: State
    target: int | None


class CommandLimiter:
    """Keeps every command within the limits of the joints, whatever the controller asks for.

    It is independent of the controller: it knows only the last command that it passed. Each
    position lies within the range of its joint and within one step at the velocity limit of the
    last one; after a pause the step is not longer. What is not finite repeats the last command.

    :param limits: of pan and of tilt.
    :param longest_step: seconds; the longest time between two commands that counts.
    :ivar limited: how many commands had to be changed.
    """

    def __init__(self, limits: Sequence[AxisLimits], longest_step: float = 0.04):
        self._limits = tuple(limits)
        self._longest_step = longest_step
        self._last: tuple[float, float] | None = None
        self._time = 0.0
        self.limited = 0

    def set_limits(self, limits: Sequence[AxisLimits]) -> None:
        """Use other limits from the next command on."""
        self._limits = tuple(limits)

    def restart(self) -> None:
        """Drop the last command: the joints may be anywhere in their range."""
        self._last = None

    def apply(self, command: Command, time: float) -> Command:
        """Return the command within the limits.

        :param time: monotonic time of the command, seconds.
        """
        elapsed = min(max(time - self._time, 0.0), self._longest_step)
        pan, tilt = (self._limit_axis(axis, command.positions[axis], elapsed) for axis in range(2))
        self._last, self._time = (pan, tilt), time
        if (pan, tilt) == command.positions and all(map(math.isfinite, command.velocities)):
            return command
        self.limited += 1
        velocities = tuple(v if math.isfinite(v) else 0.0 for v in command.velocities)
        return replace(command, positions=(pan, tilt), velocities=velocities)

    def _limit_axis(self, axis: int, position: float, elapsed: float) -> float:
        limits = self._limits[axis]
        last = None if self._last is None else self._last[axis]
        if not math.isfinite(position):
            return limits.clamp(0.0) if last is None else last
        if last is None:
            return limits.clamp(position)
        # A range that was narrowed below the last command is approached, not jumped into.
        low, high = min(limits.lower, last), max(limits.upper, last)
        step = limits.velocity * elapsed
        return min(max(position, low, last - step), high, last + step)
