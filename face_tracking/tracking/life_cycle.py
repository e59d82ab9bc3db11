# SPDX-License-Identifier: Apache-2.0
"""The life of a track: begun on trial, confirmed, missed, dropped."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from face_tracking.tracking.options import TrackerOptions

SECOND = 1_000_000_000


def _column(dtype: type):
    return field(default_factory=lambda: np.zeros(0, dtype))


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
    """

    keys: np.ndarray = _column(np.int64)
    ids: np.ndarray = _column(np.int64)
    scores: np.ndarray = _column(np.float64)
    begun: np.ndarray = _column(np.int64)
    seen: np.ndarray = _column(np.int64)
    hits: np.ndarray = _column(np.int64)
    misses: np.ndarray = _column(np.int64)
    _last_key: int = 0
    _last_id: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def begin(self, stamp: int, scores: np.ndarray) -> np.ndarray:
        """Begin a track on trial for each of ``scores`` (K,); return their keys (K,)."""
        count = len(scores)
        new = {
            'keys': self._last_key + 1 + np.arange(count), 'ids': np.zeros(count, np.int64),
            'scores': scores, 'begun': np.full(count, stamp), 'seen': np.full(count, stamp),
            'hits': np.zeros(count, np.int64), 'misses': np.zeros(count, np.int64)}
        for name, rows in new.items():
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, rows.astype(column.dtype)]))
        self._last_key += count
        return new['keys']

    def hit(self, rows: np.ndarray, stamp: int, scores: np.ndarray, min_hits: int) -> None:
        """Note that the tracks in ``rows`` were detected; confirm those that now deserve it."""
        self.hits[rows] += 1
        self.misses[rows] = 0
        self.seen[rows] = np.maximum(self.seen[rows], stamp)
        self.scores[rows] = scores
        earned = np.flatnonzero((self.ids == 0) & (self.hits >= min_hits))
        self.ids[earned] = self._last_id + 1 + np.arange(len(earned))
        self._last_id += len(earned)

    def miss(self, rows: np.ndarray) -> None:
        """Note that a round of detection did not find the tracks in ``rows``."""
        self.misses[rows] += 1

    def unseen(self, stamp: int) -> np.ndarray:
        """Return the seconds since each track was last detected, float64 (N,)."""
        return np.maximum(stamp - self.seen, 0) / SECOND

    def alive(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Return which tracks stay, bool (N,): one on trial may not miss a single round."""
        allowed = np.where(self.ids > 0, options.max_misses, 0)
        return (self.misses <= allowed) & (self.unseen(stamp) <= options.max_unseen)

    def keep(self, mask: np.ndarray) -> None:
        """Drop the tracks outside ``mask``; their ids are not given again."""
        for column in dataclasses.fields(self):
            if not column.name.startswith('_'):
                setattr(self, column.name, getattr(self, column.name)[mask])

    def shift(self, nanoseconds: int) -> None:
        """Move all stamps, as when the clock was set."""
        self.begun += nanoseconds
        self.seen += nanoseconds
