# SPDX-License-Identifier: Apache-2.0
"""A model of two hobby servos with a camera mounted on them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

SUBSTEP = 2_000_000  # nanoseconds between two states of a servo
DEGREE = math.pi / 180


@dataclass(frozen=True)
class ServoModel:
    """The dynamics of a servo in radians and seconds; by default a hobby servo under load.

    :ivar lower: end of its travel; so ``upper``.
    :ivar dead_time: until a command takes effect: the wait for the next pulse, its length and
        the servo's own electronics.
    :ivar frequency: natural frequency of its position loop, rad/s.
    :ivar damping: of that loop; 1 is critical.
    :ivar speed: largest speed of the motor.
    :ivar acceleration: largest acceleration of the motor.
    :ivar resolution: steps in which it takes commands.
    :ivar backlash: play of the gears, end to end.
    """

    lower: float = -90 * DEGREE
    upper: float = 90 * DEGREE
    dead_time: float = 0.02
    frequency: float = 45.0
    damping: float = 0.9
    speed: float = 6.0
    acceleration: float = 120.0
    resolution: float = 0.1 * DEGREE
    backlash: float = 0.5 * DEGREE


class Servo:
    """One servo, stepped through time.

    :ivar angle: of its horn, behind the play of the gears.
    :ivar limp: whether it receives no pulses.
    """

    def __init__(self, model: ServoModel, angle: float = 0.0):
        self.model = model
        self.limp = False
        self.angle = self._motor = angle
        self._speed = 0.0
        self._wanted = angle
        self._commands: deque[tuple[int, float]] = deque()

    def command(self, angle: float, stamp: int) -> None:
        """Command an angle; it takes effect after the dead time."""
        self.limp = False
        steps = round(angle / self.model.resolution) * self.model.resolution
        due = stamp + round(self.model.dead_time * 1e9)
        self._commands.append((due, min(max(steps, self.model.lower), self.model.upper)))

    def release(self) -> None:
        """Stop the pulses: the servo goes limp and stays where friction holds it."""
        self.limp = True
        self._commands.clear()

    def advance(self, stamp: int, dt: float) -> None:
        """Move on by ``dt`` seconds to ``stamp``."""
        while self._commands and self._commands[0][0] <= stamp:
            self._wanted = self._commands.popleft()[1]
        model = self.model
        force = 0.0 if self.limp else model.frequency**2 * (self._wanted - self._motor)
        force -= 2 * model.damping * model.frequency * self._speed
        force = min(max(force, -model.acceleration), model.acceleration)
        self._speed = min(max(self._speed + dt * force, -model.speed), model.speed)
        self._motor = min(max(self._motor + dt * self._speed, model.lower), model.upper)
        play = model.backlash / 2
        self.angle = min(max(self.angle, self._motor - play), self._motor + play)


class ServoRig:
    """A pan and a tilt servo with the history of their angles.

    Every call passes the time; the angles of the last seconds can be queried.
    """

    def __init__(
        self,
        pan: ServoModel | None = None,
        tilt: ServoModel | None = None,
        start: tuple[float, float] = (0.0, 0.0),
    ):
        self.servos = (Servo(pan or ServoModel(), start[0]), Servo(tilt or ServoModel(), start[1]))
        self._stamps: list[int] = []
        self._angles: list[tuple[float, float]] = []

    def command(self, pan: float, tilt: float, stamp: int) -> None:
        """Command both servos at a time in nanoseconds."""
        self.advance(stamp)
        for servo, angle in zip(self.servos, (pan, tilt), strict=True):
            servo.command(angle, stamp)

    def release(self) -> None:
        """Stop the pulses of both servos."""
        for servo in self.servos:
            servo.release()

    def advance(self, stamp: int) -> None:
        """Bring the servos to a stamp; an earlier time changes nothing."""
        if not self._stamps:
            self._note(stamp)
        # After a long pause only the last seconds matter: the servos have long arrived.
        start = max(self._stamps[-1], stamp - 3_000_000_000)
        while start + SUBSTEP <= stamp:
            start += SUBSTEP
            for servo in self.servos:
                servo.advance(start, SUBSTEP / 1e9)
            self._note(start)

    def angles_at(self, stamp: int) -> tuple[float, float]:
        """Return pan and tilt, radians, at a time in nanoseconds."""
        self.advance(stamp)
        index = max(bisect_right(self._stamps, stamp) - 1, 0)
        return self._angles[index]

    def _note(self, stamp: int) -> None:
        self._stamps.append(stamp)
        self._angles.append((self.servos[0].angle, self.servos[1].angle))
        if len(self._stamps) > 4096:
            del self._stamps[:2048], self._angles[:2048]
