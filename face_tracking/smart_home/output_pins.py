# SPDX-License-Identifier: Apache-2.0
"""Output pins through gpiozero: a lamp, a relay of a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from face_tracking.errors import UserError
from face_tracking.events.action_records import SetPin


class OutputPins:
    """Switches pins, and back after a time; thread-safe.

    A pin is opened when it is first used and switched off when the pins are closed, so that a lock
    does not stay open when the node ends.

    :param on_error: called in a thread of its own when a timed switch fails.
    """

    def __init__(self, on_error: Callable[[UserError], None]):
        self._on_error = on_error
        self._lock = threading.Lock()
        self._devices: dict[int, Any] = {}
        self._timers: dict[int, threading.Timer] = {}

    def apply(self, action: SetPin) -> None:
        """Switch a pin; a timer that was running for it is replaced.

        :raises UserError: gpiozero is missing, or the pin cannot be used.
        """
        with self._lock:
            timer = self._timers.pop(action.pin, None)
            if timer is not None:
                timer.cancel()
            self._switch(action.pin, action.on, action.active_high)
            if action.seconds > 0:
                timer = threading.Timer(action.seconds, self._switch_back, (action,))
                timer.daemon = True
                self._timers[action.pin] = timer
                timer.start()

    def state(self, pin: int) -> bool | None:
        """Return whether a pin is on, None for one that was not used."""
        device = self._devices.get(pin)
        return None if device is None else bool(device.value)

    def close(self) -> None:
        """Switch all pins off and release them."""
        with self._lock:
            for timer in self._timers.values():
                timer.cancel()
            for pin, device in self._devices.items():
                try:
                    device.off()
                    device.close()
                except Exception as error:  # the other pins must be switched off, too
                    self._on_error(_pin_error(pin, error))
            self._timers.clear()
            self._devices.clear()

    def _switch_back(self, action: SetPin) -> None:
        with self._lock:
            if self._timers.pop(action.pin, None) is None:
                return
            try:
                self._switch(action.pin, not action.on, action.active_high)
            except UserError as error:
                self._on_error(error)

    def _switch(self, pin: int, on: bool, active_high: bool) -> None:
        device = self._devices.get(pin)
        if device is None:
            device = self._devices[pin] = _open(pin, active_high)
        try:
            device.on() if on else device.off()
        except Exception as error:
            raise _pin_error(pin, error) from None


def _open(pin: int, active_high: bool) -> Any:
    try:
        import gpiozero
    except ImportError:
        raise UserError(
            'gpiozero is not installed', 'pip install "face_tracking[gpio]" lgpio'
        ) from None
    try:
        return gpiozero.DigitalOutputDevice(pin, active_high=active_high, initial_value=False)
    except Exception as error:
        raise _pin_error(pin, error) from None


def _pin_error(pin: int, error: Exception) -> UserError:
    """Return what went wrong in words: each pin library has exceptions of its own."""
    return UserError(
        f'GPIO {pin} cannot be used: {type(error).__name__}: {str(error)[:200]}',
        'check the number, that no other program uses the pin, and that this user is in the '
        'group gpio',
    )
