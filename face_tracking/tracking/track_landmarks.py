# SPDX-License-Identifier: Apache-2.0
"""The landmarks of tracked faces: as last detected, moved and scaled with the box."""

from __future__ import annotations

from collections import deque

import numpy as np

from face_tracking.arrays import FloatArray, IntArray
from face_tracking.boxes import iou
from face_tracking.faces import Detections, Tracks

MIN_IOU = 0.4
"""Overlap from which a detection belongs to a track at the same stamp."""
_MAX_WAITING = 8  # images whose detections wait


class TrackLandmarks:
    """Matches detections with landmarks to tracks and keeps the landmarks relative to the box.

    Detections are late: each is matched with the boxes of the tracks at its own stamp, for which
    the boxes of the last two seconds are kept. Not thread-safe.

    :param seconds: how long boxes are kept.
    """

    def __init__(self, seconds: float = 2.0):
        self._nanoseconds = round(seconds * 1e9)
        self._past: deque[tuple[int, IntArray, FloatArray]] = deque(maxlen=256)
        self._waiting: deque[Detections] = deque(maxlen=_MAX_WAITING)
        self._relative: dict[int, FloatArray] = {}

    def add(self, detections: Detections) -> None:
        """Add the detections of one image."""
        self._waiting.append(detections)

    def update(self, tracks: Tracks) -> FloatArray:
        """Return the landmarks of the tracks of the next image.

        :param tracks: the tracks; their stamps rise, and a jump back clears the past.
        :returns: float32 (N, 5, 2) in pixels; NaN for a face whose landmarks are not known.
        """
        self._remember(tracks)
        while self._waiting:
            self._match(self._waiting.popleft())
        present = set(tracks.ids.tolist())
        self._relative = {key: rows for key, rows in self._relative.items() if key in present}
        landmarks = np.full((len(tracks), 5, 2), np.nan, np.float32)
        for row, (number, box) in enumerate(zip(tracks.ids.tolist(), tracks.boxes, strict=True)):
            if number in self._relative:
                landmarks[row] = box[:2] + self._relative[number] * (box[2:] - box[:2])
        return landmarks

    def _remember(self, tracks: Tracks) -> None:
        if self._past and tracks.stamp <= self._past[-1][0]:
            self._past.clear()
        self._past.append((tracks.stamp, tracks.ids, tracks.boxes))
        while self._past[0][0] < tracks.stamp - self._nanoseconds:
            self._past.popleft()

    def _match(self, detections: Detections) -> None:
        known = np.isfinite(detections.landmarks).all(axis=(1, 2))
        if not known.any():
            return
        boxes, landmarks = detections.boxes[known], detections.landmarks[known]
        # A track that was confirmed later is not among those of the stamp, but among the newest.
        for _, ids, past in (self._nearest(detections.stamp), self._past[-1]):
            overlaps = iou(past, boxes)
            for row, number in enumerate(ids.tolist()):
                best = int(overlaps[row].argmax())
                if overlaps[row, best] >= MIN_IOU:
                    corner, far = boxes[best, :2], boxes[best, 2:]
                    self._relative[number] = (landmarks[best] - corner) / (far - corner)
            if len(ids):
                return

    def _nearest(self, stamp: int) -> tuple[int, IntArray, FloatArray]:
        return min(self._past, key=lambda entry: abs(entry[0] - stamp))
