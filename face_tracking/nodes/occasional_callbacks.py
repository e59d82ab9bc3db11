# SPDX-License-Identifier: Apache-2.0
"""Callbacks that may wait a second, so that the executor does not look for them in each round.

rclpy gives every publisher two event handlers, which warn about subscribers with another quality
of service or type. Its executor asks each of them, in Python, before and after every wait. For a
node with ten publishers that takes a quarter of a millisecond per message.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

PERIOD = 1.0
"""Seconds from one round in which the executor looks after the group to the next."""
_OPEN = 0.2  # seconds, so that what became ready while the executor waited is still executed


class OccasionalCallbackGroup(MutuallyExclusiveCallbackGroup):
    """A callback group whose callbacks are executed within seconds, not at once.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._opened = clock()

    def can_execute(self, entity: Any) -> bool:
        """Return whether the executor is to look after an entity of the group now."""
        now = self._clock()
        if now - self._opened >= PERIOD:
            self._opened = now
        return now - self._opened < _OPEN and super().can_execute(entity)
