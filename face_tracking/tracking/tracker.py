# SPDX-License-Identifier: Apache-2.0
"""The tracker: predict, associate, update, spawn, prune.

docs/tracking.md describes the steps and names the papers behind them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.arrays import Array, BoolArray, FloatArray, IntArray
from face_tracking.errors import UserError
from face_tracking.faces import Detections, Tracks
from face_tracking.frame import Frame, as_frame
from face_tracking.time_units import SECOND
from face_tracking.tracking import appearance, scalar_kalman
from face_tracking.tracking.association import Matches, SpatialCost, associate
from face_tracking.tracking.cue import Cue, CueSet
from face_tracking.tracking.detection_timing import DetectionTiming
from face_tracking.tracking.history import (
    NO_KEYS,
    Correction,
    Snapshot,
    StateHistory,
    are_equal,
    find_rows,
)
from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.kalman import Rows, States
from face_tracking.tracking.motion_estimators import MotionEstimator, create_motion_estimator
from face_tracking.tracking.optical_flow import RESTED, Flow, Warp
from face_tracking.tracking.scene_change import Cut, find_cut
from face_tracking.tracking.track_table import TrackTable
from face_tracking.tracking.tracker_options import TrackerOptions

HISTORY_SECONDS = 3.0
"""Seconds by which detections may be late."""
_IMAGE_SECONDS = 1.5
_MIN_SIDE_PX = 2.0  # of a box
_MAX_SIDE_RATIO = 2.0  # of a side of a box to that of the image
_UNKNOWN_SHAPE = 1e5, 1e5  # height and width of an image that was never received
_USUAL_INTERVAL = SECOND // 30
_MAX_CAMERA_MOTION = 0.5  # seconds for which the camera is predicted to go on moving
_OCCLUSION_INTERVAL = SECOND // 8
_UNCONFIRMED = SECOND * 15 // 100  # since the last detection of a track that may be occluded
_CLEAR_IOU = 0.15  # with another detection, from which a face cannot be described
_QUEUE = 16  # images whose detections wait
_MAX_SKIPPED = SECOND // 20  # between two images of which the second may be skipped
_MAX_UNSEEN = SECOND * 7 // 100  # from the last image that was looked at to one that is skipped
_CALM_SPEED, _CALM_DOUBT = 0.5, 1.0  # face sizes per second
_CALM_GROWTH = 0.3  # of a side, per second
_NO_ROWS = np.zeros(0, np.intp)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The tracks that the detections of one image may continue.

    :ivar rows: their rows in the table, int (N,).
    :ivar states: their states at the stamp of that image.
    :ivar displaced: bool (N,), those whose position is not known since a cut.
    :ivar visible: bool (N,), those that the previous detections found, where their position holds.
    :ivar lost: bool (N,), those whose position alone is not enough: they are not published any
        more, or the scene may have changed.
    """

    rows: IntArray
    states: States
    displaced: BoolArray
    visible: BoolArray
    lost: BoolArray

    @classmethod
    def settled(cls, states: States) -> _Candidates:
        """Return the candidates where every track of the table is visible, as it mostly is."""
        never = np.zeros(len(states), np.bool_)
        return cls(np.arange(len(states)), states, never, ~never, never)


class FaceTracker:
    """Tracks faces under stable ids.

    Detections may be late and in any order; those of an image are matched with the tracks as they
    were at its stamp, and the motion since then is replayed. :meth:`add_detections` is thread-safe
    and returns at once; everything else is guarded by a lock.

    :param options: see :class:`~face_tracking.tracking.tracker_options.TrackerOptions`.
    :param cues: appearance features for association; the appearance descriptor alone if not
        given.
    :ivar timings: milliseconds that the last :meth:`step` took, by stage: ``motion`` (image
        pyramid, visual tracker and camera motion), ``appearance`` (descriptors), ``association``
        (all the rest) and ``total``.
    :ivar rejected: number of boxes with an invalid size, position or score.
    :ivar too_late: number of images whose detections have a stamp outside the history: late by
        more than its length, or in the future.
    """

    def __init__(
        self, options: TrackerOptions | None = None, cues: Sequence[Cue] = (appearance.CUE,)
    ):
        self.timings: dict[str, float] = {}
        self.rejected = 0
        self.too_late = 0
        self._options = options or TrackerOptions()
        self._cues = CueSet(cues)
        self._table = TrackTable(self._cues)
        self._history = StateHistory(HISTORY_SECONDS, _IMAGE_SECONDS)
        self._motion_estimator = self._create_motion_estimator()
        self._queue: deque[Detections] = deque(maxlen=_QUEUE)
        self._timing = DetectionTiming()
        self._table.set_patience(self._timing.patience)
        self._last_detections = -1
        self._last_occlusion_check = -SECOND
        self._just_missed = False  # a track, by detections since the last occlusion check
        self._shape: tuple[int, int] | None = None
        self._lock = threading.Lock()

    @property
    def options(self) -> TrackerOptions:
        """The options in use."""
        return self._options

    @property
    def track_count(self) -> int:
        """The number of tracks: tentative, published and lost."""
        return len(self._table)

    def configure(self, options: TrackerOptions) -> None:
        """Use other options from now on; tracks and ids stay."""
        with self._lock:
            before, self._options = self._options, options
            if (before.visual_tracker, before.camera_motion) != (
                options.visual_tracker,
                options.camera_motion,
            ):
                self._motion_estimator = self._create_motion_estimator()

    def add_detections(self, detections: Detections) -> None:
        """Add what the detector found in the image of ``detections.stamp``.

        It is processed by the next :meth:`step` or :meth:`predict`. Detections of an image without
        a face are evidence too and must be added, empty. The detector should report faces down to
        ``low_score_threshold``: weak ones do not spawn a track but prevent one from being lost.
        """
        self._queue.append(detections)

    def step(
        self, image: Array | Frame | None, stamp: int, camera_motion: Warp | None = None
    ) -> Tracks:
        """Process the next image and return the tracks in it.

        :param image: a frame, or uint8 (height, width, 3) BGR, which the caller must not write to:
            later images are compared with it. None where only detections are available: then the
            motion model alone moves the tracks.
        :param stamp: the image's stamp in nanoseconds. If it is not later than the one before, as
            when a video restarts or the clock is set, the time of all tracks is shifted with it.
        :param camera_motion: predicted background motion since the previous image, from the joint
            angles; it initializes optical flow and is used unchanged where flow finds no
            background.
        :raises UserError: the image has another shape or type.
        """
        _check_image(image)
        with self._lock:
            start = time.perf_counter()
            self.timings = {'motion': 0.0, 'appearance': 0.0}
            stamp = int(stamp)
            self._handle_clock_jump(stamp)
            self._handle_resolution_change(image)
            self._process_queue()
            self._predict(image, stamp, camera_motion)
            self._process_queue()
            self._prune(stamp)
            self._check_occlusion()
            tracks = self._published(stamp, 0.0)
            total = 1e3 * (time.perf_counter() - start)
            self.timings['association'] = total - sum(self.timings.values())
            self.timings['total'] = total
            return tracks

    def predict(self, stamp: int) -> Tracks:
        """Return where the tracks are expected to be at ``stamp``, nanoseconds.

        A stamp before the newest image's gives the tracks in that image.
        """
        with self._lock:
            if not len(self._history):
                return Tracks(stamp=int(stamp))
            self._process_queue()
            newest = self._history.newest.stamp
            stamp = max(int(stamp), newest)
            return self._published(stamp, (stamp - newest) / SECOND)

    def _predict(self, image: Array | Frame | None, stamp: int, hint: Warp | None) -> None:
        """Propagate the tracks to a new image by the motion measured and the motion model."""
        before = self._history.newest if len(self._history) else None
        started = time.perf_counter()
        frame = None if image is None else as_frame(image)
        skipped = frame is not None and self._may_skip(frame, stamp, hint)
        pyramid = None if frame is None else ImagePyramid(frame)
        if skipped:
            snapshot = Snapshot(stamp, Flow.skipped(), NO_KEYS, pyramid, skipped=True)
        else:
            keys, flow = self._known_motion(pyramid, stamp, hint)
            snapshot = Snapshot(stamp, flow, keys, pyramid)
        self._add_time('motion', started)
        if before is not None:
            snapshot.follow(before)
        self._history.append(snapshot)

    def _known_motion(
        self, pyramid: ImagePyramid | None, stamp: int, hint: Warp | None
    ) -> tuple[IntArray, Flow]:
        """Return the keys of the tracks that are followed, and their motion as far as known."""
        keys = self._table.keys
        if not self._table.is_settled(stamp, self._options):
            keys = keys[self._table.status_at(stamp, self._options).propagated]
        if pyramid is not None and not pyramid.expects_color and len(self._rows_to_check(stamp)):
            pyramid.expect_color()
        before = self._history.newest if len(self._history) else None
        if pyramid is None or before is None or before.pyramid is None:
            if pyramid is not None:
                _ = pyramid.gray  # a damaged image must not be the one to compare others with
            return keys, Flow.unknown(len(keys), hint)
        return self._measure(keys, pyramid, stamp, hint)

    def _measure(
        self, keys: IntArray, pyramid: ImagePyramid, stamp: int, hint: Warp | None
    ) -> tuple[IntArray, Flow]:
        """Measure the motion of tracks since the newest snapshot; notice cuts.

        :returns: the tracks that were there already, and the motion.
        """
        before = self._history.newest_measured
        old = cast('ImagePyramid', before.pyramid)
        keys = keys[find_rows(before.keys, keys)[1]]
        flow = self._motion_estimator.estimate(
            keys, before.states_of(keys).boxes(), old, pyramid, hint
        )
        cut = find_cut(old, pyramid, flow.warp)
        if cut != Cut.NONE:
            self._table.mark_cut(stamp, cut == Cut.CERTAIN)
        flow = Flow(flow.warp or hint, flow.motion, flow.deviation)
        if before is not self._history.newest:
            flow = self._history.fill_gap(flow, keys, stamp)
        return keys, flow

    def will_skip(self, frame: Frame, stamp: int) -> bool:
        """Return whether :meth:`step` will not look at the image, because nothing moves."""
        with self._lock:
            return self._may_skip(frame, int(stamp), None)

    def _may_skip(self, frame: Frame, stamp: int, hint: Warp | None) -> bool:
        """Return whether the motion since the newest snapshot need not be measured now.

        While neither the camera nor a face moves fast, every third image of 30 per second is
        enough. An image that is decoded in color anyway costs little more and is not skipped.
        """
        if not len(self._history):
            return False
        before, seen = self._history.newest, self._history.newest_measured
        return (
            seen.pyramid is not None
            and seen.pyramid.rested >= RESTED
            and 0 < stamp - before.stamp <= _MAX_SKIPPED
            and stamp - seen.stamp <= _MAX_UNSEEN
            and self._motion_estimator.allows_gaps
            and not frame.expects_bgr
            and (hint is None or hint is Warp.none())
            and self._table.is_settled(stamp, self._options)
            and before.states.are_calm(_CALM_SPEED, _CALM_DOUBT, _CALM_GROWTH)
            and seen.pyramid.resembles(frame)
        )

    def _process_queue(self) -> None:
        """Process the detections of images that were received; keep those of images to come."""
        if not self._queue or not len(self._history):
            return
        newest = self._history.newest.stamp
        waiting = [self._queue.popleft() for _ in range(len(self._queue))]
        for detections in sorted(waiting, key=lambda detections: detections.stamp):
            index = self._history.find(detections.stamp)
            if newest < detections.stamp <= newest + SECOND:
                self._queue.append(detections)
            elif index is None:
                self.too_late += 1
            else:
                self._timing.add(detections.stamp, newest)
                self._table.set_patience(self._timing.patience)
                self._process_detections(self._usable(detections), index)

    def _process_detections(self, detections: Detections, index: int) -> None:
        """Associate the detections of one image with the tracks at its stamp; update the tracks.

        :param index: of the snapshot at that stamp.
        """
        snapshot, stamp = self._history[index], detections.stamp
        candidates = self._candidates(snapshot, stamp)
        matches, descriptors = self._associate(snapshot.pyramid, candidates, detections)
        keys = self._table.keys[candidates.rows]
        correction = self._record_matches(keys, candidates, matches, detections, descriptors)
        states = correction.apply(keys, candidates.states)
        changed = correction.keys
        if stamp > self._last_detections:  # older detections neither end nor spawn a track
            self._last_detections = stamp
            self._just_missed = len(matches) < len(self._table)
            if self._just_missed:
                missed = np.ones(len(self._table), bool)
                missed[candidates.rows[matches.tracks]] = False
                self._table.mark_missed(missed)
            if len(matches) < len(detections):
                spawned, initial = self._spawn(matches, detections, descriptors)
                keys, states = np.concatenate([keys, spawned]), states.joined(initial)
                changed = np.concatenate([changed, spawned])
        self._history.correct_and_replay(index, keys, states, correction)
        self._reinitialize(changed)
        self._update_status(stamp)

    def _update_status(self, stamp: int) -> None:
        """Confirm tentative tracks, re-identify lost ones and delete those that are over."""
        if self._table.any_tentative:
            states = self._history.newest.states_of(self._table.keys)
            self._table.confirm(stamp, states, self._options)
        self._table.reidentify(stamp, self._options)
        self._prune(self._history.newest.stamp)

    def _candidates(self, snapshot: Snapshot, stamp: int) -> _Candidates:
        """Return the tracks that existed at a snapshot."""
        if are_equal(snapshot.keys, self._table.keys) and self._table.is_settled(
            stamp, self._options
        ):
            return _Candidates.settled(snapshot.states)
        here, rows = find_rows(snapshot.keys, self._table.keys)
        status = self._table.status_at(stamp, self._options)
        return _Candidates(
            rows,
            snapshot.states[here],
            status.displaced[rows],
            (status.visible & ~status.doubtful)[rows],
            (status.lost | status.doubtful)[rows],
        )

    def _associate(
        self, pyramid: ImagePyramid | None, candidates: _Candidates, detections: Detections
    ) -> tuple[Matches, FloatArray | None]:
        """Match detections with tracks: by position alone where that is unambiguous.

        :returns: the matches, and the descriptors of the detections as far as they were measured;
            None where none was.
        """
        options, rows = self._options, candidates.rows
        spatial = SpatialCost(
            candidates.states,
            detections.boxes,
            options.iou_threshold,
            candidates.displaced,
        )
        fresh = self._table.appearance_fresh(detections.stamp)[rows]
        strong = detections.scores >= options.score_threshold
        every_strong = all(strong.tolist())
        pairs = spatial.unambiguous_pairs(candidates.visible) if every_strong else None
        needed = _descriptors_needed(
            pairs, spatial, candidates.visible, candidates.lost, fresh, strong
        )
        descriptors = self._describe(pyramid, detections, needed)
        if pairs is not None:
            return Matches(*pairs, np.zeros(len(pairs[0]), bool)), descriptors
        known = self._cues.unknown(len(detections)) if descriptors is None else descriptors
        matches = associate(
            spatial,
            self._cues,
            self._table.descriptors[rows],
            known,
            candidates.visible,
            candidates.lost,
            (detections.stamp - self._table.updated[rows]) / SECOND,
            strong,
            options.appearance_threshold,
        )
        return matches, descriptors

    def _record_matches(
        self,
        keys: IntArray,
        candidates: _Candidates,
        matches: Matches,
        detections: Detections,
        descriptors: FloatArray | None,
    ) -> Correction:
        """Record the matches in the table; return how they correct the states.

        :param keys: of the candidates.
        """
        matched, rows = detections.take(matches.detections), candidates.rows[matches.tracks]
        if descriptors is not None:
            descriptors = descriptors[matches.detections]
        if len(matches):
            self._record_detections(rows, matched, descriptors)
        noise = 3.0 - 2.0 * matched.scores  # the box of a weak detection is less accurate
        return Correction(keys[matches.tracks], matched.boxes, noise, matches.reid)

    def _spawn(
        self, matches: Matches, detections: Detections, descriptors: FloatArray | None
    ) -> tuple[IntArray, States]:
        """Begin a tentative track for each strong detection that is not matched.

        :returns: the keys of the new tracks and their states.
        """
        unmatched = detections.scores >= self._options.score_threshold
        unmatched[matches.detections] = False
        status = self._table.status_at(detections.stamp, self._options)
        room = self._options.max_tracks - int(np.count_nonzero(~status.lost))
        chosen = np.flatnonzero(unmatched)[: max(room, 0)]
        new = detections.take(chosen)
        keys = self._table.spawn(detections.stamp, new.scores)
        rows = np.arange(len(self._table) - len(keys), len(self._table))
        self._record_detections(rows, new, None if descriptors is None else descriptors[chosen])
        return keys, States.from_boxes(new.boxes)

    def _record_detections(
        self, rows: IntArray, detections: Detections, descriptors: FloatArray | None
    ) -> None:
        """Enter detections (K,) and their descriptors, if any, into the table's ``rows`` (K,).

        :param rows: rising if they are all of the table's.
        """
        # NumPy reads and writes a slice faster than the rows of an index array.
        every = slice(None) if len(rows) == len(self._table) else rows
        self._table.mark_matched(every, detections.stamp, detections.scores, detections.landmarks)
        if descriptors is not None:
            self._table.update_appearance(every, detections.stamp, descriptors, detections.scores)

    def _describe(
        self, pyramid: ImagePyramid | None, detections: Detections, wanted: BoolArray
    ) -> FloatArray | None:
        """Return the descriptors of detections, float32 (M, size); NaN where not measured.

        A face at the edge of the image or behind another cannot be described.

        :param wanted: bool (M, C), which cues to measure.
        :returns: None where nothing was measured.
        """
        if pyramid is None or not self._options.appearance or not wanted.any():
            return None
        started = time.perf_counter()
        clear = _are_clear(detections.boxes, *pyramid.shape)
        if all(clear):
            descriptors = self._cues.extract(
                pyramid, detections.boxes, detections.landmarks, wanted
            )
        else:
            rows = np.flatnonzero(clear)
            descriptors = self._cues.unknown(len(detections))
            descriptors[rows] = self._cues.extract(
                pyramid, detections.boxes[rows], detections.landmarks[rows], wanted[rows]
            )
        self._add_time('appearance', started)
        return descriptors

    def _rows_to_check(self, stamp: int) -> IntArray:
        """Return the rows of the tracks to look for, which may be occluded, int (K,).

        These are tracks that were just missed, or neither confirmed nor checked for a while.
        """
        table = self._table
        due = self._just_missed or (
            abs(stamp - self._last_occlusion_check) >= _OCCLUSION_INTERVAL
            and table.oldest_update <= stamp - _UNCONFIRMED
        )
        if not (due and self._options.appearance):
            return _NO_ROWS
        missed = [number > 0 for number in table.misses.tolist()]
        late = [updated <= stamp - _UNCONFIRMED for updated in table.updated.tolist()]
        described = table.has_descriptor.tolist()
        rows = [row for row, known in enumerate(described) if known and (missed[row] or late[row])]
        if rows and not table.is_settled(stamp, self._options):
            lost = table.status_at(stamp, self._options).lost
            rows = [row for row in rows if not lost[row]]
        return np.array(rows, np.intp)

    def _check_occlusion(self) -> None:
        """Find out whether the faces that were not detected in this image can be seen in it."""
        newest, table = self._history.newest, self._table
        rows = self._rows_to_check(newest.stamp)
        self._just_missed = False
        if newest.pyramid is None or not len(rows):
            return
        self._last_occlusion_check = newest.stamp
        started = time.perf_counter()
        boxes = newest.states_of(table.keys[rows]).boxes()
        wanted = np.zeros((len(rows), len(self._cues)), bool)
        wanted[:, 0] = True
        seen = self._cues.extract(newest.pyramid, boxes, table.landmarks[rows], wanted)
        table.update_occlusion(rows, seen)
        self._add_time('appearance', started)

    def _reinitialize(self, keys: IntArray) -> None:
        """Initialize the visual trackers of tracks that were detected or spawned."""
        newest = self._history.newest
        if self._motion_estimator.needs_reinitialization and newest.pyramid is not None:
            rows, _ = find_rows(newest.keys, np.sort(keys))
            self._motion_estimator.reinitialize(
                newest.keys[rows], newest.states[rows].boxes(), newest.pyramid
            )

    def _prune(self, stamp: int) -> None:
        """Delete the tracks that are not retained."""
        if not self._table.is_settled(stamp, self._options):
            retained = self._table.status_at(stamp, self._options).retained
            if not retained.all():
                self._table.prune(retained)
        newest = self._history.newest
        if len(newest.keys) != len(self._table):
            newest.delete(self._table.keys)

    def _usable(self, detections: Detections) -> Detections:
        """Return the valid detections above the lowest threshold, sorted by score."""
        valid = self._validated(detections)
        options = self._options
        if len(valid) > 1:  # the result must not depend on the order of the detections
            valid = valid.take(np.lexsort((*valid.boxes.T, -valid.scores)))
        enough = valid.scores >= min(options.low_score_threshold, options.score_threshold)
        return valid if all(enough.tolist()) else valid[enough]

    def _validated(self, detections: Detections) -> Detections:
        """Return the detections that may be faces; count the others.

        :returns: boxes in float64; landmarks NaN where there were none.
        """
        boxes = np.asarray(detections.boxes, np.float64).reshape(-1, 4)
        scores, landmarks = np.asarray(detections.scores), np.asarray(detections.landmarks)
        if len(landmarks) != len(boxes):
            landmarks = np.full((len(boxes), 5, 2), np.nan, np.float32)
        height, width = self._shape or _UNKNOWN_SHAPE
        valid = [
            _is_valid(box, score, width, height)
            for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)
        ]
        all_detections = Detections(int(detections.stamp), boxes, scores, landmarks)
        if all(valid):
            return all_detections
        self.rejected += valid.count(False)
        return all_detections[np.array(valid)]

    def _published(self, stamp: int, ahead: float) -> Tracks:
        """Return the published tracks ``ahead`` seconds after the newest image."""
        newest, table = self._history.newest, self._table
        states = newest.states
        camera = newest.camera_velocity(states.values[:2]) if newest.camera_moves else None
        if ahead > 0:
            states = scalar_kalman.predicted(states, ahead)
            if camera is not None:
                states = states.shifted(min(ahead, _MAX_CAMERA_MOTION) * camera)
        boxes, velocities = states.box_rows(), states.velocity_rows()
        if camera is not None:
            velocities = [
                (x + across, y + down)
                for (x, y), (across, down) in zip(velocities, camera.T.tolist(), strict=True)
            ]
        rows = self._published_rows(boxes, stamp)
        chosen = np.array(rows, np.intp)
        spawned, updated = table.spawned.tolist(), table.updated.tolist()
        return Tracks(
            stamp,
            table.ids.take(chosen),
            np.array([boxes[row] for row in rows], np.float32).reshape(-1, 4),
            table.scores.take(chosen),
            np.array([velocities[row] for row in rows], np.float32).reshape(-1, 2),
            np.array([(stamp - spawned[row]) / SECOND for row in rows], np.float32),
            np.array([(stamp - updated[row]) / SECOND for row in rows], np.float32),
        )

    def _published_rows(self, boxes: Rows, stamp: int) -> list[int]:
        """Return the rows of the tracks that are published, by rising id.

        :param boxes: x1, y1, x2, y2 of all tracks, pixels.
        """
        height, width = self._shape or _UNKNOWN_SHAPE
        rows = [
            row
            for row, (x1, y1, x2, y2) in enumerate(boxes)
            if not self._shape or (x1 < width and y1 < height and x2 > 0 and y2 > 0)
        ]
        if not self._table.is_settled(stamp, self._options):
            published = self._table.status_at(stamp, self._options).published.tolist()
            rows = [row for row in rows if published[row]]
        return sorted(rows, key=self._table.ids.tolist().__getitem__)

    def _handle_clock_jump(self, stamp: int) -> None:
        """Shift the time of all tracks to just before a stamp that is not later than the last."""
        if not len(self._history) or stamp > self._history.newest.stamp:
            return
        newest = self._history.newest
        shift = stamp - _USUAL_INTERVAL - newest.stamp
        self._table.shift(shift)
        newest.stamp += shift
        self._history.restart()
        self._timing.restart()
        waiting = [self._queue.popleft() for _ in range(len(self._queue))]
        self._queue.extend(late for late in waiting if late.stamp == stamp)
        self._last_detections = -1

    def _handle_resolution_change(self, image: Array | Frame | None) -> None:
        """Keep the tracks in place when the camera changes its resolution."""
        if image is None:
            return
        height, width = image.shape[:2]
        before, self._shape = self._shape, (height, width)
        if before is None or before == self._shape or not len(self._history):
            return
        newest = self._history.newest
        newest.states = newest.states.scaled(width / before[1], height / before[0])
        newest.pyramid = None
        self._history.restart()
        self._motion_estimator = self._create_motion_estimator()

    def _create_motion_estimator(self) -> MotionEstimator:
        return create_motion_estimator(self._options.visual_tracker, self._options.camera_motion)

    def _add_time(self, stage: str, started: float) -> None:
        """Add the time since ``started`` to ``timings``."""
        self.timings[stage] = self.timings.get(stage, 0.0) + 1e3 * (time.perf_counter() - started)


def _descriptors_needed(
    pairs: tuple[IntArray, IntArray] | None,
    spatial: SpatialCost,
    visible: BoolArray,
    lost: BoolArray,
    fresh: BoolArray,
    strong: BoolArray,
) -> BoolArray:
    """Return which cues of which detections association needs, bool (M, C).

    :param pairs: tracks and detections where the positions are unambiguous: appearance is then
        measured only to keep the descriptors up to date. Otherwise None: strong detections are
        described unless a track with a fresh descriptor is confirmed by position, and all of them
        where one is of no visible track; weak ones where only a lost track is expected.
    :param visible: bool (N,), see :class:`_Candidates`; so ``lost``.
    :param fresh: bool (N, C), descriptors of the tracks that need no new measurement.
    :param strong: bool (M,), detections that may spawn a track.
    """
    needed = np.zeros((len(strong), fresh.shape[1]), bool)
    if pairs is not None:
        tracks, detections = pairs
        needed[detections] = ~fresh[tracks]
        return needed
    confirmed = spatial.confirmed(visible & fresh.all(axis=1))
    newcomers = (strong & ~spatial.gate[visible].any(axis=0)).any()
    needed[strong & (newcomers | ~confirmed)] = True
    if not strong.all():
        reappearing = spatial.gate[lost].any(axis=0) & ~spatial.gate[visible].any(axis=0)
        needed[~strong & reappearing] = True
    return needed


def _are_clear(boxes: FloatArray, height: int, width: int) -> list[bool]:
    """Return which faces (N, 4) can be described in an image of a size.

    Not those at its edge or behind others.
    """
    inside = [
        x1 > 1 and y1 > 1 and x2 < width - 1 and y2 < height - 1
        for x1, y1, x2, y2 in boxes.tolist()
    ]
    if len(boxes) == 1:
        return inside
    alone = (box_arithmetic.iou(boxes, boxes) >= _CLEAR_IOU).sum(axis=1) == 1
    return [first and second for first, second in zip(inside, alone.tolist(), strict=True)]


def _is_valid(box: list[float], score: float, width: float, height: float) -> bool:
    """Return whether a box with a score may be that of a face; comparisons with NaN are False.

    :param width: of the image in pixels, like ``height``.
    """
    x1, y1, x2, y2 = box
    return (
        _MIN_SIDE_PX <= x2 - x1 <= _MAX_SIDE_RATIO * width
        and _MIN_SIDE_PX <= y2 - y1 <= _MAX_SIDE_RATIO * height
        and x1 < width
        and y1 < height
        and x2 > 0
        and y2 > 0
        and 0 <= score <= 1
    )


def _check_image(image: Array | Frame | None) -> None:
    if image is None or isinstance(image, Frame):
        return
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f'an image of shape {image.shape} and type {image.dtype} cannot be tracked',
            'pass a BGR image, uint8 of shape (height, width, 3)',
        )
