# SPDX-License-Identifier: Apache-2.0
"""The life of a track: tentative, confirmed, lost, re-identified, deleted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import repeat

import numpy as np

from face_tracking.arrays import Array, BoolArray, FloatArray, IntArray
from face_tracking.boxes import iou
from face_tracking.time_units import SECOND
from face_tracking.tracking.association import assign, within_reach
from face_tracking.tracking.cue import CueSet
from face_tracking.tracking.kalman import States
from face_tracking.tracking.tracker_options import TrackerOptions

_MEMORY_DECAY = 5.0 * SECOND  # time constant of what a descriptor remembers
_SCORE_SCALE = 0.03  # a detection whose score is this much higher counts e times as much
_OCCLUDED_DISTANCE = 0.6  # appearance distance from which something else is seen
_SIMILAR = 2.0  # factor on the threshold: a newcomer as similar as this may wait
_SAME = 0.6  # factor on the threshold: the same person beyond doubt
_MIN_WEIGHT = 0.01  # of a descriptor that is reliable
_SCORE_MEMORY = 4.0 * SECOND  # time constant of the mean score of a track
_SCORE_MARGIN = 0.03  # below score_threshold: mean score down to which a track is a face
_MAX_REVISION = 3.0  # seconds after which a new id is final
_NEVER = -(2**62)  # a stamp before all others
_REPLACED = -1  # id of a track that is to be deleted, because another has its identity
_MAX_WAIT = 0.4  # seconds that a newcomer may wait for a better descriptor


class TrackStatus:
    """The status of each of N tracks at one time. Its arrays are not modified.

    :param table: the tracks.
    :param stamp: the time, nanoseconds.
    """

    def __init__(self, table: TrackTable, stamp: int, options: TrackerOptions):
        self._options = options
        self._table = table
        self._stamp = stamp
        self._unseen = stamp - table.updated
        self._displaced = (table.updated < table.cut) & (stamp >= table.cut)
        self._overdue = self._unseen > max(options.max_time_since_update * SECOND, table.patience)
        self._overdue |= self._displaced
        self._missed = table.misses > 0
        self._named = table.ids > 0

    @property
    def displaced(self) -> BoolArray:
        """Tracks whose position is not known, bool (N,), because the camera jumped since."""
        return self._displaced

    @property
    def doubtful(self) -> BoolArray:
        """Tracks whose position may not hold, bool (N,), because the scene may have changed."""
        cut = self._table.possible_cut
        return (self._table.updated < cut) & (self._stamp >= cut)

    @cached_property
    def convincing(self) -> BoolArray:
        """Tracks whose mean score is that of a face, bool (N,).

        A false alarm that is strong once and weak ever after is not.
        """
        return self._table.mean_scores >= self._options.score_threshold - _SCORE_MARGIN

    @cached_property
    def visible(self) -> BoolArray:
        """Tracks that the latest detections found, bool (N,)."""
        return ~(self._missed | self._overdue)

    @cached_property
    def propagated(self) -> BoolArray:
        """Tracks whose motion is measured, bool (N,): not that of what occludes a face."""
        followed = ~self._table.occluded & (self._table.misses <= self._options.max_misses)
        return followed & ~self._displaced

    @cached_property
    def lost(self) -> BoolArray:
        """Tracks that have an id but are not visible any more, bool (N,)."""
        return self._named & (self._overdue | (self._missed & ~self.propagated))

    @cached_property
    def published(self) -> BoolArray:
        """Tracks that have an id and are not lost, bool (N,)."""
        return self._named & ~self.lost & self.convincing

    @cached_property
    def retained(self) -> BoolArray:
        """Tracks that stay in the table, bool (N,).

        A tentative track must be found by all detections; a lost one is kept as long as it can be
        re-identified, and of those the ones that were seen last.
        """
        lost, options = self.lost, self._options
        remembered = self._unseen <= options.reid_timeout * SECOND * options.appearance
        retained = np.where(lost, remembered, ~self._overdue & (self._named | ~self._missed))
        retained &= self._table.ids != _REPLACED
        spare = np.flatnonzero(retained & lost)
        if len(spare) > options.max_tracks:
            oldest = np.argsort(self._table.updated[spare], kind='stable')[: -options.max_tracks]
            retained[spare[oldest]] = False
        return retained


def _with_score(
    mean: float, weight: float, updated: int, score: float, stamp: int
) -> tuple[float, float, int]:
    """Return the mean score of a track after a detection, its weight, and the last stamp."""
    now = max(updated, stamp)
    weight = weight * math.exp((updated - now) / _SCORE_MEMORY) + 1
    return mean + (score - mean) / weight, weight, now


def _with_descriptor(
    weight: float, described: int, measured: bool, score: float, stamp: int
) -> tuple[float, int, float]:
    """Return the weight of a cue's descriptor after a detection, the last stamp, and its share."""
    if not measured:
        return weight, described, 0.0
    now = max(described, stamp)
    new = math.exp((score - 1.0) / _SCORE_SCALE)
    total = weight * math.exp((described - now) / _MEMORY_DECAY) + new
    return total, now, new / max(total, 1e-300)


class TrackTable:
    """What is known about each track besides its position: one row each, by rising key.

    :ivar keys: int64 (N,), counted up with each track spawned, tentative or not.
    :ivar ids: int64 (N,), the published id; 0 while tentative, so that ids have no gaps.
    :ivar scores: float32 (N,), of the detection last matched.
    :ivar mean_scores: float64 (N,), mean over the life of the track; recent ones count more.
    :ivar score_weights: float64 (N,), of the detections behind the mean.
    :ivar spawned: int64 (N,), stamp of the first detection, nanoseconds.
    :ivar updated: int64 (N,), stamp of the last detection.
    :ivar hits: int64 (N,), number of detections matched.
    :ivar misses: int64 (N,), images with detections but without a match since the last match.
    :ivar occluded: bool (N,), whether something else is seen where the face is expected.
    :ivar landmarks: float32 (N, 5, 2), of the last detection; NaN where there are none.
    :ivar descriptors: float32 (N, size), see :class:`~face_tracking.tracking.cue.CueSet`.
    :ivar weights: float64 (N, C), of the detections behind each cue's descriptor; 0 for none.
    :ivar described: int64 (N, C), stamp of the last of them.
    :ivar patience: nanoseconds without a detection that mean nothing, because so much time passes
        between detections; see ``max_time_since_update``.
    :ivar cut: stamp of the image since which no earlier position holds, nanoseconds.
    :ivar possible_cut: stamp of the image since which an earlier position may not hold.
    """

    def __init__(self, cues: CueSet):
        self.cues = cues
        self.keys = np.zeros(0, np.int64)
        self.ids = np.zeros(0, np.int64)
        self.scores = np.zeros(0, np.float32)
        self.mean_scores = np.zeros(0)
        self.score_weights = np.zeros(0)
        self.spawned = np.zeros(0, np.int64)
        self.updated = np.zeros(0, np.int64)
        self.hits = np.zeros(0, np.int64)
        self.misses = np.zeros(0, np.int64)
        self.occluded = np.zeros(0, np.bool_)
        self.landmarks = np.zeros((0, 5, 2), np.float32)
        self.descriptors = cues.unknown(0)
        self.weights = np.zeros((0, len(cues)))
        self.described = np.zeros((0, len(cues)), np.int64)
        self.patience = 0
        self.cut = _NEVER
        self.possible_cut = _NEVER
        self._last_key = 0
        self._last_id = 0
        self._oldest_update: int | None = None
        self._settled: tuple[TrackerOptions, int] | None = None
        self._settled_status: TrackStatus | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def status_at(self, stamp: int, options: TrackerOptions) -> TrackStatus:
        """Return the status of the tracks at ``stamp``.

        Between two detections nothing but the time changes. As long as that changes the status of
        no track, one object serves all images.
        """
        if not self.is_settled(stamp, options):
            return TrackStatus(self, stamp, options)
        if self._settled_status is None:
            self._settled_status = TrackStatus(self, stamp, options)
        return self._settled_status

    def is_settled(self, stamp: int, options: TrackerOptions) -> bool:
        """Return whether each track is published, visible and retained at ``stamp``."""
        if self._settled is None or self._settled[0] is not options:
            self._settled = options, self._settled_until(options)
        return stamp <= self._settled[1]

    def _settled_until(self, options: TrackerOptions) -> int:
        """Return the stamp until which every track is settled if nothing but the time changes."""
        oldest = self.oldest_update
        if (
            self.all_visible
            and not self.any_tentative
            and _REPLACED not in self.ids.tolist()
            and max(self.cut, self.possible_cut) <= oldest
            and min(self.mean_scores.tolist(), default=math.inf)
            >= options.score_threshold - _SCORE_MARGIN
        ):
            return oldest + int(max(options.max_time_since_update * SECOND, self.patience))
        return _NEVER

    @property
    def oldest_update(self) -> int:
        """The earliest stamp of a last detection, nanoseconds; of no track, one in the future."""
        oldest = self._oldest_update
        if oldest is None:
            oldest = self._oldest_update = min(self.updated.tolist(), default=-_NEVER)
        return oldest

    def _changed(self) -> None:
        """Forget what was derived from the columns of a status."""
        self._oldest_update = self._settled = self._settled_status = None

    def set_patience(self, nanoseconds: int) -> None:
        """Set :attr:`patience`."""
        if nanoseconds != self.patience:
            self.patience, self._settled = nanoseconds, None

    def mark_cut(self, stamp: int, certain: bool) -> None:
        """Record that earlier positions do not hold since an image, or may not hold."""
        self._settled = None
        if certain:
            self.cut = stamp
        else:
            self.possible_cut = stamp

    def spawn(self, stamp: int, scores: FloatArray) -> IntArray:
        """Add a tentative track for each of ``scores`` (K,); return their keys (K,)."""
        self._changed()
        count = len(scores)
        keys = self._last_key + 1 + np.arange(count)
        self._last_key += count
        for name, column in self._columns():
            rows = np.zeros((count, *column.shape[1:]), column.dtype)
            setattr(self, name, np.concatenate([column, rows]))
        new = slice(len(self) - count, None)
        self.keys[new], self.scores[new] = keys, scores
        self.spawned[new] = self.updated[new] = stamp
        self.descriptors[new] = self.landmarks[new] = np.nan
        return keys

    def mark_matched(
        self, rows: IntArray | slice, stamp: int, scores: FloatArray, landmarks: FloatArray
    ) -> None:
        """Record that the tracks in ``rows`` were detected."""
        if not len(scores):
            return
        self._changed()
        self.hits[rows] += 1
        self.misses[rows] = 0
        self.occluded[rows] = False
        found = map(
            _with_score,
            self.mean_scores[rows].tolist(),
            self.score_weights[rows].tolist(),
            self.updated[rows].tolist(),
            scores.tolist(),
            repeat(stamp),
        )
        self.mean_scores[rows], self.score_weights[rows], self.updated[rows] = zip(
            *found, strict=True
        )
        self.scores[rows] = scores
        self.landmarks[rows] = landmarks

    def mark_missed(self, rows: IntArray | BoolArray | slice) -> None:
        """Record that the tracks in ``rows`` were not among the detections of an image."""
        self._changed()
        self.misses[rows] += 1

    def update_appearance(
        self, rows: IntArray | slice, stamp: int, descriptors: FloatArray, scores: FloatArray
    ) -> None:
        """Update the descriptors of the tracks in ``rows`` by those of their detections.

        The score of a partly occluded face is lower, so a detection counts more the higher its
        score; detections of long ago count less.

        :param descriptors: float32 (K, size); NaN where a cue was not measured.
        """
        if not descriptors.size:
            return
        count = len(self.cues)
        found = map(
            _with_descriptor,
            self.weights[rows].ravel().tolist(),
            self.described[rows].ravel().tolist(),
            self.cues.measured(descriptors).ravel().tolist(),
            [score for score in scores.tolist() for _ in range(count)],
            repeat(stamp),
        )
        weights, described, shares = (
            np.array(column).reshape(-1, count) for column in zip(*found, strict=True)
        )
        self.weights[rows], self.described[rows] = weights, described
        self.descriptors[rows] = self.cues.update(
            self.descriptors[rows], descriptors, shares.astype(np.float32)
        )

    def update_occlusion(self, rows: IntArray, descriptors: FloatArray) -> None:
        """Compare what is seen where tracks are expected with their descriptors."""
        self._changed()
        distance = self.cues.distance(descriptors, self.descriptors[rows])
        self.occluded[rows] = distance > _OCCLUDED_DISTANCE

    @property
    def any_tentative(self) -> bool:
        """Whether a track has no id yet."""
        return 0 in self.ids.tolist()

    @property
    def all_visible(self) -> bool:
        """Whether the latest detections found every track."""
        return not (any(self.misses.tolist()) or any(self.occluded.tolist()))

    @property
    def has_descriptor(self) -> BoolArray:
        """Which tracks have a descriptor, bool (N,)."""
        return np.array([any(weights) for weights in self.weights.tolist()], bool)

    def appearance_fresh(self, stamp: int) -> BoolArray:
        """Return which descriptors need no new measurement, bool (N, C)."""
        return (self.weights > 0) & (self.described > stamp - self.cues.intervals)

    def confirm(self, stamp: int, states: States, options: TrackerOptions) -> None:
        """Assign ids to the tracks that have enough detections; re-identified faces keep theirs.

        A newcomer gets the id of a missing face that looks the same and can have come here, or
        that looks similar and is expected here. One that looks similar and is elsewhere waits a
        moment for a better descriptor.

        :param states: of all tracks.
        """
        enough = (self.hits >= options.min_hits) | (self.scores >= options.sure_score_threshold)
        convincing = self.status_at(stamp, options).convincing
        due = np.flatnonzero((self.ids == 0) & enough & convincing)
        if not len(due):
            return
        absent = np.flatnonzero((self.ids > 0) & (self.misses > 0) & self.has_descriptor)
        if len(absent) and options.appearance:
            threshold = options.appearance_threshold
            distance = self._distances(due, absent)
            unseen = stamp - self.updated[absent]
            boxes, expected = states[due].boxes(), states[absent].boxes()
            near = within_reach(states[absent], boxes, unseen / SECOND).T
            displaced = self.status_at(stamp, options).displaced[absent]
            here = (iou(boxes, expected) >= max(options.iou_threshold, 1e-6)) & ~displaced
            same = (distance < threshold) & (near | displaced)
            same |= (distance < _SIMILAR * threshold) & here
            new, old = assign(distance, same)
            self._take_over(due[new], absent[old])
            different = distance >= _SIMILAR * threshold  # False where not known
            doubtful = (~different & near & ~displaced).any(axis=1)
            young = stamp - self.spawned[due] < _MAX_WAIT * SECOND
            due = due[(self.ids[due] == 0) & ~(doubtful & young)]
        self._changed()
        self.ids[due] = self._last_id + 1 + np.arange(len(due))
        self._last_id += len(due)

    def reidentify(self, stamp: int, options: TrackerOptions) -> None:
        """Compare the faces that were just described well with the lost tracks.

        A track that has had its id for a short time gets back the id it had before. If the track
        is older, the lost track of a person who looks the same is deleted.
        """
        if self.all_visible or not options.appearance:
            return
        lost = self.status_at(stamp, options).lost
        just_described = (self.described == stamp).any(axis=1)
        present = np.flatnonzero((self.ids > 0) & ~lost & just_described)
        present = present[self._reliable(present)]
        absent = np.flatnonzero(lost & self.has_descriptor)
        distance = self._distances(present, absent)
        new, old = assign(distance, distance < _SAME * options.appearance_threshold)
        new, old = present[new], absent[old]
        young = stamp - self.spawned[new] < _MAX_REVISION * SECOND
        self._take_over(new[young], old[young])
        self._changed()
        self.ids[old] = _REPLACED

    def prune(self, rows: IntArray | BoolArray | slice) -> None:
        """Delete the tracks outside ``rows``; their ids are not given again."""
        self._changed()
        for name, column in self._columns():
            setattr(self, name, column[rows])

    def shift(self, nanoseconds: int) -> None:
        """Move all stamps, as when the clock was set."""
        self._changed()
        self.spawned += nanoseconds
        self.updated += nanoseconds
        self.described += nanoseconds
        self.cut += nanoseconds
        self.possible_cut += nanoseconds

    def _distances(self, first: IntArray, second: IntArray) -> FloatArray:
        """Return the appearance distance of each pair of tracks, float32 (N, M)."""
        pairs = np.ones((len(first), len(second)), bool)
        return self.cues.distances(self.descriptors[first], self.descriptors[second], pairs)

    def _reliable(self, rows: IntArray) -> BoolArray:
        """Return which of the tracks in ``rows`` have been described well, bool (K,)."""
        return (self.weights[rows] >= _MIN_WEIGHT).any(axis=1)

    def _take_over(self, new: IntArray, old: IntArray) -> None:
        """Transfer the identity of the tracks in rows ``old`` to those in rows ``new``."""
        self._changed()
        for column in (self.ids, self.spawned, self.descriptors, self.weights):
            column[new] = column[old]
        self.ids[old] = _REPLACED

    def _columns(self) -> Iterator[tuple[str, Array]]:
        for name, value in list(vars(self).items()):
            if isinstance(value, np.ndarray):
                yield name, value
