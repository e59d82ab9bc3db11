# SPDX-License-Identifier: Apache-2.0
"""The trackers that are evaluated: this package's own, and the baselines beside it.

Each is an :class:`EvaluatedTracker`: it gets every image, and with some of them the detections,
and returns ids and boxes. None of them renders or detects, and only the ideal one has the ground
truth.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import ModuleType

import cv2
import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.arrays import Array, FloatArray, IntArray
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.simulation.rendering import GroundTruth
from face_tracking.tracking.association import assign
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions

_COVERED = 0.3  # IoU from which a detection is of a face
INSTALL = 'install it: pip install --no-deps -r dev/requirements-evaluation.txt'

_CLASSES = {
    'sort': 'SORTTracker',
    'bytetrack': 'ByteTrackTracker',
    'ocsort': 'OCSORTTracker',
    'botsort': 'BoTSORTTracker',
    'cbiou': 'CBIoUTracker',
}
LIBRARY_TRACKERS = tuple(_CLASSES)
"""Names of the trackers of the package ``trackers`` that need no network."""


class EvaluatedTracker(ABC):
    """A tracker as the evaluation uses it."""

    @abstractmethod
    def step(
        self, image: Array, stamp: int, found: Detections | None
    ) -> tuple[IntArray, FloatArray]:
        """Process the next image.

        :param image: uint8 (height, width, 3), BGR.
        :param stamp: nanoseconds.
        :param found: the detections in it; None where the detector did not run.
        :returns: ids, int (N,), and boxes, float (N, 4).
        """


class OwnTracker(EvaluatedTracker):
    """This package's tracker."""

    def __init__(self, options: TrackerOptions | None = None):
        self.tracker = FaceTracker(options)

    def step(
        self, image: Array, stamp: int, found: Detections | None
    ) -> tuple[IntArray, FloatArray]:
        """Add the detections, if any, and process the image."""
        if found is not None:
            self.tracker.add_detections(found)
        tracks = self.tracker.step(image, stamp)
        return tracks.ids, tracks.boxes


class LibraryTracker(EvaluatedTracker):
    """A tracker of the package ``trackers`` with its own default settings.

    SORT: A. Bewley et al., 2016. ByteTrack: Y. Zhang et al., 2022. OC-SORT: J. Cao et al., 2023.
    BoT-SORT: N. Aharon et al., 2022, with camera motion compensation and without appearance.
    C-BIoU: F. Yang et al., 2023. All expect detections with every image. In images without, their
    boxes are moved on with their last velocity, which is better than to leave them in place and
    much better than to report that no face was found.

    :param kind: one of :data:`LIBRARY_TRACKERS`.
    :param score_threshold: minimum score of a detection that spawns a track, as in this package.
    """

    def __init__(self, kind: str, score_threshold: float = 0.7):
        library, self._records = _import_trackers()
        threshold = 'high_conf_det_threshold' if kind == 'ocsort' else 'track_activation_threshold'
        self._tracker = getattr(library, _CLASSES[kind])(**{threshold: score_threshold})
        self._before: tuple[int, IntArray, FloatArray] = (0, np.zeros(0, int), np.zeros((0, 4)))
        self._last = self._before

    def step(
        self, image: Array, stamp: int, found: Detections | None
    ) -> tuple[IntArray, FloatArray]:
        """Update with the detections, or extrapolate."""
        if found is None:
            return self._extrapolated(stamp)
        record = self._records.Detections(
            xyxy=found.boxes.astype(np.float32).reshape(-1, 4),
            confidence=found.scores.astype(np.float32),
            class_id=np.zeros(len(found), int),
        )
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            tracked = self._tracker.update(record, frame=image, timestamp=stamp / 1e9)
        known = np.asarray(tracked.tracker_id) >= 0
        self._before = self._last
        self._last = stamp, np.asarray(tracked.tracker_id)[known], tracked.xyxy[known]
        return self._last[1:]

    def _extrapolated(self, stamp: int) -> tuple[IntArray, FloatArray]:
        (before, old_ids, old_boxes), (last, ids, boxes) = self._before, self._last
        _, old, new = np.intersect1d(old_ids, ids, return_indices=True)
        if not len(new):
            return ids, boxes
        boxes = boxes.astype(float)
        velocity = (boxes[new] - old_boxes[old]) / (last - before)
        boxes[new] += velocity * (stamp - last)
        return ids, boxes


class DetectAndTrack(EvaluatedTracker):
    """The scheme of the article this package started from: detect, then KCF until the next time.

    There is no motion model. A detection that overlaps a tracked box takes over its id; otherwise
    it gets the next one, and a face that the detector does not confirm is dropped.
    """

    def __init__(self, score_threshold: float = 0.7, iou_threshold: float = 0.3):
        self._score_threshold = score_threshold
        self._iou_threshold = iou_threshold
        self._last_id = 0
        self._tracked: dict[int, tuple[cv2.Tracker, FloatArray]] = {}

    def step(
        self, image: Array, stamp: int, found: Detections | None
    ) -> tuple[IntArray, FloatArray]:
        """Track with KCF, or initialize KCF with the detections."""
        self._track(image)
        if found is not None:
            boxes = found.boxes[found.scores >= self._score_threshold]
            self._initialize(image, self._ids_of(boxes), boxes)
        ids = np.array(list(self._tracked), int)
        return ids, np.array([box for _, box in self._tracked.values()]).reshape(-1, 4)

    def _track(self, image: Array) -> None:
        after: dict[int, tuple[cv2.Tracker, FloatArray]] = {}
        for identity, (tracker, _) in self._tracked.items():
            good, (x, y, width, height) = tracker.update(image)
            if good:
                after[identity] = tracker, np.array([x, y, x + width, y + height], float)
        self._tracked = after

    def _ids_of(self, boxes: FloatArray) -> list[int]:
        ids = list(self._tracked)
        old = np.array([box for _, box in self._tracked.values()]).reshape(-1, 4)
        overlap = box_arithmetic.iou(old, boxes)
        names = {
            column: ids[row]
            for row, column in zip(
                *assign(1 - overlap, overlap >= self._iou_threshold), strict=True
            )
        }
        for column in range(len(boxes)):
            if column not in names:
                self._last_id += 1
                names[column] = self._last_id
        return [names[column] for column in range(len(boxes))]

    def _initialize(self, image: Array, ids: Iterable[int], boxes: FloatArray) -> None:
        self._tracked = {}
        height, width = image.shape[:2]
        for identity, box in zip(ids, box_arithmetic.clip(boxes, width, height), strict=True):
            x1, y1, x2, y2 = (round(side) for side in box.tolist())
            if x2 - x1 >= 4 and y2 - y1 >= 4:
                tracker = cv2.TrackerKCF.create()
                tracker.init(image, (x1, y1, x2 - x1, y2 - y1))
                self._tracked[identity] = tracker, box


class IdealAssociation(EvaluatedTracker):
    """The detections under the ids of the ground truth: the limit of all association.

    It shows how much of what a tracker loses is the detector's. Meant for detection in every
    image; in others it repeats its last answer.

    :param truths: the ground truth of each image.
    """

    def __init__(self, truths: Iterable[GroundTruth]):
        self._truths = {truth.stamp: truth for truth in truths}
        self._last: tuple[IntArray, FloatArray] = np.zeros(0, int), np.zeros((0, 4))

    def step(
        self, image: Array, stamp: int, found: Detections | None
    ) -> tuple[IntArray, FloatArray]:
        """Look up the ids of the faces that the detections cover."""
        if found is not None:
            truth = self._truths[stamp]
            overlap = box_arithmetic.iou(truth.boxes, found.boxes)
            rows, columns = assign(1 - overlap, overlap >= _COVERED)
            self._last = truth.ids[rows], found.boxes[columns]
        return self._last


def _import_trackers() -> tuple[ModuleType, ModuleType]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import supervision
            import trackers
    except ImportError as error:
        raise UserError(f'the evaluation needs the package trackers ({error})', INSTALL) from error
    return trackers, supervision
