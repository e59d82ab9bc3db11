# SPDX-License-Identifier: Apache-2.0
"""Who follows the faces of a sequence: our tracker, and those it is measured against.

Each is a :class:`Follower`: it gets every image, and with some of them what the detector found
there, and says who is where. None of them renders, detects or looks at the truth.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod

import cv2
import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.tracking.association import assign
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions

INSTALL = 'install it: pip install --no-deps -r dev/requirements-evaluation.txt'


class Follower(ABC):
    """Somebody who follows faces from image to image."""

    @abstractmethod
    def step(
        self, image: np.ndarray, stamp: int, found: Detections | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the next image.

        :param image: uint8 (height, width, 3), BGR.
        :param stamp: nanoseconds.
        :param found: what the detector found in it; None where it did not look.
        :returns: ids, int (N,), and boxes, float (N, 4).
        """


class FaceTrackerFollower(Follower):
    """This package's tracker."""

    def __init__(self, options: TrackerOptions | None = None):
        self.tracker = FaceTracker(options)

    def step(self, image, stamp, found):
        """Fuse what was found, if anything, and move on to the image."""
        if found is not None:
            self.tracker.add_detections(found)
        tracks = self.tracker.step(image, stamp)
        return tracks.ids, tracks.boxes


class LibraryFollower(Follower):
    """SORT or ByteTrack as the package ``trackers`` has them, with their own default settings.

    Both expect detections with every image. Where there are none, because the detector looks
    only at every Nth, their boxes are carried on at the speed they last had, which does better
    than leaving them where they were and much better than telling them that nobody is there.

    :param kind: ``sort`` or ``bytetrack``.
    :param score_threshold: score from which a detection may begin a track, as with ours.
    """

    def __init__(self, kind: str, score_threshold: float = 0.7):
        library, self._records = _import_trackers()
        maker = {'sort': library.SORTTracker, 'bytetrack': library.ByteTrackTracker}[kind]
        self._tracker = maker(track_activation_threshold=score_threshold)
        self._before = (0, np.zeros(0, int), np.zeros((0, 4)))
        self._last = self._before

    def step(self, image, stamp, found):
        """Update with what was found, or carry on."""
        if found is None:
            return self._carry_on(stamp)
        record = self._records.Detections(
            xyxy=found.boxes.astype(np.float32).reshape(-1, 4),
            confidence=found.scores.astype(np.float32),
            class_id=np.zeros(len(found), int),
        )
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            tracked = self._tracker.update(record, timestamp=stamp / 1e9)
        known = np.asarray(tracked.tracker_id) >= 0
        self._before = self._last
        self._last = stamp, np.asarray(tracked.tracker_id)[known], tracked.xyxy[known]
        return self._last[1:]

    def _carry_on(self, stamp):
        (before, old_ids, old_boxes), (last, ids, boxes) = self._before, self._last
        _, old, new = np.intersect1d(old_ids, ids, return_indices=True)
        if not len(new):
            return ids, boxes
        boxes = boxes.astype(float)
        speed = (boxes[new] - old_boxes[old]) / (last - before)
        boxes[new] += speed * (stamp - last)
        return ids, boxes


class DetectAndTrackFollower(Follower):
    """The scheme of the article this package grew from: detect, then KCF until the next time.

    There is no motion model. A detection that overlaps a followed box takes over its id;
    otherwise it gets the next one, and a face that the detector does not confirm is dropped.
    """

    def __init__(self, score_threshold: float = 0.7, overlap: float = 0.3):
        self._score_threshold = score_threshold
        self._overlap = overlap
        self._last_id = 0
        self._followed: dict[int, tuple[object, np.ndarray]] = {}

    def step(self, image, stamp, found):
        """Follow with KCF, or begin anew from what was found."""
        self._follow(image)
        if found is not None:
            boxes = found.boxes[found.scores >= self._score_threshold]
            self._begin(image, self._named(boxes), boxes)
        ids = np.array(list(self._followed), int)
        return ids, np.array([box for _, box in self._followed.values()]).reshape(-1, 4)

    def _follow(self, image):
        after = {}
        for identity, (tracker, _) in self._followed.items():
            good, (x, y, width, height) = tracker.update(image)
            if good:
                after[identity] = tracker, np.array([x, y, x + width, y + height], float)
        self._followed = after

    def _named(self, boxes):
        ids = list(self._followed)
        old = np.array([box for _, box in self._followed.values()]).reshape(-1, 4)
        overlap = box_arithmetic.iou(old, boxes)
        names = {
            column: ids[row]
            for row, column in zip(*assign(1 - overlap, overlap >= self._overlap), strict=True)
        }
        for column in range(len(boxes)):
            if column not in names:
                self._last_id += 1
                names[column] = self._last_id
        return [names[column] for column in range(len(boxes))]

    def _begin(self, image, ids, boxes):
        self._followed = {}
        height, width = image.shape[:2]
        for identity, box in zip(ids, box_arithmetic.clip(boxes, width, height), strict=True):
            x1, y1, x2, y2 = (round(side) for side in box.tolist())
            if x2 - x1 >= 4 and y2 - y1 >= 4:
                tracker = cv2.TrackerKCF_create()
                tracker.init(image, (x1, y1, x2 - x1, y2 - y1))
                self._followed[identity] = tracker, box


def _import_trackers():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import supervision
            import trackers
    except ImportError as error:
        raise UserError(f'the evaluation needs the package trackers ({error})', INSTALL) from error
    return trackers, supervision
