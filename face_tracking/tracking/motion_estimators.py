# SPDX-License-Identifier: Apache-2.0
"""Motion estimators: how far each face moved from one image to the next.

They report motion, not positions: positions come from the detections, and a late detection must
be able to correct the past without the motion estimator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, cast

import cv2
import numpy as np

from face_tracking.arrays import Array, FloatArray, IntArray
from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.optical_flow import Flow, Warp, measure

_MIN_SIDE = 8.0


class MotionEstimator(ABC):
    """Measures the motion of faces, and of the background, between consecutive images.

    :param background: whether to measure the motion of the background.
    :ivar needs_reinitialization: whether :meth:`reinitialize` is to be called after detections.
    :ivar allows_gaps: whether images may be left out.
    """

    allows_gaps = False

    def __init__(self, background: bool):
        self.background = background
        self.needs_reinitialization = False

    @abstractmethod
    def estimate(
        self,
        keys: IntArray,
        boxes: FloatArray,
        before: ImagePyramid,
        after: ImagePyramid,
        hint: Warp | None = None,
    ) -> Flow:
        """Measure the motion of faces from one image to the next.

        :param keys: int64 (N,), the tracks.
        :param boxes: float64 (N, 4), their boxes in ``before``, pixels.
        :param hint: how the background is expected to move.
        """

    def reinitialize(  # noqa: B027  (most estimators need none)
        self,
        keys: IntArray,
        boxes: FloatArray,
        pyramid: ImagePyramid,
    ) -> None:
        """Initialize the visual trackers of tracks that a detection has just corrected.

        :param keys: int64 (N,), the tracks.
        :param boxes: float64 (N, 4), their boxes in the newest image, pixels.
        :param pyramid: that image.
        """


class OpticalFlowEstimator(MotionEstimator):
    """Sparse optical flow on each face."""

    allows_gaps = True

    def estimate(
        self,
        keys: IntArray,
        boxes: FloatArray,
        before: ImagePyramid,
        after: ImagePyramid,
        hint: Warp | None = None,
    ) -> Flow:
        """Follow points on the faces and on the background in one call."""
        return measure(before, after, boxes, background=self.background, hint=hint)


class BackgroundEstimator(MotionEstimator):
    """Measures the background alone; the faces are left to the motion model."""

    def estimate(
        self,
        keys: IntArray,
        boxes: FloatArray,
        before: ImagePyramid,
        after: ImagePyramid,
        hint: Warp | None = None,
    ) -> Flow:
        """Measure the motion of the background."""
        return measure(before, after, boxes, faces=False, background=self.background, hint=hint)


class CorrelationTrackers(MotionEstimator):
    """One of OpenCV's single-object trackers for each face.

    ``kcf``: J. F. Henriques et al., "High-Speed Tracking with Kernelized Correlation Filters",
    2015. ``csrt``: A. Lukezic et al., "Discriminative Correlation Filter with Channel and Spatial
    Reliability", 2017. ``mosse``: D. S. Bolme et al., "Visual Object Tracking using Adaptive
    Correlation Filters", 2010. Only ``csrt`` measures size as well.
    """

    _MAKERS: ClassVar[dict[str, Callable[[], cv2.Tracker | cv2.legacy.Tracker]]] = {
        'kcf': cv2.TrackerKCF.create,
        'csrt': cv2.TrackerCSRT.create,
        'mosse': cv2.legacy.TrackerMOSSE.create,
    }

    def __init__(self, kind: str, background: bool):
        super().__init__(background)
        self.needs_reinitialization = True
        self._make = self._MAKERS[kind]
        self._measures_size = kind == 'csrt'
        self._followed: dict[int, tuple[cv2.Tracker | cv2.legacy.Tracker, FloatArray]] = {}

    def estimate(
        self,
        keys: IntArray,
        boxes: FloatArray,
        before: ImagePyramid,
        after: ImagePyramid,
        hint: Warp | None = None,
    ) -> Flow:
        """Update the tracker of each face; one that lost its face waits for a detection."""
        flow = measure(before, after, boxes, faces=False, background=self.background, hint=hint)
        self._followed = {key: self._followed[key] for key in keys if key in self._followed}
        motion, known = np.zeros((len(keys), 4)), np.zeros((len(keys), 4), bool)
        for row, key in enumerate(keys.tolist()):
            if key not in self._followed:
                continue
            tracker, old = self._followed.pop(key)
            found, corner_size = tracker.update(cast('Array', after.image))  # not released
            new = np.asarray(corner_size, np.float64)
            if not found or not np.isfinite(new).all() or (new[2:] < 1).any():
                continue
            self._followed[key] = tracker, new
            motion[row, :2] = (new[:2] + new[2:] / 2) - (old[:2] + old[2:] / 2)
            known[row, :2] = True
            if self._measures_size:
                motion[row, 2:] = np.log(new[2:] / old[2:])
                known[row, 2:] = True
        size = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        unit = np.stack([size, size, np.ones_like(size), np.ones_like(size)], axis=1)
        return Flow(flow.warp, motion, np.where(known, 0.02 * unit, np.inf))

    def reinitialize(self, keys: IntArray, boxes: FloatArray, pyramid: ImagePyramid) -> None:
        """Initialize a tracker on each face of which enough lies in the image."""
        height, width = pyramid.shape
        low = np.clip(np.round(boxes[:, :2]), 0, (width, height))
        high = np.clip(np.round(boxes[:, 2:]), 0, (width, height))
        for key, corner, size in zip(keys.tolist(), low, high - low, strict=True):
            self._followed.pop(key, None)
            if (size < _MIN_SIDE).any():
                continue
            tracker = self._make()
            tracker.init(
                cast('Array', pyramid.image), tuple(int(side) for side in (*corner, *size))
            )
            self._followed[key] = tracker, np.concatenate([corner, size])


def create_motion_estimator(name: str, background: bool) -> MotionEstimator:
    """Return the motion estimator ``flow``, ``kcf``, ``csrt``, ``mosse`` or ``none``."""
    simple = {'flow': OpticalFlowEstimator, 'none': BackgroundEstimator}
    return simple[name](background) if name in simple else CorrelationTrackers(name, background)
