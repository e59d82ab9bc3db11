# SPDX-License-Identifier: Apache-2.0
"""The options of the attention estimate."""

from __future__ import annotations

from dataclasses import dataclass

from face_tracking.errors import UserError
from face_tracking.options import Options, option


@dataclass(frozen=True)
class AttentionOptions(Options):
    """When a person counts as looking at the robot."""

    attention_angle: float = option(
        0.35,
        'Angle (rad) between the direction of a face and the line to the camera below which the '
        'person looks at the robot; 0.35 rad = 20 degrees',
        0.02,
        1.2,
    )
    attention_hysteresis: float = option(
        0.09,
        'Angle (rad) beyond attention_angle above which the person looks away again; '
        '0.09 rad = 5 degrees',
        0.0,
        0.5,
    )
    attention_time: float = option(
        0.3,
        'Seconds for which the angle must be on the other side before the state changes',
        0,
        10,
    )
    attention_smoothing: float = option(
        0.2, 'Time constant (s) of the filter over yaw, pitch and roll; 0 = no filter', 0.0, 5.0
    )
    attention_calibration: bool = option(
        True,
        "Correct the angles for the errors of the bundled detector's landmarks; false for another "
        'source of landmarks that follow the head exactly',
    )
    attention_min_size: float = option(
        24.0, 'Minimum width of a face in pixels for which the head pose is estimated', 8.0, 1000.0
    )

    def check_together(self) -> None:
        """Check that looking away is possible at all.

        :raises UserError: the two angles together exceed what can be measured.
        """
        if self.attention_angle + self.attention_hysteresis > 1.3:
            raise UserError(
                'attention_angle and attention_hysteresis are more than 1.3 rad together',
                'decrease one of them',
            )
