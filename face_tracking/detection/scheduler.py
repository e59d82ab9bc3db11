# SPDX-License-Identifier: Apache-2.0
"""When to detect: as often as the scene needs and the machine can afford.

The budget is kept as a bucket of tokens: CPU seconds flow in with time, each detection takes out
what it costs, and what has been saved in quiet moments, up to a few detections, may be spent in
a burst. Within that, the scene decides: something that moves where no face is followed, a face
whose last detection was weak, or one that moves fast, shorten the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.frame import Frame
from face_tracking.time_units import SECOND

_THUMBNAIL = (40, 30)  # pixels: a face across a room still changes one of them
_CHANGED = 12.0  # gray levels, after the brightness of the whole is put aside
_NEWS = 0.02  # share of changed pixels that is as urgent as can be
_SURE, _UNSURE = 0.85, 0.6  # scores of a track that needs no new look, and of one that does
_FAST = 4.0  # face sizes per second that are as urgent as can be
_BURST = 3.0  # detections that may be saved up
_MAX_GAP = SECOND  # nothing is saved up while no images come


@dataclass(frozen=True)
class Budget:
    """What detection may take.

    :ivar cpu: seconds of CPU time per second; 0.5 is half a core.
    :ivar shortest: seconds between detections that are never undercut.
    :ivar longest: seconds after which to look again, whether or not anything happens.
    :raises UserError: a value cannot be.
    """

    cpu: float = 0.5
    shortest: float = 0.0
    longest: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.cpu <= 64:
            raise UserError(
                f'a CPU budget of {self.cpu} cannot be',
                'give seconds of CPU per second, above 0 and up to 64',
            )
        if not 0 <= self.shortest <= self.longest <= 60:
            raise UserError(
                f'intervals from {self.shortest} to {self.longest} s cannot be',
                'give seconds from 0 to 60, the shortest first',
            )


class DetectionScheduler:
    """Decides for each image whether to detect in it.

    ::

        if scheduler.should_detect(image, stamp, tracks):
            ...
            scheduler.spent(cpu_seconds)

    :ivar urgency: of the last image, 0 to 1, for diagnostics.
    """

    def __init__(self, budget: Budget | None = None):
        self.budget = budget or Budget()
        self.urgency = 1.0
        self._credit = 0.0
        self._cost = 0.0
        self._before: int | None = None
        self._detected: int | None = None
        self._thumbnail: Array | None = None

    def should_detect(
        self, image: Array | Frame, stamp: int, tracks: Tracks | None = None
    ) -> bool:
        """Return whether to detect in this image; if so, call :meth:`spent` afterwards.

        :param image: a frame, or uint8 (height, width, 3) BGR.
        :param stamp: nanoseconds; when the clock is set back the bucket stays as it is.
        :param tracks: the newest there are, None where faces are not tracked.
        """
        self._save(stamp)
        thumbnail = _thumbnail(image)
        self.urgency = self._urgency(thumbnail, image.shape, tracks)
        if self._detected is not None:
            waited = abs(stamp - self._detected) / SECOND
            if waited < self._interval() or self._credit < self._cost:
                return False
        self._detected, self._thumbnail = stamp, thumbnail
        return True

    def spent(self, cpu_seconds: float) -> None:
        """Subtract the cost of a detection, CPU seconds over all threads, from the credit."""
        cost = max(float(cpu_seconds), 0.0)
        self._credit -= cost
        self._cost = cost if self._cost == 0 else 0.8 * self._cost + 0.2 * cost

    def _save(self, stamp: int) -> None:
        if self._before is not None:
            passed = min(max(stamp - self._before, 0), _MAX_GAP) / SECOND
            most = max(_BURST * self._cost, self.budget.cpu * passed)
            self._credit = min(self._credit + self.budget.cpu * passed, most)
        self._before = stamp

    def _interval(self) -> float:
        """Return the seconds to wait: the longest at rest, less by the urgency's square root."""
        shortest, longest = self.budget.shortest, self.budget.longest
        return shortest + (longest - shortest) * (1 - np.sqrt(self.urgency))

    def _urgency(self, thumbnail: Array, shape: tuple[int, ...], tracks: Tracks | None) -> float:
        return max(self._news(thumbnail, shape, tracks), _weakness(tracks))

    def _news(self, thumbnail: Array, shape: tuple[int, ...], tracks: Tracks | None) -> float:
        """Return how much has changed since the last detection where no face is followed."""
        if self._thumbnail is None:
            return 1.0
        change = thumbnail - self._thumbnail
        changed = np.abs(change - np.median(change)) > _CHANGED
        if tracks is not None and len(tracks):
            _clear(changed, tracks.boxes, shape)
        return min(float(changed.mean()) / _NEWS, 1.0)


def _weakness(tracks: Tracks | None) -> float:
    """Return how badly the weakest track needs a detection, 0 to 1."""
    if tracks is None or not len(tracks):
        return 0.0
    doubt = (_SURE - tracks.scores) / (_SURE - _UNSURE)
    size = np.sqrt(np.prod(np.maximum(tracks.boxes[:, 2:] - tracks.boxes[:, :2], 1), axis=1))
    haste = np.linalg.norm(tracks.velocities, axis=1) / size / _FAST
    return float(np.clip(np.maximum(doubt, haste), 0, 1).max())


def _thumbnail(image: Array | Frame) -> Array:
    """Return the image as float32 gray (30, 40)."""
    if isinstance(image, Frame):
        gray = cv2.resize(image.small_gray(), _THUMBNAIL, interpolation=cv2.INTER_AREA)
        return gray.astype(np.float32)
    # Every few pixels first: averaging all of a large image would cost more than it contributes.
    height, width = image.shape[:2]
    step = max(min(height // (4 * _THUMBNAIL[1]), width // (4 * _THUMBNAIL[0])), 1)
    small = cv2.resize(
        np.ascontiguousarray(image[::step, ::step]), _THUMBNAIL, interpolation=cv2.INTER_AREA
    )
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)


def _clear(changed: Array, boxes: Array, shape: tuple[int, ...]) -> None:
    """Set aside what changed on and right around the faces that are followed."""
    scale = np.tile(np.array(_THUMBNAIL) / (shape[1], shape[0]), 2)
    margin = 0.3 * (boxes[:, 2:] - boxes[:, :2])
    grown = np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1) * scale
    low = np.clip(np.floor(grown[:, :2]), 0, _THUMBNAIL).astype(int)
    high = np.clip(np.ceil(grown[:, 2:]), 0, _THUMBNAIL).astype(int)
    for (x1, y1), (x2, y2) in zip(low, high, strict=True):
        changed[y1:y2, x1:x2] = False
