# SPDX-License-Identifier: Apache-2.0
"""When the frames of a recording or a scene are due."""

from __future__ import annotations

import threading
from collections.abc import Callable

NANOSECONDS = 1_000_000_000


class Pacer:
    """Numbers the frames of a source that has no pace of its own, and waits for each.

    In real time the frame to deliver is the one that is due now, and those that were due earlier
    and that nobody fetched are left out. Otherwise each follows the last without waiting. Either
    way frame ``k`` bears the same stamp, ``start + k / rate``.

    :param rate: frames per second, above 0.
    :param realtime: whether the clock decides.
    :param clock: nanoseconds now; also gives the stamp of frame 0.
    :param latency: seconds after its stamp at which a frame is due.
    """

    def __init__(
        self, rate: float, realtime: bool, clock: Callable[[], int], latency: float = 0.0
    ):
        self.rate = rate
        self.start = clock()
        self._realtime = realtime
        self._clock = lambda: clock() - round(latency * NANOSECONDS)
        self._next = 0
        self._stopped = threading.Event()

    def stamp(self, index: int) -> int:
        """Return the stamp of frame ``index`` in nanoseconds."""
        return self.start + round(index * NANOSECONDS / self.rate)

    def advance(self) -> int | None:
        """Wait until a frame is due and return its number; None once stopped."""
        index = self._next
        if self._realtime:
            index = max(index, int((self._clock() - self.start) * self.rate / NANOSECONDS))
            while (ahead := self.stamp(index) - self._clock()) > 0:
                # Simulated clocks run at another pace than the wall's, hence short waits.
                if self._stopped.wait(min(ahead / NANOSECONDS, 0.05)):
                    break
        if self._stopped.is_set():
            return None
        self._next = index + 1
        return index

    def stop(self) -> None:
        """End a wait in another thread, for good."""
        self._stopped.set()
