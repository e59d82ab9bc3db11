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


_FADING_SECONDS = 5.0     # a look is that of about so many seconds
_VIEW_SECONDS = 0.2       # a look is learnt from about five views a second
_SCORE_STEP = 0.03        # a view whose score is so much better counts e times as much
_OTHER_THING = 0.6        # difference in looks from which it is not this face that is seen
_DOUBT = 2.0              # times the threshold: a newcomer that looks so much alike may wait
_SAME = 0.6               # times the threshold: beyond doubt the same
_POOR = 0.01              # weight of a look that is not yet to be relied on
_SECOND_THOUGHTS = 3.0    # seconds for which a new id may still turn out to be an old one
_LONGEST_DOUBT = 0.4      # seconds that it may wait for a better view


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
    :ivar weights: float64 (N,), what the views behind the look count; 0 before the first.
    :ivar viewed: int64 (N,), stamp of the last of them.
    :ivar leans: float64 (N,), how far the head leant when last detected, radians.
    :ivar hidden: bool (N,), whether something else is seen where the face should be.
    """

    keys: np.ndarray = _column(np.int64)
    ids: np.ndarray = _column(np.int64)
    scores: np.ndarray = _column(np.float64)
    begun: np.ndarray = _column(np.int64)
    seen: np.ndarray = _column(np.int64)
    hits: np.ndarray = _column(np.int64)
    misses: np.ndarray = _column(np.int64)
    looks: np.ndarray = _column(np.float32, appearance.SIZE)
    weights: np.ndarray = _column(np.float64)
    viewed: np.ndarray = _column(np.int64)
    leans: np.ndarray = _column(np.float64)
    hidden: np.ndarray = _column(np.bool_)
    _last_key: int = 0
    _last_id: int = 0
    _watch: tuple[bool, int] | None = None  # whether anybody was missed, oldest stamp in seen

    def __len__(self) -> int:
        return len(self.keys)

    def begin(self, stamp: int, scores: np.ndarray) -> np.ndarray:
        """Begin a track on trial for each of ``scores`` (K,); return their keys (K,)."""
        count = len(scores)
        if not count:
            return self.keys[:0]
        new = {'keys': self._last_key + 1 + np.arange(count), 'scores': scores,
               'begun': np.full(count, stamp), 'seen': np.full(count, stamp)}
        for name, column in self._columns():
            rows = new.get(name, np.zeros((count, *column.shape[1:])))
            setattr(self, name, np.concatenate([column, rows.astype(column.dtype)]))
        self._last_key += count
        self._watch = None
        return new['keys']

    def hit(self, rows: np.ndarray, stamp: int, scores: np.ndarray, leans: np.ndarray) -> None:
        """Note that the tracks in ``rows`` were detected."""
        self.hidden[rows] = False
        self.leans[rows] = leans
        self.hits[rows] += 1
        self.misses[rows] = 0
        self.seen[rows] = np.maximum(self.seen[rows], stamp)
        self.scores[rows] = scores
        self._watch = None

    def miss(self, rows: np.ndarray) -> None:
        """Note that a round of detection did not find the tracks in ``rows``, bool (N,)."""
        self.misses += rows
        self._watch = None

    def view(self, rows: np.ndarray, stamp: int, looks: np.ndarray, scores: np.ndarray) -> None:
        """Learn how the tracks in ``rows`` look.

        A face half hidden scores less than one in full sight, so the better the score, the more
        a view counts; what is long ago fades.
        """
        weight = np.exp((scores - 1) / _SCORE_STEP)
        passed = np.maximum(stamp - self.viewed[rows], 0) / SECOND
        total = self.weights[rows] * np.exp(-passed / _FADING_SECONDS) + weight
        share = (weight / total)[:, None].astype(np.float32)
        self.looks[rows] += share * (looks - self.looks[rows])
        self.weights[rows], self.viewed[rows] = total, np.maximum(self.viewed[rows], stamp)

    @property
    def known(self) -> np.ndarray:
        """Of which tracks the look has been told, bool (N,)."""
        return self.weights > 0

    def familiar(self, stamp: int) -> np.ndarray:
        """Return which tracks were viewed so lately that there is nothing to learn, bool (N,)."""
        return self.known & (stamp - self.viewed < _VIEW_SECONDS * SECOND)

    def confirm(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Give ids to the tracks that have earned one, and their old id to those who return.

        :returns: keys of the remembered tracks whose ids were passed on, and which are over.
        """
        if self.ids.all():
            return self.keys[:0]
        earned = np.flatnonzero((self.ids == 0) & (self.hits >= options.min_hits))
        if not len(earned):
            return self.keys[:0]
        absent = np.flatnonzero((self.ids > 0) & (self.misses > 0) & self.known)
        over = self.keys[:0]
        if options.appearance and len(absent):
            seen = np.broadcast_to(self.known[earned, None], (len(earned), len(absent)))
            unlike = appearance.differences(self.looks[earned], self.looks[absent], seen)
            new, old = assign(unlike, unlike < options.look_threshold)
            over = self.keys[absent[old]]
            self._return(earned[new], absent[old])
            doubtful = (unlike < _DOUBT * options.look_threshold).any(axis=1)
            doubtful |= self.weights[earned] < _POOR
            young = stamp - self.begun[earned] < _LONGEST_DOUBT * SECOND
            earned = earned[(self.ids[earned] == 0) & ~(doubtful & young)]
        self.ids[earned] = self._last_id + 1 + np.arange(len(earned))
        self._last_id += len(earned)
        return over

    def recognise(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Think again about faces just viewed clearly: were they here before?

        One that has had its id for a short time only gets back the one it had; for one that has
        been here longer, the memory of somebody who looks just the same is dropped.

        :returns: keys of the remembered tracks that are over.
        """
        if not options.appearance or self._all_here(stamp, options):
            return self.keys[:0]
        present = np.flatnonzero((self.ids > 0) & (self.viewed == stamp) & (self.weights >= _POOR))
        absent = np.flatnonzero(self.remembered(stamp, options) & self.known)
        if not len(present) or not len(absent):
            return self.keys[:0]
        unlike = appearance.differences(self.looks[present], self.looks[absent],
                                        np.ones((len(present), len(absent)), bool))
        new, old = assign(unlike, unlike < _SAME * options.look_threshold)
        new, old = present[new], absent[old]
        young = stamp - self.begun[new] < _SECOND_THOUGHTS * SECOND
        self._return(new[young], old[young])
        return self.keys[old]

    def _return(self, new: np.ndarray, old: np.ndarray) -> None:
        """Let the tracks in rows ``new`` be those in rows ``old`` from now on."""
        self.ids[new], self.begun[new] = self.ids[old], self.begun[old]
        self.looks[new], self.weights[new] = self.looks[old], self.weights[old]

    def check(self, rows: np.ndarray, looks: np.ndarray) -> None:
        """Compare what is seen where the tracks in ``rows`` should be with how they look."""
        self.hidden[rows] = appearance.difference(looks, self.looks[rows]) > _OTHER_THING

    def remembered(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Return which tracks have an id but are lost from sight, bool (N,)."""
        if self._all_here(stamp, options):
            return np.zeros(len(self), bool)
        lost = self.misses > options.max_misses
        lost |= self.hidden & (self.misses > 0)
        lost |= stamp - self.seen > options.max_unseen * SECOND
        lost &= self.ids > 0
        return lost

    def carried(self, options: TrackerOptions) -> np.ndarray:
        """Return which tracks are in sight, bool (N,): nothing should carry a hidden one."""
        return ~self.hidden & (self.misses <= options.max_misses)

    def unseen(self, stamp: int) -> np.ndarray:
        """Return the seconds since each track was last detected, float64 (N,)."""
        return np.maximum(stamp - self.seen, 0) / SECOND

    def alive(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Return which tracks stay, bool (N,): one on trial may not miss a single round."""
        if self._all_here(stamp, options):
            return np.ones(len(self), bool)
        unseen = self.unseen(stamp)
        remembered = self.remembered(stamp, options)
        alive = ((self.ids > 0) | (self.misses == 0)) & (
            unseen <= np.where(remembered, options.memory, options.max_unseen))
        alive &= options.appearance | ~remembered
        spare = np.flatnonzero(remembered & alive)
        if len(spare) > options.max_tracks:
            alive[spare[np.argsort(self.seen[spare])[:-options.max_tracks]]] = False
        return alive

    def keep(self, mask: np.ndarray) -> None:
        """Drop the tracks outside ``mask``; their ids are not given again."""
        for name, column in self._columns():
            setattr(self, name, column[mask])
        self._watch = None

    def shift(self, nanoseconds: int) -> None:
        """Move all stamps, as when the clock was set."""
        self.begun += nanoseconds
        self.seen += nanoseconds
        self._watch = None

    def _all_here(self, stamp: int, options: TrackerOptions) -> bool:
        """Say, at little cost, whether every track was found by the last detections."""
        if not len(self.keys):
            return True
        if self._watch is None:
            self._watch = bool(self.misses.any()), int(self.seen.min())
        missed, oldest = self._watch
        return not missed and stamp - oldest <= options.max_unseen * SECOND

    def _columns(self) -> list[tuple[str, np.ndarray]]:
        return [(name, getattr(self, name)) for name in _COLUMNS]


_COLUMNS = tuple(item.name for item in dataclasses.fields(Register)
                 if not item.name.startswith('_'))
