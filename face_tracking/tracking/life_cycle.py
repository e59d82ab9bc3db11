# SPDX-License-Identifier: Apache-2.0
"""The life of a track: begun on trial, confirmed, lost from sight, remembered, forgotten."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from face_tracking.tracking import appearance
from face_tracking.tracking.association import assign
from face_tracking.tracking.options import TrackerOptions

SECOND = 1_000_000_000


_SLOWEST_LEARNING = 0.1   # share of a new view in a look that has been seen often
_DOUBT = 1.5              # times the threshold: a newcomer that looks so much alike may wait
_LONGEST_DOUBT = 6        # detections that it may wait for a better view


def _column(dtype: type, *shape: int):
    return field(default_factory=lambda: np.zeros((0, *shape), dtype))


@dataclass
class Register:
    """What is known about each track besides where it is; a row each, by rising key.

    :ivar keys: int64 (N,), counted up with each track begun, on trial or not.
    :ivar ids: int64 (N,), the published id; 0 while on trial, so that ids count up without gaps.
    :ivar scores: float64 (N,), of the detection last matched.
    :ivar begun: int64 (N,), stamp of the first detection.
    :ivar seen: int64 (N,), stamp of the last detection.
    :ivar hits: int64 (N,), detections matched so far.
    :ivar misses: int64 (N,), rounds of detection missed since the last match.
    :ivar looks: float32 (N, SIZE), see :mod:`~face_tracking.tracking.appearance`.
    :ivar views: int64 (N,), in how many pictures the look could be told.
    """

    keys: np.ndarray = _column(np.int64)
    ids: np.ndarray = _column(np.int64)
    scores: np.ndarray = _column(np.float64)
    begun: np.ndarray = _column(np.int64)
    seen: np.ndarray = _column(np.int64)
    hits: np.ndarray = _column(np.int64)
    misses: np.ndarray = _column(np.int64)
    looks: np.ndarray = _column(np.float32, appearance.SIZE)
    views: np.ndarray = _column(np.int64)
    _last_key: int = 0
    _last_id: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def begin(self, stamp: int, scores: np.ndarray) -> np.ndarray:
        """Begin a track on trial for each of ``scores`` (K,); return their keys (K,)."""
        count = len(scores)
        new = {'keys': self._last_key + 1 + np.arange(count), 'scores': scores,
               'begun': np.full(count, stamp), 'seen': np.full(count, stamp)}
        for name, column in self._columns():
            rows = new.get(name, np.zeros((count, *column.shape[1:])))
            setattr(self, name, np.concatenate([column, rows.astype(column.dtype)]))
        self._last_key += count
        return new['keys']

    def hit(self, rows: np.ndarray, stamp: int, scores: np.ndarray) -> None:
        """Note that the tracks in ``rows`` were detected."""
        self.hits[rows] += 1
        self.misses[rows] = 0
        self.seen[rows] = np.maximum(self.seen[rows], stamp)
        self.scores[rows] = scores

    def miss(self, rows: np.ndarray) -> None:
        """Note that a round of detection did not find the tracks in ``rows``."""
        self.misses[rows] += 1

    def view(self, rows: np.ndarray, looks: np.ndarray) -> None:
        """Learn how the tracks in ``rows`` look, from a clear view of each."""
        share = np.maximum(1 / (1 + self.views[rows]), _SLOWEST_LEARNING)[:, None]
        self.looks[rows] += share.astype(np.float32) * (looks - self.looks[rows])
        self.views[rows] += 1

    def confirm(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Give ids to the tracks that have earned one, and their old id to those who return.

        :returns: keys of the remembered tracks whose ids were passed on, and which are over.
        """
        newcomers = np.flatnonzero((self.ids == 0) & (self.hits >= options.min_hits))
        if not len(newcomers):
            return self.keys[:0]
        remembered = np.flatnonzero(self.remembered(stamp, options) & (self.views > 0))
        over = self.keys[:0]
        if options.appearance and len(remembered):
            unlike = appearance.difference(self.looks[newcomers], self.looks[remembered])
            unlike[self.views[newcomers] == 0] = np.inf
            new, old = assign(np.minimum(unlike, 9.0), unlike < options.look_threshold)
            self._return(newcomers[new], remembered[old])
            over = self.keys[remembered[old]]
            doubtful = (unlike < _DOUBT * options.look_threshold).any(axis=1)
            doubtful |= self.views[newcomers] == 0
            waits = doubtful & (self.hits[newcomers] < options.min_hits + _LONGEST_DOUBT)
            newcomers = newcomers[~waits & (self.ids[newcomers] == 0)]
        self.ids[newcomers] = self._last_id + 1 + np.arange(len(newcomers))
        self._last_id += len(newcomers)
        return over

    def _return(self, new: np.ndarray, old: np.ndarray) -> None:
        """Let the tracks in rows ``new`` be those in rows ``old`` from now on."""
        self.ids[new], self.begun[new] = self.ids[old], self.begun[old]
        self.looks[new], self.views[new] = self.looks[old], self.views[old]

    def remembered(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Return which tracks have an id but are lost from sight, bool (N,)."""
        lost = (self.misses > options.max_misses) | (self.unseen(stamp) > options.max_unseen)
        return (self.ids > 0) & lost

    def unseen(self, stamp: int) -> np.ndarray:
        """Return the seconds since each track was last detected, float64 (N,)."""
        return np.maximum(stamp - self.seen, 0) / SECOND

    def alive(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Return which tracks stay, bool (N,): one on trial may not miss a single round."""
        on_trial = self.ids == 0
        unseen = self.unseen(stamp)
        return np.where(on_trial, (self.misses == 0) & (unseen <= options.max_unseen),
                        (unseen <= max(options.memory, options.max_unseen))
                        & (options.appearance | ~self.remembered(stamp, options)))

    def keep(self, mask: np.ndarray) -> None:
        """Drop the tracks outside ``mask``; their ids are not given again."""
        for name, column in self._columns():
            setattr(self, name, column[mask])

    def shift(self, nanoseconds: int) -> None:
        """Move all stamps, as when the clock was set."""
        self.begun += nanoseconds
        self.seen += nanoseconds

    def _columns(self) -> list[tuple[str, np.ndarray]]:
        return [(item.name, getattr(self, item.name)) for item in dataclasses.fields(self)
                if not item.name.startswith('_')]
