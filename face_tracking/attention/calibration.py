# SPDX-License-Identifier: Apache-2.0
"""From the angles that a detector's landmarks give to the most probable angles of the head.

The landmarks of a detector stay nearer to those of a frontal face than the head does, and hardly
move with its pitch. The figures are those of ``python -m benchmarks.head_pose --human FOLDER``:
a linear fit of the angles by human landmarks to those by the detector's, and what remains. The
offset of the pitch is its mean: people look straight ahead on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from face_tracking.attention.head_pose import HeadPose, rotation_of


@dataclass(frozen=True)
class Calibration:
    """Corrections of the angles, and the standard deviations that remain, in radians.

    :ivar yaw_gain: factor on the yaw.
    :ivar pitch_gain: factor on the pitch, after the offset.
    :ivar pitch_offset: the pitch that is measured for a head with pitch 0.
    :ivar yaw_stddev: of the corrected yaw; so ``pitch_stddev``, ``roll_stddev``.
    """

    yaw_gain: float
    pitch_gain: float
    pitch_offset: float
    yaw_stddev: float
    pitch_stddev: float
    roll_stddev: float

    def __call__(self, pose: HeadPose) -> HeadPose:
        """Return the corrected pose."""
        return with_angles(
            pose,
            self.yaw_gain * pose.yaw,
            self.pitch_gain * (pose.pitch - self.pitch_offset),
            pose.roll,
        )


def with_angles(pose: HeadPose, yaw: float, pitch: float, roll: float) -> HeadPose:
    """Return a pose with other angles and the rotation that belongs to them."""
    line_of_sight = pose.rotation @ rotation_of(pose.yaw, pose.pitch, pose.roll).T
    return replace(
        pose,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        rotation=line_of_sight @ rotation_of(yaw, pitch, roll),
    )


BUNDLED_DETECTOR = Calibration(
    yaw_gain=1.18,
    pitch_gain=1.72,
    pitch_offset=math.radians(5.3),
    yaw_stddev=math.radians(6.3),
    pitch_stddev=math.radians(9.4),
    roll_stddev=math.radians(6.5),
)
"""For the landmarks of the bundled detector, whose pitch says little about the head's."""
EXACT_LANDMARKS = Calibration(1.0, 1.0, 0.0, *(math.radians(5),) * 3)
"""For landmarks without an error of their own: what remains is the difference between people."""
