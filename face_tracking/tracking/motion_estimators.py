# SPDX-License-Identifier: Apache-2.0
"""What carries a face from image to image while no detection tells where it is.

A carrier reports how far each face moved since the image before, not where it is: where is the
business of the detections, and a late one must be able to move the past without the carrier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import cv2
import numpy as np

from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.optical_flow import Flow, Warp, measure

_SMALLEST_SIDE = 8.0


class MotionEstimator(ABC):
    """Measures the motion of faces, and of the background, between consecutive images.

    :param background: whether to measure that of the background.
    :ivar needs_reinitialization: whether :meth:`restart` is to be called.
    """

    def __init__(self, background: bool):
        self.background = background
        self.needs_reinitialization = False

    @abstractmethod
    def carry(
        self,
        keys: np.ndarray,
        boxes: np.ndarray,
        before: ImagePyramid,
        after: ImagePyramid,
        hint: Warp | None = None,
    ) -> Flow:
        """Follow faces from one image into the next.

        :param keys: int64 (N,), the tracks.
        :param boxes: float64 (N, 4), where they are in ``before``.
        :param hint: how the background probably moved.
        """

    def restart(
        self,
        keys: np.ndarray,
        boxes: np.ndarray,
        pyramid: ImagePyramid,
    ) -> None:
        """Take new views of tracks that a detection has just put right, if it ``needs_reinitialization``.

        :param keys: int64 (N,), the tracks.
        :param boxes: float64 (N, 4), where they are in ``image``, the newest.
        """


class OpticalFlowEstimator(MotionEstimator):
    """Sparse optical flow on each face."""

    def carry(self, keys, boxes, before, after, hint=None):
        """Follow points on the faces and on the background at once."""
        return measure(before, after, boxes, background=self.background, hint=hint)


class BackgroundEstimator(MotionEstimator):
    """Leaves the faces to the motion model."""

    def carry(self, keys, boxes, before, after, hint=None):
        """Measure the background alone."""
        return measure(before, after, boxes, faces=False, background=self.background, hint=hint)


class CorrelationTrackers(MotionEstimator):
    """One of OpenCV's single-object trackers for each face.

    ``kcf``: J. F. Henriques et al., "High-Speed Tracking with Kernelized Correlation Filters",
    2015. ``csrt``: A. Lukezic et al., "Discriminative Correlation Filter with Channel and Spatial
    Reliability", 2017. ``mosse``: D. S. Bolme et al., "Visual Object Tracking using Adaptive
    Correlation Filters", 2010. Only ``csrt`` measures size as well.
    """

    _MAKERS = {
        'kcf': cv2.TrackerKCF_create,
        'csrt': cv2.TrackerCSRT_create,
        'mosse': cv2.legacy.TrackerMOSSE_create,
    }

    def __init__(self, kind: str, background: bool):
        super().__init__(background)
        self.needs_reinitialization = True
        self._make = self._MAKERS[kind]
        self._measures_size = kind == 'csrt'
        self._followed: dict[int, tuple[object, np.ndarray]] = {}

    def carry(self, keys, boxes, before, after, hint=None):
        """Update each face's tracker; one that lost its face is dropped until restarted."""
        flow = measure(before, after, boxes, faces=False, background=self.background, hint=hint)
        self._followed = {key: self._followed[key] for key in keys if key in self._followed}
        motion, known = np.zeros((len(keys), 4)), np.zeros((len(keys), 4), bool)
        for row, key in enumerate(keys.tolist()):
            if key not in self._followed:
                continue
            tracker, old = self._followed.pop(key)
            found, corner_size = tracker.update(after.image)
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

    def restart(self, keys, boxes, pyramid):
        """Train a fresh tracker on each face that lies in the image well enough."""
        height, width = pyramid.shape
        low = np.clip(np.round(boxes[:, :2]), 0, (width, height))
        high = np.clip(np.round(boxes[:, 2:]), 0, (width, height))
        for key, corner, size in zip(keys.tolist(), low, high - low, strict=True):
            self._followed.pop(key, None)
            if (size < _SMALLEST_SIDE).any():
                continue
            tracker = self._make()
            tracker.init(pyramid.image, tuple(int(side) for side in (*corner, *size)))
            self._followed[key] = tracker, np.concatenate([corner, size])


def create_motion_estimator(name: str, background: bool) -> MotionEstimator:
    """Return the carrier of this name: ``flow``, ``kcf``, ``csrt``, ``mosse`` or ``none``."""
    simple = {'flow': OpticalFlowEstimator, 'none': BackgroundEstimator}
    return simple[name](background) if name in simple else CorrelationTrackers(name, background)
