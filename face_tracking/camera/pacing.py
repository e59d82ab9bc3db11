# SPDX-License-Identifier: Apache-2.0
"""When the frames of a recording or a scene are due."""

from __future__ import annotations

import threading
from collections.abc import Callable

from face_tracking.time_units import SECOND

_MAX_STEP = 5 * SECOND  # between two readings of a clock that was not set


class Pacer:
    """Numbers the frames of a source that has no pace of its own, and waits for each.

    In real time the frame to deliver is the one that is due now, and those that were due earlier
    and that were not fetched are left out. Otherwise each follows the last without waiting. Either
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
        self._clock = clock
        self._latency = round(latency * SECOND)
        self._last = self.start
        self._next = 0
        self._stopped = threading.Event()

    def stamp(self, index: int) -> int:
        """Return the stamp of frame ``index`` in nanoseconds."""
        return self.start + round(index * SECOND / self.rate)

    def advance(self) -> int | None:
        """Wait until a frame is due and return its number; None once stopped."""
        index = self._next
        if self._realtime:
            now = self._now()
            index = max(index, int((now - self.start) * self.rate / SECOND))
            while (ahead := self.stamp(index) - now) > 0:
                # Simulated clocks run at another pace than the wall's, hence short waits.
                if self._stopped.wait(min(ahead / SECOND, 0.05)):
                    break
                now = self._now()
        if self._stopped.is_set():
            return None
        self._next = index + 1
        return index

    def _now(self) -> int:
        """Return the clock less the latency; the start follows a clock that was set.

        Otherwise a clock set back by an hour would mean an hour without frames.
        """
        now = self._clock()
        step = now - self._last
        if not 0 <= step <= _MAX_STEP:
            self.start += step
        self._last = now
        return now - self._latency

    def stop(self) -> None:
        """End a wait in another thread, permanently."""
        self._stopped.set()
