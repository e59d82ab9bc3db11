# SPDX-License-Identifier: Apache-2.0
"""Trying again what failed: growing pauses, without ever giving up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from face_tracking.errors import UserError


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts: exponential, up to a maximum.

    :ivar first: seconds after the first failure.
    :ivar factor: factor by which each further pause is longer.
    :ivar longest: maximum pause in seconds.
    """

    first: float = 0.5
    factor: float = 2.0
    longest: float = 30.0

    def delay(self, failures: int) -> float:
        """Return the pause in seconds after that many failures in a row (from 1)."""
        # The exponent is bounded, so that a week of failures does not overflow a float.
        return min(self.first * self.factor ** min(failures - 1, 60), self.longest)


class Retry:
    """The state of something that is attempted until it succeeds; it never sleeps.

    ::

        if retry.due:
            retry.begin()
            try:
                open_it()
            except UserError as error:
                retry.failed(error)
            else:
                retry.succeeded()

    :param backoff: the pauses between the attempts.
    :param clock: seconds, monotonic.
    :ivar problem: why the last attempt failed; None before the first and after a success.
    :ivar failures: number of failures in a row.
    """

    def __init__(
        self, backoff: Backoff | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._next: float | None = clock()
        self.problem: UserError | None = None
        self.failures = 0

    @property
    def due(self) -> bool:
        """Whether an attempt is to be made now."""
        return self._next is not None and self._clock() >= self._next

    @property
    def wait(self) -> float | None:
        """Seconds until the next attempt, 0 if it is due; None if none is to be made."""
        return None if self._next is None else max(self._next - self._clock(), 0.0)

    def request(self) -> None:
        """Make an attempt due at once, also after a success or while another one is made."""
        self._next = self._clock()

    def begin(self) -> None:
        """Record that an attempt begins; a request from now on asks for a further one."""
        self._next = None

    def failed(self, problem: UserError) -> bool:
        """Record a failed attempt; return whether its reason is new."""
        is_new = self.problem is None or str(problem) != str(self.problem)
        self.problem = problem
        self.failures += 1
        if self._next is None:
            self._next = self._clock() + self._backoff.delay(self.failures)
        return is_new

    def succeeded(self) -> bool:
        """Record a success; return whether it ends a series of failures."""
        recovered = self.failures > 0
        self.problem, self.failures = None, 0
        return recovered
