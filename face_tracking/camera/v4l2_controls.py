# SPDX-License-Identifier: Apache-2.0
"""Exposure, gain, white balance and focus of a Video4Linux device, while it captures or not.

Written directly by ioctl (linux/videodev2.h), since OpenCV reports neither the range of a control
nor why one was refused.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from face_tracking.camera.controls import CameraControls
from face_tracking.errors import UserError

_QUERYCTRL, _S_CTRL = 0xC0445624, 0xC008561C
_QUERY = struct.Struct('=II32siiiiI8x')
_VALUE = struct.Struct('=Ii')
_DISABLED = 1


@dataclass(frozen=True)
class _Control:
    """A control with the switch between automatic and manual.

    :ivar name: of the option; so its ``unit``, for messages.
    :ivar value: number of the control that takes the value.
    :ivar switch: number of the control that turns automatic operation on and off.
    :ivar automatic: value of the switch for automatic operation, ``manual`` that for manual.
    :ivar factor: the control's units in one unit of the option.
    """

    name: str
    unit: str
    value: int
    switch: int
    automatic: int
    manual: int
    factor: float = 1.0


_CONTROLS = (
    # EXPOSURE_APERTURE_PRIORITY is what webcams call automatic; the time counts in 100 us.
    _Control('exposure', ' ms', 0x009A0902, 0x009A0901, automatic=3, manual=1, factor=10),
    _Control('gain', '', 0x00980913, 0x00980912, automatic=1, manual=0),
    _Control('white_balance', ' K', 0x0098091A, 0x0098090C, automatic=1, manual=0),
    _Control('focus', '', 0x009A090A, 0x009A090C, automatic=1, manual=0),
)


def set_controls(path: Path, controls: CameraControls) -> None:
    """Set the controls of a device.

    :raises UserError: it lacks one that is to have a value, or refuses the value.
    """
    with _opened(path) as handle:
        for control in _CONTROLS:
            value = controls.value_of(control.name)
            if value is None:
                _try_to_set(handle, control.switch, control.automatic)
            else:
                _set_value(handle, path, control, value)


def _set_value(handle: int, path: Path, control: _Control, value: float) -> None:
    bounds = _range(handle, control.value)
    if bounds is None:
        automatic = CameraControls.AUTOMATIC[control.name]
        raise UserError(
            f'{path} has no control for {control.name}', f'set {control.name} to {automatic:g}'
        )
    low, high = bounds
    units = round(value * control.factor)
    if not low <= units <= high:
        raise UserError(
            f'{path} takes no {control.name} of {value:g}{control.unit}',
            f'set it from {low / control.factor:g} to {high / control.factor:g}',
        )
    # A device without the switch is always manual.
    _try_to_set(handle, control.switch, control.manual)
    if not _try_to_set(handle, control.value, units):
        raise UserError(
            f'{path} refuses a {control.name} of {value:g}{control.unit}',
            f'see its controls with v4l2-ctl -d {path} --list-ctrls',
        )


def _range(handle: int, number: int) -> tuple[int, int] | None:
    """Return the smallest and largest value of a control, None if the device lacks it."""
    query = _QUERY.pack(number, 0, b'', 0, 0, 0, 0, 0)
    try:
        answer = fcntl.ioctl(handle, _QUERYCTRL, query)
    except OSError:
        return None
    _, _, _, low, high, _, _, flags = _QUERY.unpack(answer)
    return None if flags & _DISABLED else (low, high)


def _try_to_set(handle: int, number: int, value: int) -> bool:
    try:
        fcntl.ioctl(handle, _S_CTRL, _VALUE.pack(number, value))
    except OSError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        raise UserError(
            f'{path} cannot be opened ({error.strerror})', 'check its cable and power'
        ) from error
    try:
        yield handle
    finally:
        os.close(handle)
