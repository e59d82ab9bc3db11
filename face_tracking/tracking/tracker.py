# SPDX-License-Identifier: Apache-2.0
"""The tracker: every image, and every detection when it comes, make tracks."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import lru_cache

import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.errors import UserError
from face_tracking.faces import Detections, Tracks
from face_tracking.frame import Frame
from face_tracking.tracking import appearance
from face_tracking.tracking.association import Appearance, SpatialCost, associate
from face_tracking.tracking.history import Snapshot, StateHistory, locate
from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.kalman import States
from face_tracking.tracking.motion_estimators import create_motion_estimator
from face_tracking.tracking.optical_flow import Flow, Warp
from face_tracking.tracking.track_table import SECOND, TrackTable
from face_tracking.tracking.tracker_options import TrackerOptions

_REMEMBERED_SECONDS = 1.5
_SMALLEST_SIDE = 2.0
_USUAL_INTERVAL = SECOND // 30
_FARTHEST_DRIFT = 0.5  # seconds for which the camera is expected to go on turning
_CHECK_INTERVAL = SECOND // 8
_CLEAR = 0.15  # overlap with another detection up to which a view of a face is clear
_LARGEST = 1e5, 1e5  # height and width of an image that nobody has seen
_NOBODY, _NO_STATES = np.zeros(0, np.int64), States.empty()
_OUTWARDS = np.diag([1.0, 1, -1, -1])
# Of x1, y1, x2, y2, score: x1, y1, -x2, -y2, width, height, score, -width, -height, -score.
_MEASURES = np.array(
    [
        [1.0, 0, 0, 0, -1, 0, 0, 1, 0, 0],
        [0.0, 1, 0, 0, 0, -1, 0, 0, 1, 0],
        [0.0, 0, -1, 0, 1, 0, 0, -1, 0, 0],
        [0.0, 0, 0, -1, 0, 1, 0, 0, -1, 0],
        [0.0, 0, 0, 0, 0, 0, 1, 0, 0, -1],
    ]
)


class FaceTracker:
    """Follows faces under steady ids.

    Detections may come late and in any order; each is matched with the tracks as they were at its
    own stamp, and the motion since then is played again. :meth:`add_detections` may be called from
    any thread and returns at once; a lock lets one thread at a time into everything else.

    :ivar timings: milliseconds the last :meth:`step` spent, by stage: ``carry`` (visual tracker
        and camera motion, and shrinking the image for them), ``look`` (appearance), ``fuse``
        (all the rest) and ``total``.
    :ivar refused: how many boxes and late rounds of detection were dropped as unusable.
    """

    def __init__(self, options: TrackerOptions | None = None):
        self.timings: dict[str, float] = {}
        self.refused = 0
        self._options = options or TrackerOptions()
        self._motion_estimator = self._make_motion_estimator()
        self._register = TrackTable()
        self._history = StateHistory(_REMEMBERED_SECONDS)
        self._waiting: deque[Detections] = deque(maxlen=16)
        self._fused_stamp = -1
        self._checked_stamp = -SECOND
        self._shape: tuple[int, int] | None = None
        self._lock = threading.Lock()

    @property
    def options(self) -> TrackerOptions:
        """The options in force."""
        return self._options

    @property
    def known(self) -> int:
        """How many faces are followed, on trial, or remembered."""
        return len(self._register)

    def configure(self, options: TrackerOptions) -> None:
        """Put other options in force; tracks and ids stay."""
        with self._lock:
            before, self._options = self._options, options
            if (before.visual_tracker, before.camera_motion) != (
                options.visual_tracker,
                options.camera_motion,
            ):
                self._motion_estimator = self._make_motion_estimator()

    def add_detections(self, detections: Detections) -> None:
        """Hand in what the detector found in the image of ``detections.stamp``.

        It is fused at the next :meth:`step` or :meth:`predict`. A round with no face in it is
        evidence too, so hand that in as well. Let the detector report faces down to
        ``low_score_threshold``: weak ones never begin a track but keep one from being lost.
        """
        self._waiting.append(detections)

    def step(
        self, image: np.ndarray | Frame | None, stamp: int, camera_motion: Warp | None = None
    ) -> Tracks:
        """Take the next image and return the tracks as they are in it.

        :param image: a frame, or uint8 (height, width, 3) BGR; kept until the next call.
            None where only detections are to be had: then nothing carries the faces but their
            motion so far.
        :param stamp: the image's stamp in nanoseconds. One that is not later than the one
            before, as when a video loops or the clock is set, moves the tracks' time with it.
        :param camera_motion: how the background moved since the image before, as far as it
            follows from what the camera's joints did: there the image is searched for how it
            did move, and it is taken as it is where the image does not tell.
        :raises UserError: the image has another shape or type.
        """
        _check_image(image)
        with self._lock:
            start = time.perf_counter()
            self.timings = {'carry': 0.0, 'look': 0.0}
            stamp = int(stamp)
            self._handle_clock_jump(stamp)
            self._handle_resolution_change(image)
            self._fuse_waiting()
            self._move_to(image, stamp, camera_motion)
            self._fuse_waiting()
            self._drop_dead(stamp)
            self._check_sight()
            tracks = self._tracks(stamp, 0.0)
            total = 1e3 * (time.perf_counter() - start)
            self.timings['fuse'] = total - sum(self.timings.values())
            self.timings['total'] = total
            return tracks

    def predict(self, stamp: int) -> Tracks:
        """Return where the tracks will be at ``stamp``, nanoseconds, as far as is known now.

        A stamp before the newest image's gives the tracks in that image.
        """
        with self._lock:
            if not len(self._history):
                return Tracks(stamp=int(stamp))
            self._fuse_waiting()
            newest = self._history.newest.stamp
            stamp = max(int(stamp), newest)
            return self._tracks(stamp, (stamp - newest) / SECOND)

    def _make_motion_estimator(self):
        return create_motion_estimator(self._options.visual_tracker, self._options.camera_motion)

    def _handle_clock_jump(self, stamp: int) -> None:
        """Move all that was to just before a stamp that does not follow."""
        if not len(self._history) or stamp > self._history.newest.stamp:
            return
        newest = self._history.newest
        shift = stamp - _USUAL_INTERVAL - newest.stamp
        self._register.shift(shift)
        newest.stamp += shift
        self._history.clear()
        self._history.append(newest)
        self._waiting = deque(
            (late for late in self._waiting if late.stamp == stamp), self._waiting.maxlen
        )
        self._fused_stamp = -1

    def _handle_resolution_change(self, image: np.ndarray | Frame | None) -> None:
        """Keep the tracks in place when the camera changes its resolution."""
        if image is None:
            return
        before, self._shape = self._shape, image.shape[:2]
        if before in (None, self._shape) or not len(self._history):
            return
        newest = self._history.newest
        newest.states = newest.states.scaled(
            self._shape[1] / before[1], self._shape[0] / before[0]
        )
        newest.pyramid = None
        self._history.clear()
        self._history.append(newest)
        self._motion_estimator = self._make_motion_estimator()

    def _move_to(self, image: np.ndarray | Frame | None, stamp: int, hint: Warp | None) -> None:
        """Bring the tracks to a new image and remember how they came there."""
        last = self._history.newest if len(self._history) else None
        carried = self._register.standing(stamp, self._options).carried
        started = time.perf_counter()
        pyramid = None if image is None else ImagePyramid(image)
        if pyramid is None or last is None or last.pyramid is None:
            flow = Flow.unknown(len(carried))
        else:
            flow = self._motion_estimator.carry(
                carried, last.of(carried).boxes(), last.pyramid, pyramid, hint
            )
        self.timings['carry'] += 1e3 * (time.perf_counter() - started)
        moment = Snapshot(
            stamp,
            0.0,
            flow.warp or hint,
            carried,
            flow.motion,
            flow.deviation,
            _NOBODY,
            _NO_STATES,
            pyramid,
        )
        if last is not None:
            moment.follow(last)
            if last.pyramid is not None:
                last.pyramid.release()
        self._history.append(moment)

    def _fuse_waiting(self) -> None:
        """Fuse what has arrived for images already seen; leave what is for those to come."""
        if not self._waiting or not len(self._history):
            return
        newest = self._history.newest.stamp
        arrived = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for detections in sorted(arrived, key=lambda late: late.stamp):
            if newest < detections.stamp <= newest + SECOND:
                self._waiting.append(detections)
                continue
            index = self._history.find(detections.stamp)
            if index is None:
                self.refused += 1
            else:
                self._fuse(self._usable(detections), index)

    def _fuse(self, detections: Detections, index: int) -> None:
        """Match detections with the tracks at one moment, correct them, and return to now."""
        moment, register, options = self._history.at(index), self._register, self._options
        stamp = detections.stamp
        in_time = stamp > self._fused_stamp
        self._fused_stamp = max(self._fused_stamp, stamp)
        _, rows = locate(moment.keys, register.keys)
        keys, states = register.keys.take(rows), moment.of(register.keys)
        detections, found, taken, elsewhere, seen = self._match(
            moment.pyramid, states, rows, detections
        )
        if len(found):
            matched = detections.take(taken)
            states = _corrected(states, found, matched, elsewhere)
            self._note(rows.take(found), matched, seen, taken)
        changed = keys.take(found) if self._motion_estimator.needs_reinitialization else _NOBODY
        if in_time:
            if len(found) < len(register):
                missed = np.ones(len(register), bool)
                missed[rows[found]] = False
                register.miss(missed)
            new = self._newcomers(detections, taken)
            if len(new):
                begun = register.begin(stamp, detections.scores[new])
                self._note(locate(register.keys, begun)[0], detections[new], seen, new)
                keys, changed = np.concatenate([keys, begun]), np.concatenate([changed, begun])
                states = states.joined(States.at_rest(detections.boxes[new]))
        self._history.correct_and_replay(index, keys, states)
        self._restart(changed)
        for over in (register.confirm(stamp, options), register.recognize(stamp, options)):
            if len(over):
                register.keep(~np.isin(register.keys, over))
        self._drop_dead(self._history.newest.stamp)

    def _match(
        self,
        pyramid: ImagePyramid | None,
        states: States,
        rows: np.ndarray,
        detections: Detections,
    ) -> tuple[Detections, np.ndarray, np.ndarray, np.ndarray, Appearance | None]:
        """Say which tracks the detections continue.

        :param states: of N tracks at the detections' stamp, in the register's ``rows`` (N,).
        :returns: the detections, in an order that says nothing where order might matter; tracks,
            rising, int (K,); their detections, int (K,); which of these pairs were found in
            another place than expected, int; and how all the detections look, as far as that was
            asked, None where it was not.
        """
        register, options, stamp = self._register, self._options, detections.stamp
        places = SpatialCost(states, detections.boxes, options.iou_threshold)
        obvious = self._match_obvious(pyramid, places, rows, detections)
        if obvious is not None:
            found, taken, seen = obvious
            return detections, found, taken, _NOBODY, seen
        detections = _in_order(detections)
        places = SpatialCost(states, detections.boxes, options.iou_threshold)
        strong = detections.scores >= options.score_threshold
        remembered = register.standing(stamp, options).remembered[rows]
        settled = places.settled(register.familiar(stamp)[rows] & ~remembered)
        seen = self._seen(pyramid, detections, (strong & ~settled).nonzero()[0])
        match, elsewhere = associate(
            places,
            register.appearances(rows),
            remembered,
            seen or Appearance.none(len(strong)),
            strong,
            options.appearance_threshold,
        )
        taken = (match >= 0).nonzero()[0]
        taken = taken[match[taken].argsort()]
        return detections, match[taken], taken, elsewhere[taken].nonzero()[0], seen

    def _match_obvious(
        self,
        pyramid: ImagePyramid | None,
        places: SpatialCost,
        rows: np.ndarray,
        detections: Detections,
    ) -> tuple[np.ndarray, np.ndarray, Appearance | None] | None:
        """Match where place leaves no doubt, and looks, where they are to be learned, agree."""
        register, options, stamp = self._register, self._options, detections.stamp
        if not all((detections.scores >= options.score_threshold).tolist()):
            return None
        pairs = places.obvious(register.standing(stamp, options).present.take(rows))
        if pairs is None:
            return None
        if register.all_familiar(stamp):
            return *pairs, None
        found, taken = pairs
        mine = rows.take(found)
        seen = self._seen(pyramid, detections, taken[~register.familiar(stamp)[mine]], apart=True)
        if seen is None or seen[taken].could_be(register.appearances(mine)):
            return found, taken, seen
        return None

    def _newcomers(self, detections: Detections, taken: np.ndarray) -> np.ndarray:
        """Return which detections, besides those ``taken``, begin tracks, int."""
        if len(taken) == len(detections):
            return _NOBODY
        new = detections.scores >= self._options.score_threshold
        new[taken] = False
        standing = self._register.standing(detections.stamp, self._options)
        room = self._options.max_tracks - np.count_nonzero(~standing.remembered)
        return new.nonzero()[0][: max(0, room)]

    def _note(
        self, rows: np.ndarray, detections: Detections, seen: Appearance | None, which: np.ndarray
    ) -> None:
        """Enter detections (K,) into the register's ``rows`` (K,).

        :param seen: how they look, in the rows ``which`` (K,).
        """
        self._register.hit(rows, detections.stamp, detections.scores, detections.landmarks[:, :2])
        if seen is None:
            return
        clear = seen.known[which]
        if clear.any():
            self._register.view(
                rows[clear], detections.stamp, seen.values[which[clear]], detections.scores[clear]
            )

    def _seen(
        self,
        pyramid: ImagePyramid | None,
        detections: Detections,
        asked: np.ndarray,
        apart: bool = False,
    ) -> Appearance | None:
        """Return how the detections look of which it is ``asked``, int (K,), and can be told.

        :param apart: whether they are known not to hide each other.
        """
        if pyramid is None or not self._options.appearance or not len(asked):
            return None
        started = time.perf_counter()
        boxes, looks = detections.boxes, Appearance.none(len(detections))
        clear = (boxes[asked].dot(_OUTWARDS) > _innermost(pyramid.shape)).all(axis=1)
        if not apart:  # one that is has but itself near
            clear &= (box_arithmetic.iou(boxes[asked], boxes) >= _CLEAR).sum(axis=1) == 1
        rows = asked[clear]
        looks.values[rows] = appearance.look(
            pyramid, boxes[rows], appearance.lean(detections.landmarks[rows])
        )
        looks.known[rows] = True
        self.timings['look'] += 1e3 * (time.perf_counter() - started)
        return looks

    def _check_sight(self) -> None:
        """Look whether the faces that were not detected just now can be seen at all."""
        newest, register = self._history.newest, self._register
        if abs(newest.stamp - self._checked_stamp) < _CHECK_INTERVAL:
            return
        unsure = register.seen < newest.stamp
        if newest.pyramid is None or not self._options.appearance or not any(unsure.tolist()):
            return
        started = time.perf_counter()
        unsure &= register.known
        unsure &= ~register.standing(newest.stamp, self._options).remembered
        rows = unsure.nonzero()[0]
        if not len(rows):
            return
        self._checked_stamp = newest.stamp
        boxes = newest.of(register.keys[rows]).boxes()
        looks = appearance.look(newest.pyramid, boxes, appearance.lean(register.eyes[rows]))
        register.check(rows, looks)
        self.timings['look'] += 1e3 * (time.perf_counter() - started)

    def _restart(self, keys: np.ndarray) -> None:
        newest = self._history.newest
        if (
            self._motion_estimator.needs_reinitialization
            and newest.pyramid is not None
            and len(keys)
        ):
            keys = np.sort(keys)
            rows, found = locate(newest.keys, keys)
            self._motion_estimator.restart(
                keys[found], newest.states[rows].boxes(), newest.pyramid
            )

    def _drop_dead(self, stamp: int) -> None:
        """Forget the tracks whose time is over."""
        alive = self._register.standing(stamp, self._options).alive
        if len(alive) < len(self._register):
            self._register.keep(alive)
        newest = self._history.newest
        if len(newest.keys) != len(self._register):
            rows, _ = locate(newest.keys, self._register.keys)
            newest.keys, newest.states = newest.keys[rows], newest.states[rows]

    def _usable(self, detections: Detections) -> Detections:
        """Drop impossible and too weak boxes."""
        rows = np.empty((len(detections.boxes), 5))
        rows[:, :4], rows[:, 4] = detections.boxes, detections.scores
        landmarks = np.asarray(detections.landmarks)
        if len(landmarks) != len(rows):
            landmarks = np.full((len(rows), 5, 2), np.nan, np.float32)
        shape, options = self._shape or _LARGEST, self._options
        least = min(options.low_score_threshold, options.score_threshold)
        fits = _fits(rows, shape, least)
        if np.count_nonzero(fits) < fits.size:
            good = fits.all(axis=1)
            self.refused += len(good) - int(_fits(rows, shape, 0.0).all(axis=1).sum())
            rows, landmarks = rows[good], landmarks[good]
        return Detections(int(detections.stamp), rows[:, :4], rows[:, 4], landmarks)

    def _tracks(self, stamp: int, ahead: float) -> Tracks:
        """Return the tracks in sight ``ahead`` seconds after the newest image."""
        newest, register = self._history.newest, self._register
        states, rows = newest.states, register.standing(stamp, self._options).shown
        drift = newest.drift(states.values[:2]) if newest.turning else None
        if ahead > 0:
            states = states.predicted(ahead)
            if drift is not None:
                states = states.shifted(min(ahead, _FARTHEST_DRIFT) * drift)
        boxes = states.boxes()
        if self._shape:
            outside = boxes.dot(_OUTWARDS) >= _outermost(self._shape)
            if np.count_nonzero(outside):
                rows = rows[~outside.any(axis=1)[rows]]
        velocities = states.rates[:2].T if drift is None else (states.rates[:2] + drift).T
        passed = (stamp - register.times.take(rows, axis=0)) / SECOND
        ages, unseen = passed.astype(np.float32).T
        return Tracks(
            stamp,
            register.ids.take(rows),
            boxes.take(rows, axis=0).astype(np.float32),
            register.scores.take(rows),
            velocities.take(rows, axis=0).astype(np.float32),
            ages,
            unseen,
        )


def _corrected(
    states: States, rows: np.ndarray, detections: Detections, elsewhere: np.ndarray
) -> States:
    """Return the states after those in ``rows`` were detected, one detection each.

    :param elsewhere: which of the detections have nothing to do with where the track was, int.
    """
    doubt = 3.0 - 2.0 * detections.scores
    if len(rows) == len(states):  # each has its own, so the rows are in order
        states = states.seen_at(detections.boxes, doubt)
    else:
        states = states.replaced(rows, states[rows].seen_at(detections.boxes, doubt))
    if not len(elsewhere):
        return states
    return states.replaced(rows[elsewhere], States.at_rest(detections.boxes[elsewhere]))


def _in_order(detections: Detections) -> Detections:
    """Return the detections, best first, in an order that is always the same."""
    return detections[np.lexsort((*detections.boxes.T, -detections.scores))]


@lru_cache(maxsize=8)
def _outermost(shape: tuple[float, float]) -> np.ndarray:
    """Return x1, y1, -x2 and -y2, (4,), from which a box lies outside an image of this shape."""
    return np.array([shape[1], shape[0], 0.0, 0.0])


@lru_cache(maxsize=8)
def _innermost(shape: tuple[float, float]) -> np.ndarray:
    """Return x1, y1, -x2 and -y2, (4,), beyond which a box lies inside an image of this shape."""
    return np.array([1.0, 1.0, 1.0 - shape[1], 1.0 - shape[0]])


def _fits(rows: np.ndarray, shape: tuple[float, float], least: float) -> np.ndarray:
    """Return which measures of boxes and scores (N, 5) can be those of faces, bool (N, 10).

    :param shape: height and width of the image.
    :param least: the least score.
    """
    # What is infinite makes no number, without a warning; no number compares as False.
    return rows.dot(_MEASURES) <= _limits(shape, least)


@lru_cache(maxsize=8)
def _limits(shape: tuple[float, float], least: float) -> np.ndarray:
    """Return the greatest measures, (10,): see ``_MEASURES``."""
    height, width = shape
    hair = 1e-9  # what only touches the image is not in it
    return np.array(
        [
            width - hair,
            height - hair,
            -hair,
            -hair,
            2 * width,
            2 * height,
            1,
            -_SMALLEST_SIDE,
            -_SMALLEST_SIDE,
            -least,
        ]
    )


def _check_image(image: np.ndarray | Frame | None) -> None:
    if image is None or isinstance(image, Frame):
        return
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f'an image {image.shape} of {image.dtype} cannot be tracked',
            'hand in uint8 (height, width, 3), BGR',
        )
