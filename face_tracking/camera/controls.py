# SPDX-License-Identifier: Apache-2.0
"""What of a camera can be adjusted while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from face_tracking.options import Options, option


@dataclass(frozen=True)
class CameraControls(Options):
    """Exposure, gain, white balance and focus; each automatic by default."""

    AUTOMATIC: ClassVar[dict[str, float]] = {
        'exposure': 0.0,
        'gain': 0.0,
        'white_balance': 0.0,
        'focus': -1.0,
    }
    """The value of each control that means automatic."""

    exposure: float = option(0.0, 'Exposure time in milliseconds; 0 = automatic', 0.0, 10000.0)
    gain: float = option(
        0.0,
        'Gain of the sensor, in units of the V4L2 device or as a factor for picamera2; '
        '0 = automatic',
        0.0,
        100000.0,
    )
    white_balance: float = option(
        0.0, 'Color temperature for the white balance in kelvin; 0 = automatic', 0.0, 20000.0
    )
    focus: float = option(
        -1.0,
        'Focus, in units of the V4L2 device or in diopters for picamera2 (0 = infinity); '
        '-1 = automatic',
        -1.0,
        100000.0,
    )

    def value_of(self, name: str) -> float | None:
        """Return the value of a control, None if it is automatic."""
        value: float = getattr(self, name)
        return None if value == self.AUTOMATIC[name] else value
