# SPDX-License-Identifier: Apache-2.0
"""How often detections arrive, and how late."""

from __future__ import annotations

from face_tracking.time_units import SECOND

_SMOOTHING = 0.3  # weight of the newest value in the running means
_FIRST_INTERVAL = 1.0 * SECOND  # assumed before the detections of two images were received
_INTERVALS = 2  # that may pass without a detection of a face
_MAX_PATIENCE = 5 * SECOND


class DetectionTiming:
    """The interval and the latency of detections.

    A camera of two images per second, or a detector that takes a second, must not end tracks.
    """

    def __init__(self) -> None:
        self._stamp: int | None = None
        self._interval: float | None = None
        self._latency = 0.0

    def add(self, stamp: int, now: int) -> None:
        """Record that detections of image ``stamp`` were received when ``now`` was the newest."""
        self._latency += _SMOOTHING * (max(now - stamp, 0) - self._latency)
        if self._stamp is not None and stamp > self._stamp:
            gap = stamp - self._stamp
            before = gap if self._interval is None else self._interval
            self._interval = before + _SMOOTHING * (gap - before)
        self._stamp = stamp

    def restart(self) -> None:
        """Drop the last stamp, as when the clock was set."""
        self._stamp = None

    @property
    def patience(self) -> int:
        """Nanoseconds without a detection that are usual."""
        interval = _FIRST_INTERVAL if self._interval is None else self._interval
        return int(min(_INTERVALS * interval + self._latency, _MAX_PATIENCE))
