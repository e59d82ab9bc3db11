# SPDX-License-Identifier: Apache-2.0
"""How often rounds of detection arrive, and how late."""

from __future__ import annotations

from face_tracking.tracking.history import SECOND

_SMOOTHING = 0.3  # weight of the newest round in the running means
_FIRST_INTERVAL = 1.0 * SECOND  # assumed before two rounds were received
_ROUNDS = 2  # that may pass without a detection
_LONGEST_PATIENCE = 5 * SECOND


class RoundTiming:
    """The interval and the latency of rounds of detection.

    A camera of two images a second, or a detector that needs a second, must not end tracks.
    """

    def __init__(self) -> None:
        self._stamp: int | None = None
        self._interval: float | None = None
        self._latency = 0.0

    def add(self, stamp: int, now: int) -> None:
        """Note that the round of the image ``stamp`` was received when ``now`` was the newest."""
        self._latency += _SMOOTHING * (max(now - stamp, 0) - self._latency)
        if self._stamp is not None and stamp > self._stamp:
            gap = stamp - self._stamp
            before = gap if self._interval is None else self._interval
            self._interval = before + _SMOOTHING * (gap - before)
        self._stamp = stamp

    def restart(self) -> None:
        """Forget the last stamp, as when the clock was set."""
        self._stamp = None

    @property
    def patience(self) -> int:
        """Nanoseconds without a detection that are usual."""
        interval = _FIRST_INTERVAL if self._interval is None else self._interval
        return int(min(_ROUNDS * interval + self._latency, _LONGEST_PATIENCE))
