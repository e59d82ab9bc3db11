# SPDX-License-Identifier: Apache-2.0
"""Simulated servos as an output of the head."""

from __future__ import annotations

import threading

from face_tracking.pan_tilt.command import Command
from face_tracking.pan_tilt.drivers.base import Driver
from face_tracking.pan_tilt.drivers.registry import register_driver
from face_tracking.simulation.servo_model import ServoRig


@register_driver('simulated')
class SimulatedDriver(Driver):
    """Moves simulated servos.

    It drives a :class:`~face_tracking.simulation.servo_model.ServoRig`; a virtual camera may be
    mounted on it.
    """

    def __init__(self, rig: ServoRig | None = None):
        self._rig = rig or ServoRig()
        # The virtual camera reads the angles from its own thread.
        self._lock = threading.Lock()

    def write(self, command: Command) -> None:
        """Command both servos."""
        with self._lock:
            self._rig.command(*command.positions, command.stamp)

    def release(self) -> None:
        """Stop the pulses of both servos."""
        with self._lock:
            self._rig.release()

    def angles(self, stamp: int) -> tuple[float, float]:
        """Return pan and tilt at a time in nanoseconds."""
        with self._lock:
            return self._rig.angles_at(stamp)
