# SPDX-License-Identifier: Apache-2.0
"""One joint's commanded motion, within limits of position, velocity, acceleration and jerk.

At every step the joint heads for a velocity on the time-optimal profile of three phases of
constant jerk, and takes as much of it as the step lasts. Two things hold by induction, from rest
on: if the joint began to brake now it would never pass a limit of velocity (its acceleration runs
out before), nor one of position (a step after which braking could not stop in time is not taken;
the brake is).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from face_tracking.errors import UserError

MAX_STEP = 0.1  # seconds; a longer pause counts as this long
_SLACK = 1e-9  # radians: rounding, not motion


@dataclass(frozen=True)
class AxisLimits:
    """The limits of a joint, in radians and seconds.

    :raises UserError: a limit is not positive, or the range is empty.
    """

    lower: float
    upper: float
    velocity: float
    acceleration: float
    jerk: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, vars(self).values())):
            raise UserError('a limit of a joint is not finite', 'set it to a number')
        if not self.lower < self.upper:
            raise UserError(
                f"a joint's range from {self.lower:g} to {self.upper:g} rad is empty",
                'set the lower limit below the upper one',
            )
        for name in ('velocity', 'acceleration', 'jerk'):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"a joint's {name} limit is {getattr(self, name):g}",
                    'set it to a number above 0',
                )

    def clamp(self, position: float) -> float:
        """Return the nearest position in range."""
        return min(max(position, self.lower), self.upper)


class AxisState(NamedTuple):
    """Position, velocity and acceleration, in rad, rad/s and rad/s^2."""

    position: float
    velocity: float = 0.0
    acceleration: float = 0.0


class Trajectory:
    """The commanded motion of one joint.

    :param limits: the limits of the joint.
    :param position: the present position, at rest.
    :ivar state: the present command.
    """

    def __init__(self, limits: AxisLimits, position: float = 0.0):
        self.limits = limits
        self._wanted = limits
        self.state = AxisState(limits.clamp(position))

    def set_limits(self, limits: AxisLimits) -> None:
        """Use other limits; they apply as soon as the motion, braking, fits into them.

        A joint outside its new range stays in place and may only move inwards.
        """
        self._wanted = limits
        self._adopt_limits()

    def restart(self, position: float) -> None:
        """Restart at rest at a measured position."""
        self.state = AxisState(position)
        self._adopt_limits()

    def reachable(self, position: float) -> float:
        """Return the nearest position in the range."""
        return self._wanted.clamp(position)

    @property
    def at_rest(self) -> bool:
        """Whether the joint is commanded to stand still."""
        return abs(self.state.velocity) < 1e-6 and abs(self.state.acceleration) < 1e-6

    def step(self, velocity: float, dt: float) -> AxisState:
        """Move towards a velocity for ``dt`` seconds and return the new state.

        :param velocity: the desired velocity, rad/s; the limits are applied here.
        """
        dt = min(max(dt, 0.0), MAX_STEP)
        if self._brakes_for_limits or not math.isfinite(velocity):
            velocity = 0.0
        wanted = self._within_range(
            min(max(velocity, -self.limits.velocity), self.limits.velocity)
        )
        state, low, high = _follow(self.state, wanted, dt, self.limits)
        if not self._can_stop(state, low, high):
            state, *_ = _follow(self.state, 0.0, dt, self.limits)
        self.state = state._replace(position=self.limits.clamp(state.position))
        self._adopt_limits()
        return self.state

    def approach(self, distance: float) -> float:
        """Return the signed speed from which the joint can still stop within a distance."""
        return math.copysign(stopping_speed(abs(distance), self.limits), distance)

    def _within_range(self, velocity: float) -> float:
        """Return a velocity slowed down towards the ends of the range."""
        state = self.state
        ahead = self._wanted.upper - state.position
        behind = state.position - self._wanted.lower
        return min(
            max(velocity, -stopping_speed(behind, self.limits)), stopping_speed(ahead, self.limits)
        )

    def _can_stop(self, state: AxisState, low: float, high: float) -> bool:
        _, stop_low, stop_high = _follow(state, 0.0, math.inf, self.limits)
        return (
            min(low, stop_low) >= self.limits.lower - _SLACK
            and max(high, stop_high) <= self.limits.upper + _SLACK
        )

    @property
    def _brakes_for_limits(self) -> bool:
        dynamics = ('velocity', 'acceleration', 'jerk')
        return any(getattr(self.limits, name) != getattr(self._wanted, name) for name in dynamics)

    def _adopt_limits(self) -> None:
        """Apply the requested limits if the joint, braking by them, keeps within them.

        A joint at rest outside its range stays there and may only move inwards.
        """
        new, state = self._wanted, self.state
        if new == self.limits and new.lower <= state.position <= new.upper:
            return
        peak = abs(state.velocity + state.acceleration * abs(state.acceleration) / (2 * new.jerk))
        if (
            max(peak, abs(state.velocity)) > new.velocity
            or abs(state.acceleration) > new.acceleration
        ):
            return
        _, low, high = _follow(state, 0.0, math.inf, new)
        if self.at_rest or (new.lower <= low and high <= new.upper):
            self.limits = replace(new, lower=min(new.lower, low), upper=max(new.upper, high))


def stopping_speed(distance: float, limits: AxisLimits) -> float:
    """Return the greatest speed from which, without acceleration, a joint stops in a distance.

    Braking raises the deceleration at the jerk limit and lowers it again, so from a speed v it
    takes v sqrt(v / j), or v (v / a + a / j) / 2 where the acceleration limit is reached.
    """
    if distance <= 0:
        return 0.0
    a, j = limits.acceleration, limits.jerk
    speed = (distance * distance * j) ** (1 / 3)
    if speed > a * a / j:
        speed = a / 2 * (math.sqrt((a / j) ** 2 + 8 * distance / a) - a / j)
    return min(speed, limits.velocity)


def _phases(state: AxisState, velocity: float, limits: AxisLimits) -> list[tuple[float, float]]:
    """Return (jerk, seconds) of the quickest way to a velocity, without acceleration there."""
    a, jerk = state.acceleration, limits.jerk
    ease = state.velocity + a * abs(a) / (2 * jerk)  # reached when the acceleration is let go
    change = velocity - state.velocity
    sign = 1.0 if velocity >= ease else -1.0
    a, change = sign * a, sign * change
    peak = math.sqrt(max(jerk * change + a * a / 2, 0.0))
    hold = 0.0
    if peak > limits.acceleration:
        hold = (change - (2 * limits.acceleration**2 - a * a) / (2 * jerk)) / limits.acceleration
        peak = limits.acceleration
    return [
        (sign * jerk, max((peak - a) / jerk, 0.0)),
        (0.0, max(hold, 0.0)),
        (-sign * jerk, peak / jerk),
    ]


def _follow(
    state: AxisState, velocity: float, dt: float, limits: AxisLimits
) -> tuple[AxisState, float, float]:
    """Go towards a velocity for ``dt`` seconds; return the state and the extremes passed.

    With infinite ``dt``, until the velocity is reached.
    """
    low = high = state.position
    for jerk, duration in _phases(state, velocity, limits):
        part = min(duration, dt)
        for turn in _turning_points(state, jerk, part):
            position = _after(state, jerk, turn).position
            low, high = min(low, position), max(high, position)
        state = _after(state, jerk, part)
        low, high = min(low, state.position), max(high, state.position)
        dt -= part
        if dt <= 0:
            return state, low, high
    # The profile is done: what is left of the time passes at the velocity wanted.
    state = AxisState(state.position, velocity, 0.0)
    if math.isfinite(dt):
        state = state._replace(position=state.position + velocity * dt)
    return state, min(low, state.position), max(high, state.position)


def _after(state: AxisState, jerk: float, t: float) -> AxisState:
    p, v, a = state
    return AxisState(
        p + t * (v + t * (a / 2 + t * jerk / 6)), v + t * (a + t * jerk / 2), a + t * jerk
    )


def _turning_points(state: AxisState, jerk: float, duration: float) -> list[float]:
    """Return the times within a phase at which the velocity is zero."""
    _, v, a = state
    if jerk == 0.0:
        times = [-v / a] if a else []
    else:
        root = a * a - 2 * jerk * v
        times = [] if root < 0 else [(-a + math.sqrt(root)) / jerk, (-a - math.sqrt(root)) / jerk]
    return [t for t in times if 0 < t < duration]
