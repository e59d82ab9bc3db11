# SPDX-License-Identifier: Apache-2.0
"""Which work to leave out while the board is too hot or short of memory.

Work is left out in a stated order and taken up again in the reverse order: the annotated image
first, then every second detection, then every second image.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum

from face_tracking.system_health import BoardState

MIN_MEMORY = 0.06
"""Share of the memory that is available, below which work is left out."""
_COOLER = 5.0  # degrees below the limit at which work is taken up again
_MORE_MEMORY = 0.10
_STEP_UP = 10.0  # seconds between two steps; leaving work out needs time to have an effect
_STEP_DOWN = 30.0


class LoadLevel(IntEnum):
    """How much is left out; each level includes those before."""

    FULL = 0
    NO_ANNOTATION = 1
    HALF_DETECTIONS = 2
    HALF_IMAGES = 3


DESCRIPTIONS = {
    LoadLevel.NO_ANNOTATION: 'no annotated image',
    LoadLevel.HALF_DETECTIONS: 'no annotated image, half the detections',
    LoadLevel.HALF_IMAGES: 'no annotated image, half the detections, half the images',
}


class LoadShedder:
    """Follows the state of the board with a level, slowly enough not to oscillate.

    :param max_temperature: degrees Celsius from which work is left out.
    :param clock: seconds, monotonic.
    :ivar level: the present level.
    :ivar reason: why work is left out; empty at full load.
    """

    def __init__(self, max_temperature: float, clock: Callable[[], float] = time.monotonic):
        self.max_temperature = max_temperature
        self.level = LoadLevel.FULL
        self.reason = ''
        self._clock = clock
        self._last_change = float('-inf')
        self._last_pressure = float('-inf')

    def update(self, state: BoardState) -> bool:
        """Add a reading of the board; return whether the level has changed."""
        now, before = self._clock(), self.level
        reason = self._pressure(state)
        if reason:
            self.reason, self._last_pressure = reason, now
            if now - self._last_change >= _STEP_UP:
                self.level = LoadLevel(min(self.level + 1, LoadLevel.HALF_IMAGES))
        elif not self._relieved(state):
            self._last_pressure = now
        elif now - max(self._last_change, self._last_pressure) >= _STEP_DOWN:
            self.level = LoadLevel(max(self.level - 1, LoadLevel.FULL))
        if self.level != before:
            self._last_change = now
        if self.level == LoadLevel.FULL:
            self.reason = ''
        return self.level != before

    def _pressure(self, state: BoardState) -> str:
        if state.temperature is not None and state.temperature >= self.max_temperature:
            return f'the processor has {state.temperature:.0f} C'
        if state.memory_available is not None and state.memory_available < MIN_MEMORY:
            return f'{state.memory_available:.0%} of the memory is available'
        return ''

    def _relieved(self, state: BoardState) -> bool:
        cool = state.temperature is None or state.temperature <= self.max_temperature - _COOLER
        return cool and (state.memory_available is None or state.memory_available >= _MORE_MEMORY)
