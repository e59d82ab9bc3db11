# SPDX-License-Identifier: Apache-2.0
"""The life of a track: begun on trial, confirmed, lost from sight, remembered, forgotten."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from face_tracking.tracking import appearance
from face_tracking.tracking.association import Appearance, assign
from face_tracking.tracking.tracker_options import TrackerOptions

SECOND = 1_000_000_000


_FADING = 5.0 * SECOND  # a look is that of about so long
_VIEW_TIME = SECOND // 5  # a look is learned from about five views a second
_SCORE_STEP = 0.03  # a view whose score is so much better counts e times as much
_OTHER_THING = 0.6  # difference in looks from which it is not this face that is seen
_DOUBT = 2.0  # times the threshold: a newcomer that looks so much alike may wait
_SAME = 0.6  # times the threshold: beyond doubt the same
_POOR = 0.01  # weight of a look that is not yet to be relied on
_SECOND_THOUGHTS = 3.0  # seconds for which a new id may still turn out to be an old one
_LONGEST_DOUBT = 0.4  # seconds that it may wait for a better view

_BEGINNING, _END = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class TrackStatus:
    """Which of a register's tracks are where, as long as neither it nor the clock changes that.

    :ivar options: by which that was decided.
    :ivar since: stamp after which it holds.
    :ivar until: stamp up to which it holds.
    :ivar calm: whether everybody is present, and nobody is hidden.
    :ivar present: bool (N,), those that the last round of detection found.
    :ivar carried: keys of the tracks in sight, int64 (K,): nothing should carry a hidden one.
    :ivar remembered: bool (N,), those that have an id but are lost from sight.
    :ivar shown: rows of the tracks that have an id and are not lost, int (K,), by rising id.
    :ivar alive: rows of the tracks that stay, int (K,): one on trial may not miss a round.
    """

    options: TrackerOptions
    since: int
    until: int
    calm: bool
    present: np.ndarray
    carried: np.ndarray
    remembered: np.ndarray
    shown: np.ndarray
    alive: np.ndarray


def _column(dtype: type, *shape: int):
    return field(default_factory=lambda: np.zeros((0, *shape), dtype))


@dataclass
class TrackTable:
    """What is known about each track besides where it is; a row each, by rising key.

    :ivar keys: int64 (N,), counted up with each track begun, on trial or not.
    :ivar ids: int64 (N,), the published id; 0 while on trial, so that ids count up without gaps.
    :ivar scores: float32 (N,), of the detection last matched.
    :ivar times: int64 (N, 2), stamps of the first and of the last detection.
    :ivar hits: int64 (N,), detections matched so far.
    :ivar misses: int64 (N,), rounds of detection missed since the last match.
    :ivar looks: float32 (N, SIZE), see :mod:`~face_tracking.tracking.appearance`.
    :ivar weights: float64 (N,), what the views behind the look count; 0 before the first.
    :ivar viewed: int64 (N,), stamp of the last of them.
    :ivar eyes: float32 (N, 2, 2), where they were when last detected; NaN if that is unknown.
    :ivar hidden: bool (N,), whether something else is seen where the face should be.
    """

    keys: np.ndarray = _column(np.int64)
    ids: np.ndarray = _column(np.int64)
    scores: np.ndarray = _column(np.float32)
    times: np.ndarray = _column(np.int64, 2)
    hits: np.ndarray = _column(np.int64)
    misses: np.ndarray = _column(np.int64)
    looks: np.ndarray = _column(np.float32, appearance.SIZE)
    weights: np.ndarray = _column(np.float64)
    viewed: np.ndarray = _column(np.int64)
    eyes: np.ndarray = _column(np.float32, 2, 2)
    hidden: np.ndarray = _column(np.bool_)
    _last_key: int = 0
    _last_id: int = 0
    _standing: TrackStatus | None = None
    _familiar_until: int = _BEGINNING

    def __len__(self) -> int:
        return len(self.keys)

    def begin(self, stamp: int, scores: np.ndarray) -> np.ndarray:
        """Begin a track on trial for each of ``scores`` (K,); return their keys (K,)."""
        count = len(scores)
        if not count:
            return self.keys[:0]
        new = {
            'keys': self._last_key + 1 + np.arange(count),
            'scores': scores,
            'times': np.full((count, 2), stamp),
        }
        for name, column in self._columns():
            rows = new.get(name, np.zeros((count, *column.shape[1:])))
            setattr(self, name, np.concatenate([column, rows.astype(column.dtype)]))
        self._last_key += count
        self._standing, self._familiar_until = None, _BEGINNING
        return new['keys']

    def hit(self, rows: np.ndarray, stamp: int, scores: np.ndarray, eyes: np.ndarray) -> None:
        """Note that the tracks in ``rows``, rising, were detected."""
        if len(rows) == len(self):
            rows = slice(None)
        self.eyes[rows] = eyes
        self.hits[rows] += 1
        self.seen[rows] = np.maximum(self.seen[rows], stamp)
        self.scores[rows] = scores
        if self._standing is None or not self._standing.calm:
            self.hidden[rows] = False
            self.misses[rows] = 0
            self._standing = None

    def miss(self, rows: np.ndarray) -> None:
        """Note that a round of detection did not find the tracks in ``rows``, bool (N,)."""
        self.misses += rows
        self._standing = None

    def view(self, rows: np.ndarray, stamp: int, looks: np.ndarray, scores: np.ndarray) -> None:
        """Learn how the tracks in ``rows`` look.

        A face half hidden scores less than one in full sight, so the better the score, the more
        a view counts; what is long ago fades.
        """
        before, known = self.viewed.take(rows), self.looks.take(rows, axis=0)
        viewed = np.maximum(before, stamp)
        weight = np.exp((scores - 1.0) / _SCORE_STEP)
        total = self.weights.take(rows) * np.exp((before - viewed) / _FADING) + weight
        share = (weight / total).astype(np.float32)
        self.looks[rows] = known + share[:, None] * (looks - known)
        self.weights[rows], self.viewed[rows] = total, viewed
        everybody = self.known.all()
        self._familiar_until = int(self.viewed.min()) + _VIEW_TIME if everybody else _BEGINNING

    @property
    def begun(self) -> np.ndarray:
        """The stamp of each track's first detection, int64 (N,)."""
        return self.times[:, 0]

    @property
    def seen(self) -> np.ndarray:
        """The stamp of each track's last detection, int64 (N,)."""
        return self.times[:, 1]

    @property
    def known(self) -> np.ndarray:
        """Of which tracks the look has been told, bool (N,)."""
        return self.weights > 0

    def familiar(self, stamp: int) -> np.ndarray:
        """Return which tracks were viewed so lately that there is nothing to learn, bool (N,)."""
        return self.known & (self.viewed > stamp - _VIEW_TIME)

    def all_familiar(self, stamp: int) -> bool:
        """Say, at hardly any cost, whether there is nothing to learn about anybody."""
        return stamp < self._familiar_until

    def appearances(self, rows: np.ndarray) -> Appearance:
        """Return how the tracks in ``rows`` look."""
        return Appearance(self.looks.take(rows, axis=0), self.weights.take(rows) > 0)

    def confirm(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Give ids to the tracks that have earned one, and their old id to those who return.

        :returns: keys of the remembered tracks whose ids were passed on, and which are over.
        """
        if all(self.ids.tolist()):
            return self.keys[:0]
        earned = np.flatnonzero((self.ids == 0) & (self.hits >= options.min_hits))
        if not len(earned):
            return self.keys[:0]
        absent = np.flatnonzero((self.ids > 0) & (self.misses > 0) & self.known)
        over = self.keys[:0]
        if options.appearance and len(absent):
            seen = np.broadcast_to(self.known[earned, None], (len(earned), len(absent)))
            unlike = appearance.differences(self.looks[earned], self.looks[absent], seen)
            new, old = assign(unlike, unlike < options.appearance_threshold)
            over = self.keys[absent[old]]
            self._return(earned[new], absent[old])
            doubtful = (unlike < _DOUBT * options.appearance_threshold).any(axis=1)
            doubtful |= self.weights[earned] < _POOR
            young = stamp - self.begun[earned] < _LONGEST_DOUBT * SECOND
            earned = earned[(self.ids[earned] == 0) & ~(doubtful & young)]
        self.ids[earned] = self._last_id + 1 + np.arange(len(earned))
        self._last_id += len(earned)
        self._standing = None
        return over

    def recognize(self, stamp: int, options: TrackerOptions) -> np.ndarray:
        """Think again about faces just viewed clearly: were they here before?

        One that has had its id for a short time only gets back the one it had; for one that has
        been here longer, the memory of somebody who looks just the same is dropped.

        :returns: keys of the remembered tracks that are over.
        """
        standing = self.standing(stamp, options)
        if standing.calm or not options.appearance:
            return self.keys[:0]
        present = np.flatnonzero((self.ids > 0) & (self.viewed == stamp) & (self.weights >= _POOR))
        absent = np.flatnonzero(standing.remembered & self.known)
        if not len(present) or not len(absent):
            return self.keys[:0]
        unlike = appearance.differences(
            self.looks[present], self.looks[absent], np.ones((len(present), len(absent)), bool)
        )
        new, old = assign(unlike, unlike < _SAME * options.appearance_threshold)
        new, old = present[new], absent[old]
        young = stamp - self.begun[new] < _SECOND_THOUGHTS * SECOND
        self._return(new[young], old[young])
        return self.keys[old]

    def _return(self, new: np.ndarray, old: np.ndarray) -> None:
        """Let the tracks in rows ``new`` be those in rows ``old`` from now on."""
        self.ids[new], self.begun[new] = self.ids[old], self.begun[old]
        self.looks[new], self.weights[new] = self.looks[old], self.weights[old]
        self._standing = None

    def check(self, rows: np.ndarray, looks: np.ndarray) -> None:
        """Compare what is seen where the tracks in ``rows`` should be with how they look."""
        hidden = appearance.difference(looks, self.looks[rows]) > _OTHER_THING
        if not np.array_equal(hidden, self.hidden[rows]):
            self.hidden[rows] = hidden
            self._standing = None

    def standing(self, stamp: int, options: TrackerOptions) -> TrackStatus:
        """Return which tracks are where at ``stamp``."""
        known = self._standing
        if known is None or known.options is not options or not known.since < stamp <= known.until:
            self._standing = known = self._assess(stamp, options)
        return known

    def _assess(self, stamp: int, options: TrackerOptions) -> TrackStatus:
        patience, memory = (
            int(options.max_time_since_update * SECOND),
            int(options.reid_timeout * SECOND),
        )
        unseen = stamp - self.seen
        missed, overdue, named = self.misses > 0, unseen > patience, self.ids > 0
        present = ~(missed | overdue)
        in_sight = ~self.hidden & (self.misses <= options.max_misses)
        remembered = named & (overdue | (missed & ~in_sight))
        shown = (named & ~remembered).nonzero()[0]
        alive = np.where(remembered, options.appearance & (unseen <= memory), ~overdue)
        alive &= named | ~missed
        spare = (alive & remembered).nonzero()[0]
        if len(spare) > options.max_tracks:
            alive[spare[self.seen[spare].argsort()[: -options.max_tracks]]] = False
        changes = np.concatenate([(_BEGINNING, _END), self.seen + patience, self.seen + memory])
        changes.sort()
        following = np.searchsorted(changes, stamp)
        since, until = changes[following - 1 : following + 1].tolist()
        return TrackStatus(
            options,
            since,
            until,
            calm=bool((present & ~self.hidden).all()),
            present=present,
            carried=self.keys[in_sight],
            remembered=remembered,
            shown=shown[self.ids[shown].argsort()],
            alive=alive.nonzero()[0],
        )

    def keep(self, rows: np.ndarray) -> None:
        """Drop the tracks outside ``rows``, rising or a mask; their ids are not given again."""
        for name, column in self._columns():
            setattr(self, name, column[rows])
        self._standing = None

    def shift(self, nanoseconds: int) -> None:
        """Move all stamps, as when the clock was set."""
        self.times += nanoseconds
        self.viewed += nanoseconds
        self._standing, self._familiar_until = None, _BEGINNING

    def _columns(self) -> list[tuple[str, np.ndarray]]:
        return [(name, getattr(self, name)) for name in _COLUMNS]


_COLUMNS = tuple(
    item.name for item in dataclasses.fields(TrackTable) if not item.name.startswith('_')
)
