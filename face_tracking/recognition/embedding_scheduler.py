# SPDX-License-Identifier: Apache-2.0
"""Which tracks to embed in an image: new ones at once, known ones now and then, on a budget."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from face_tracking.recognition.recognition_options import RateOptions
from face_tracking.time_units import SECOND

_EARLY_VIEWS = 4  # the first views of a track are taken faster
_EARLY_RATE = 4.0  # a second
_BURST = 3.0  # embeddings that may be saved up
_MAX_GAP = SECOND  # nothing is saved up while no images are received


@dataclass
class _Visit:
    """When a track was tried last, and how many good views there are."""

    stamp: int
    views: int = 0


class EmbeddingScheduler:
    """Chooses tracks to embed; CPU seconds flow into a bucket, each embedding takes some out.

    :param options: the rate for each track, and the budget.
    """

    def __init__(self, options: RateOptions):
        self.options = options
        self._visits: dict[int, _Visit] = {}
        self._credit = 0.0
        self._cost = 0.0
        self._before: int | None = None

    def choose(self, tracks: Sequence[int], stamp: int) -> list[int]:
        """Return the tracks to embed in an image, the most urgent first.

        :meth:`record` is expected for each that was embedded. When the budget is used up, none
        are chosen.

        :param tracks: all that are in sight.
        :param stamp: of the image, nanoseconds.
        """
        self._save(stamp)
        for gone in self._visits.keys() - set(tracks):
            del self._visits[gone]
        if self._credit < self._cost:
            return []
        due = [track for track in tracks if self._is_due(track, stamp)]
        due.sort(key=self._urgency)
        room = int(self._credit / self._cost) if self._cost > 0 else 1
        return due[:room]

    def record(self, track: int, stamp: int, good: bool, cpu_seconds: float) -> None:
        """Charge the budget with a track's embedding, or with a view that shows too little."""
        visit = self._visits.setdefault(track, _Visit(stamp))
        visit.stamp = stamp
        visit.views += good
        cost = max(cpu_seconds, 0.0)
        self._credit -= cost
        if good:
            self._cost = cost if self._cost == 0 else 0.8 * self._cost + 0.2 * cost

    def retry(self, tracks: Collection[int]) -> None:
        """Make tracks due at once, as after the gallery changed."""
        for track in tracks:
            self._visits.pop(track, None)

    def _save(self, stamp: int) -> None:
        if self._before is not None:
            passed = min(max(stamp - self._before, 0), _MAX_GAP) / SECOND
            budget = self.options.recognition_cpu_budget
            most = max(_BURST * self._cost, budget * passed)
            self._credit = min(self._credit + budget * passed, most)
        self._before = stamp

    def _is_due(self, track: int, stamp: int) -> bool:
        visit = self._visits.get(track)
        if visit is None:
            return True
        rate = self.options.recognition_rate
        if visit.views < _EARLY_VIEWS:
            rate = max(rate, _EARLY_RATE)
        return abs(stamp - visit.stamp) >= SECOND / rate

    def _urgency(self, track: int) -> tuple[int, int]:
        visit = self._visits.get(track)
        return (0, 0) if visit is None else (1 + min(visit.views, _EARLY_VIEWS), visit.stamp)
