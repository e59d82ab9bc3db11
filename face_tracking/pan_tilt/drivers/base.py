# SPDX-License-Identifier: Apache-2.0
"""The interface of the head's outputs, and the guard that passes no command after a stop."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from face_tracking.errors import UserError
from face_tracking.options import Options
from face_tracking.pan_tilt.controller import Command


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
        """Send the joints where a command says.

        :raises UserError: the command did not get through.
        """

    def release(self) -> None:  # noqa: B027 (a fine default)
        """Let the joints go limp, where the hardware can; otherwise they hold."""

    def angles(self, stamp: int) -> tuple[float, float] | None:
        """Return where the joints truly were at a stamp, None where that is not known."""
        return None

    def close(self) -> None:  # noqa: B027 (a fine default)
        """Give the hardware back."""


class GuardedDriver:
    """Passes commands on while running, and none after a stop.

    A write that fails is a stop too. One lock spans each write and each stop, so that a write in
    another thread is either done before the stop or not at all.

    :param driver: what is guarded; it belongs to this object from now on.
    :param limp: whether the joints go limp on a stop, or hold.
    :ivar running: whether commands pass.
    :ivar problem: why a write failed; None while all is well.
    """

    def __init__(self, driver: Driver, limp: bool = False):
        self._driver = driver
        self._lock = threading.Lock()
        self.limp = limp
        self.running = True
        self.problem: UserError | None = None

    def write(self, command: Command) -> bool:
        """Pass a command on; return whether it got through."""
        with self._lock:
            if not self.running:
                return False
            try:
                self._driver.write(command)
            except Exception as error:
                self.problem = (
                    error
                    if isinstance(error, UserError)
                    else UserError(
                        f'the joints cannot be commanded ({type(error).__name__}: {error})'
                    )
                )
                self._stop()
                return False
            return True

    def stop(self) -> None:
        """Stop: hold or go limp, and let nothing through until :meth:`start`."""
        with self._lock:
            if self.running:
                self._stop()

    def start(self) -> None:
        """Let commands through again."""
        with self._lock:
            self.running, self.problem = True, None

    def angles(self, stamp: int) -> tuple[float, float] | None:
        """Return where the joints truly were, if the driver knows."""
        return self._driver.angles(stamp)

    def close(self) -> None:
        """Stop and give the hardware back."""
        self.stop()
        self._driver.close()

    def _stop(self) -> None:
        self.running = False
        if not self.limp:
            return
        try:
            self._driver.release()
        except Exception as error:
            # The hardware that a write has just failed on may well refuse this, too.
            self.problem = self.problem or UserError(f'the joints cannot be let go ({error})')
