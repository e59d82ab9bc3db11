# SPDX-License-Identifier: Apache-2.0
"""The interface of the head's outputs, and the guard that passes no command after a stop."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from face_tracking.errors import UserError
from face_tracking.options import Options
from face_tracking.pan_tilt.command import Command, CommandLimiter


@dataclass(frozen=True)
class DriverContext:
    """What a driver may use besides its own options.

    :ivar period: seconds between two commands.
    :ivar joints: the names of the pan and the tilt joint.
    :ivar node: the ROS node, for outputs that are topics; None outside ROS.
    """

    period: float = 0.02
    joints: tuple[str, str] = ('pan_joint', 'tilt_joint')
    node: Any = None


class Driver(ABC):
    """Executes the commands for two joints.

    :cvar options: the driver's own options, which the node declares as parameters.
    :cvar moves: whether the driver moves joints, so that their state is worth publishing.
    """

    options: ClassVar[type[Options]] = Options
    moves: ClassVar[bool] = True

    @classmethod
    def open(cls, options: Any, context: DriverContext) -> Driver:
        """Open the hardware and return the driver.

        :param options: an instance of :attr:`options`.
        :raises UserError: the hardware cannot be reached.
        """
        del options, context
        return cls()

    @abstractmethod
    def write(self, command: Command) -> None:
        """Execute a command.

        :raises UserError: the command was not executed.
        """

    def release(self) -> None:  # noqa: B027 (the default is complete)
        """Release the joints without torque if the hardware supports it; otherwise they hold."""

    def angles(self, stamp: int) -> tuple[float, float] | None:
        """Return the true joint angles at a time (nanoseconds), None if they are not known."""
        return None

    def close(self) -> None:  # noqa: B027 (the default is complete)
        """Release the hardware."""


class GuardedDriver:
    """Passes commands on within hard limits while it runs, and none after a stop.

    A write that fails is a stop, too. One lock spans each write and each stop, so that a write in
    another thread is either done before the stop or not at all.

    :param driver: the driver; it belongs to this object from now on.
    :param limiter: what every command passes first.
    :param limp: whether the joints go limp on a stop; otherwise they hold their position.
    :param clock: returns monotonic seconds.
    :ivar running: whether commands are passed on.
    :ivar problem: why a write failed; None without a failure.
    """

    def __init__(
        self,
        driver: Driver,
        limiter: CommandLimiter | None = None,
        limp: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._driver = driver
        self._limiter = limiter
        self._clock = clock
        self._lock = threading.Lock()
        self.limp = limp
        self.running = True
        self.problem: UserError | None = None

    def write(self, command: Command) -> bool:
        """Pass a command on; return whether it was executed."""
        with self._lock:
            if not self.running:
                return False
            if self._limiter is not None:
                command = self._limiter.apply(command, self._clock())
            try:
                self._driver.write(command)
            except Exception as error:  # a binding of the hardware may raise anything
                self.problem = (
                    error
                    if isinstance(error, UserError)
                    else UserError(
                        f'the joints cannot be commanded ({type(error).__name__}: {error})',
                        'check the wiring and the power supply of the servos',
                    )
                )
                self._stop()
                return False
            return True

    def stop(self) -> None:
        """Stop: hold or go limp, and pass no command on until :meth:`start`."""
        with self._lock:
            if self.running:
                self._stop()

    def start(self) -> None:
        """Pass commands on again."""
        with self._lock:
            self.running, self.problem = True, None

    def angles(self, stamp: int) -> tuple[float, float] | None:
        """Return the true joint angles at a time, None if the driver does not know them."""
        return self._driver.angles(stamp)

    def close(self) -> None:
        """Stop and release the hardware."""
        self.stop()
        self._driver.close()

    def _stop(self) -> None:
        self.running = False
        if not self.limp:
            return
        try:
            self._driver.release()
        except Exception as error:
            # The hardware on which a write just failed may well refuse this, too.
            self.problem = self.problem or UserError(
                f'the joints cannot be released ({error})',
                'disconnect the power supply of the servos if they must not hold',
            )
