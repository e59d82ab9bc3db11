# SPDX-License-Identifier: Apache-2.0
"""Which tracks were detected so recently that their boxes show faces.

Between two detections a tracker propagates the boxes. How long that is normal depends on the
detector: on its interval and its latency, which this module takes from the tracks themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

_MIN_LIMIT = 0.2
_MAX_LIMIT = 5.0
"""Seconds; bounds of the time without a detection after which a box is not used."""
_MARGIN = 1.5
_SHARE = 0.5
"""Weight of the newest interval in the mean."""


class Freshness:
    """Distinguishes recently detected tracks from propagated ones, at any detection rate."""

    def __init__(self) -> None:
        self._gap = 0.0
        self._ages: dict[int, float] = {}

    @property
    def limit(self) -> float:
        """Seconds without a detection up to which the box of a track is used."""
        return min(max(_MARGIN * self._gap, _MIN_LIMIT), _MAX_LIMIT)

    def select(self, ids: Sequence[int], ages: Sequence[float]) -> list[int]:
        """Return those of the ``ids`` that were detected recently.

        :param ages: seconds since the last detection of each, as in `Tracks.time_since_update`.
            Tracks that came as a message have 0 there and are all selected.
        """
        before = self._ages
        self._ages = dict(zip(ids, ages, strict=True))
        # A time that has become shorter says that a detection has arrived, and after how long.
        gaps = [before[key] for key, age in self._ages.items() if age < before.get(key, 0.0)]
        if gaps:
            self._gap += _SHARE * (min(gaps) - self._gap)
        elif not before:
            # Of the first detection, the time that has passed is the latency.
            self._gap = max(self._gap, min(ages, default=0.0))
        return [key for key, age in self._ages.items() if age <= self.limit]
