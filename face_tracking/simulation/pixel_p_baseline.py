# SPDX-License-Identifier: Apache-2.0
"""The baseline of the head: proportional control on pixels, as many hobby projects use it.

Each image moves the servos by a share of the face's offset from the image center in pixels. The
baseline models neither angles nor latency nor velocity.
"""

from __future__ import annotations

import numpy as np

from face_tracking.boxes import area, to_center_size
from face_tracking.camera_model import CameraModel
from face_tracking.faces import Tracks
from face_tracking.pan_tilt.command import Command, State
from face_tracking.pan_tilt.head_options import HeadOptions


class PixelProportionalController:
    """Moves towards the largest face.

    :param gain: radians per pixel of offset and image.
    :ivar wanted: the track id to follow; 0 for the largest face.
    """

    def __init__(self, gain: float, options: HeadOptions | None = None):
        self.gain = gain
        self.wanted = 0
        self._limits = (options or HeadOptions()).limits()
        self._positions = (0.0, 0.0)
        self._target: int | None = None

    def observe(self, tracks: Tracks, camera: CameraModel, now: int) -> None:
        """Move by the offset in this image."""
        self._target = None
        rows = np.flatnonzero(tracks.ids == self.wanted) if self.wanted else np.arange(len(tracks))
        if not len(rows):
            return
        row = int(rows[np.argmax(area(tracks.boxes[rows]))])
        self._target = int(tracks.ids[row])
        x, y = to_center_size(tracks.boxes)[row, :2]
        off = (camera.width / 2 - x, y - camera.height / 2)
        pan, tilt = (
            limit.clamp(position + self.gain * pixels)
            for limit, position, pixels in zip(self._limits, self._positions, off, strict=True)
        )
        self._positions = pan, tilt

    def tick(self, now: int) -> Command:
        """Return the last command."""
        state = State.IDLE if self._target is None else State.TRACKING
        return Command(now, self._positions, (0.0, 0.0), state, self._target)
