# SPDX-License-Identifier: Apache-2.0
"""What carries a face from picture to picture while no detection tells where it is.

A carrier reports how far each face moved since the picture before, not where it is: where is the
business of the detections, and a late one must be able to move the past without the carrier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import cv2
import numpy as np

_SMALLEST_SIDE = 8.0


class Carrier(ABC):
    """Measures the motion of faces between consecutive pictures."""

    @abstractmethod
    def carry(self, keys: np.ndarray, boxes: np.ndarray,
              image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow faces into the next picture.

        :param keys: int64 (N,), the tracks.
        :param boxes: float64 (N, 4), where they were in the picture before.
        :param image: uint8 (height, width, 3), the picture to look in.
        :returns: motion, float64 (N, 4), change of cx, cy, log w, log h since the picture before,
            NaN where it could not be measured; and its standard deviation, float64 (N, 4).
        """

    @abstractmethod
    def restart(self, keys: np.ndarray, boxes: np.ndarray, image: np.ndarray) -> None:
        """Take new views of tracks that a detection has just put right.

        :param keys: int64 (N,), the tracks.
        :param boxes: float64 (N, 4), where they are in ``image``.
        :param image: uint8 (height, width, 3), the newest picture.
        """


class NoCarrier(Carrier):
    """Leaves everything to the motion model."""

    def carry(self, keys, boxes, image):
        """Report that nothing was measured."""
        return np.full((len(keys), 4), np.nan), np.ones((len(keys), 4))

    def restart(self, keys, boxes, image):
        """Do nothing."""


class VisualTrackers(Carrier):
    """One of OpenCV's single-object trackers for each face.

    ``kcf``: J. F. Henriques et al., "High-Speed Tracking with Kernelized Correlation Filters",
    2015. ``csrt``: A. Lukezic et al., "Discriminative Correlation Filter with Channel and Spatial
    Reliability", 2017. ``mosse``: D. S. Bolme et al., "Visual Object Tracking using Adaptive
    Correlation Filters", 2010. Only ``csrt`` measures size as well.
    """

    _MAKERS = {'kcf': cv2.TrackerKCF_create, 'csrt': cv2.TrackerCSRT_create,
               'mosse': cv2.legacy.TrackerMOSSE_create}

    def __init__(self, kind: str):
        self._make = self._MAKERS[kind]
        self._measures_size = kind == 'csrt'
        self._followed: dict[int, tuple[object, np.ndarray]] = {}

    def carry(self, keys, boxes, image):
        """Update each face's tracker; one that lost its face is dropped until restarted."""
        self._followed = {key: self._followed[key] for key in keys if key in self._followed}
        motion = np.full((len(keys), 4), np.nan)
        for row, key in enumerate(keys.tolist()):
            if key not in self._followed:
                continue
            tracker, before = self._followed.pop(key)
            found, corner_size = tracker.update(image)
            after = np.asarray(corner_size, np.float64)
            if not found or not np.isfinite(after).all() or (after[2:] < 1).any():
                continue
            self._followed[key] = tracker, after
            motion[row, :2] = (after[:2] + after[2:] / 2) - (before[:2] + before[2:] / 2)
            if self._measures_size:
                motion[row, 2:] = np.log(after[2:] / before[2:])
        size = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        return motion, np.stack([0.02 * size, 0.02 * size, *np.full((2, len(keys)), 0.02)], axis=1)

    def restart(self, keys, boxes, image):
        """Train a fresh tracker on each face that lies in the picture well enough."""
        height, width = image.shape[:2]
        low = np.clip(np.round(boxes[:, :2]), 0, (width, height))
        high = np.clip(np.round(boxes[:, 2:]), 0, (width, height))
        for key, corner, size in zip(keys.tolist(), low, high - low, strict=True):
            self._followed.pop(key, None)
            if (size < _SMALLEST_SIDE).any():
                continue
            tracker = self._make()
            tracker.init(image, tuple(int(side) for side in (*corner, *size)))
            self._followed[key] = tracker, np.concatenate([corner, size])


def create_carrier(name: str) -> Carrier:
    """Return the carrier of this name: ``kcf``, ``csrt``, ``mosse`` or ``none``."""
    return NoCarrier() if name == 'none' else VisualTrackers(name)
