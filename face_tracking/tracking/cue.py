# SPDX-License-Identifier: Apache-2.0
"""Cues: properties that associate a face with its track when its position is ambiguous.

A cue is one object: how a face is described by numbers, how two descriptions are compared, and
how a track's description is updated. The tracker takes any number of them::

    FaceTracker(options, cues=(appearance.CUE, another))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from face_tracking.arrays import BoolArray, FloatArray, IntArray
from face_tracking.tracking.image_pyramid import ImagePyramid

ALIKE = 0.35
"""Distance up to which two faces are alike: the default of ``appearance_threshold``."""


def running_mean(old: FloatArray, new: FloatArray, share: FloatArray) -> FloatArray:
    """Return the mean of descriptors (K, size) after new ones with a ``share`` (K, 1) of it."""
    return old + share * (new - old)


@dataclass(frozen=True)
class Cue:
    """A property that distinguishes faces.

    :ivar name: for logs and diagnostics.
    :ivar size: how many numbers a descriptor has.
    :ivar extract: returns the descriptors, float32 (N, size), of faces in an image:
        ``extract(pyramid, boxes, landmarks)`` with boxes float64 (N, 4) and landmarks float32
        (N, 5, 2) in pixels of the full image, landmarks NaN where they are not known. A face
        that cannot be described gets a row of NaN; it then neither supports nor rejects a match.
        ``pyramid.image`` is None for an image of the past.
    :ivar distance: returns the distances, float32 (N,), of descriptors (N, size) to others
        (N, size), row by row: 0 for identical faces, about 1 for different people.
    :ivar update: returns a track's descriptors after new ones were measured:
        ``update(old, new, share)``, with the share of the new ones, float32 (N, 1).
    :ivar interval: seconds after which the descriptor of a visible track is measured again.
    :ivar weight: of this cue in the mean of the distances by several cues.
    :ivar suffices: faces that are alike by this cue, at a distance of at most :data:`ALIKE`, are
        alike even if they differ by others: the distance by all cues is then not larger than by
        this one.
    """

    name: str
    size: int
    extract: Callable[[ImagePyramid, FloatArray, FloatArray], FloatArray]
    distance: Callable[[FloatArray, FloatArray], FloatArray]
    update: Callable[[FloatArray, FloatArray, FloatArray], FloatArray] = running_mean
    interval: float = 0.2
    weight: float = 1.0
    suffices: bool = False


class CueSet:
    """Several cues as one: their descriptors side by side, the weighted mean of their distances.

    :ivar cues: the cues.
    :ivar size: how many numbers the descriptors of all cues have.
    :ivar intervals: of the cues, nanoseconds, int64 (C,).
    """

    def __init__(self, cues: Sequence[Cue]):
        self.cues = tuple(cues)
        ends = np.cumsum([cue.size for cue in self.cues], dtype=int).tolist()
        self._slices = [
            slice(end - cue.size, end) for cue, end in zip(self.cues, ends, strict=True)
        ]
        self._firsts = np.array([part.start for part in self._slices], np.intp)
        self.size = ends[-1] if ends else 0
        self.intervals = np.array([round(1e9 * cue.interval) for cue in self.cues], np.int64)

    def __len__(self) -> int:
        return len(self.cues)

    def unknown(self, count: int) -> FloatArray:
        """Return the descriptors of ``count`` faces of which nothing is known, (count, size)."""
        return np.full((count, self.size), np.nan, np.float32)

    def measured(self, descriptors: FloatArray) -> BoolArray:
        """Return which cues were measured of which faces, bool (N, C)."""
        return ~np.isnan(descriptors.take(self._firsts, axis=1))

    def extract(
        self, pyramid: ImagePyramid, boxes: FloatArray, landmarks: FloatArray, wanted: BoolArray
    ) -> FloatArray:
        """Return the descriptors of faces, float32 (N, size).

        :param wanted: bool (N, C), which cues to measure; the others are NaN.
        """
        descriptors = self.unknown(len(boxes))
        for number, (cue, part) in enumerate(zip(self.cues, self._slices, strict=True)):
            rows = _rows_where(wanted[:, number])
            if rows is not None:
                # Copies, since a cue may compute in place.
                of_cue = cue.extract(pyramid, boxes[rows].copy(), landmarks[rows].copy())
                descriptors[rows, part] = of_cue
        return descriptors

    def distance(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Return the distances of descriptors (N, size) to others (N, size), row by row, (N,).

        NaN where no cue describes both.
        """
        if len(self.cues) == 1:
            return self.cues[0].distance(first, second)
        total, weight = np.zeros(len(first)), np.zeros(len(first))
        largest = np.full(len(first), np.nan)
        for cue, part in zip(self.cues, self._slices, strict=True):
            distance = cue.distance(first[:, part], second[:, part])
            known = ~np.isnan(distance)
            total[known] += cue.weight * distance[known]
            weight[known] += cue.weight
            if cue.suffices:
                largest = np.fmin(largest, np.where(distance <= ALIKE, distance, np.nan))
        with np.errstate(invalid='ignore'):
            return np.fmin(total / weight, largest)

    def distances(self, first: FloatArray, second: FloatArray, pairs: BoolArray) -> FloatArray:
        """Return the distances of descriptors (N, size) to others (M, size), float32 (N, M).

        :param pairs: bool (N, M), which to compare; the others are NaN.
        """
        distances = np.full(pairs.shape, np.nan, np.float32)
        rows, columns = np.nonzero(pairs)
        if len(rows):
            distances[rows, columns] = self.distance(first[rows], second[columns])
        return distances

    def update(self, old: FloatArray, new: FloatArray, shares: FloatArray) -> FloatArray:
        """Return descriptors (N, size) after new ones were measured.

        :param new: NaN where a cue was not measured; the old ones then stay.
        :param shares: of the new ones, float32 (N, C).
        """
        updated = old.copy()
        for number, (cue, part) in enumerate(zip(self.cues, self._slices, strict=True)):
            rows = _rows_where(~np.isnan(new[:, part.start]))
            if rows is not None:
                before, after = old[rows, part], new[rows, part]
                if any(np.isnan(before[:, 0]).tolist()):
                    before = np.where(np.isnan(before), after, before)
                updated[rows, part] = cue.update(before, after, shares[rows, number, None])
        return updated


def _rows_where(mask: BoolArray) -> IntArray | slice | None:
    """Return the rows that are True of a mask (N,), None for none; of all, a slice is faster."""
    flags = mask.tolist()
    if all(flags):
        return slice(None) if flags else None
    return np.flatnonzero(mask) if any(flags) else None
