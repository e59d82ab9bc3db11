# SPDX-License-Identifier: Apache-2.0
"""The image record that cameras, nodes and algorithms exchange."""

from __future__ import annotations

from dataclasses import dataclass

from face_tracking.arrays import ImageArray


@dataclass(frozen=True, eq=False)
class Frame:
    """One image, passed by reference; its pixels are never modified.

    :ivar image: uint8 (height, width, 3), BGR, C-contiguous along a row.
    :ivar stamp: time of exposure in nanoseconds of the ROS clock.
    :ivar frame_id: the camera's optical frame (REP 103: x right, y down, z forward).
    :ivar sequence: counts the frames of one source since it was opened; gaps are lost frames.
    """

    image: ImageArray
    stamp: int
    frame_id: str = 'camera_optical_frame'
    sequence: int = 0

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.image.shape[1]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.image.shape[0]
