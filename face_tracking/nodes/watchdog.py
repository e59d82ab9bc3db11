# SPDX-License-Identifier: Apache-2.0
"""Threads that do not return: noticed, reported, and in the end answered by a restart."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class Pulse:
    """The progress of one thread, as a watchdog sees it.

    :param name: what the thread does, for the report.
    :ivar stalled: seconds for which the thread has been at the same piece of work, counted by
        the watchdog beyond the time allowed.
    """

    def __init__(self, name: str):
        self.name = name
        self.stalled = 0.0
        # The number of the piece of work and its allowance: one value, of which the watchdog, in
        # another thread, never sees half a change.
        self._work = (0, 0.0)
        self._busy = False
        self._seen = -1
        self._elapsed = 0.0

    def begin(self, allowance: float = 0.0) -> None:
        """Record that a piece of work begins; called by the thread.

        :param allowance: seconds that it may take beyond the usual time.
        """
        self._next(allowance)
        self._busy = True

    def end(self) -> None:
        """Record that the thread waits for the next piece of work."""
        self._busy = False

    @contextlib.contextmanager
    def allow(self, seconds: float) -> Iterator[None]:
        """Allow the work inside so many seconds more, as compiling a model needs."""
        before = self._work[1]
        self._next(seconds)
        try:
            yield
        finally:
            self._next(before)

    def check(self, period: float) -> None:
        """Update ``stalled``; called by the watchdog.

        Time is counted in checks, so that a process that was suspended does not look stuck.

        :param period: seconds since the last check.
        """
        beats, allowance = self._work
        if not self._busy or beats != self._seen:
            self._elapsed = 0.0
        else:
            self._elapsed += period
        self._seen = beats
        self.stalled = max(self._elapsed - allowance, 0.0)

    def _next(self, allowance: float) -> None:
        self._work = (self._work[0] + 1, allowance)


@dataclass(frozen=True)
class Stall:
    """A thread that is stuck.

    :ivar name: what it does.
    :ivar seconds: for how long it has not returned.
    """

    name: str
    seconds: float


class Watchdog:
    """Checks threads once per second in a thread of its own.

    :param pulses: returns the threads to watch, with the seconds after which each is stuck.
    :param on_healthy: called at each check if no thread is stuck.
    :param on_dead: called once with the thread that has been stuck for twice its time.
    """

    PERIOD = 1.0

    def __init__(
        self,
        pulses: Callable[[], list[tuple[Pulse, float]]],
        on_healthy: Callable[[], object],
        on_dead: Callable[[Stall], None],
    ):
        self._pulses = pulses
        self._on_healthy = on_healthy
        self._on_dead = on_dead
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='watchdog', daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()

    def check(self, period: float) -> None:
        """Check all threads once.

        :param period: seconds since the last check.
        """
        healthy = True
        for pulse, limit in self._pulses():
            pulse.check(period)
            healthy = healthy and pulse.stalled <= limit
            if pulse.stalled > 2 * limit:
                self._on_dead(Stall(pulse.name, pulse.stalled))
        if healthy:
            self._on_healthy()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stopping.wait(self.PERIOD):
            now = time.monotonic()
            # A process that was suspended finds one long period, which counts as a short one.
            self.check(min(now - last, 2 * self.PERIOD))
            last = now
