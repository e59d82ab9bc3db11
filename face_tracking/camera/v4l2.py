# SPDX-License-Identifier: Apache-2.0
"""A USB or CSI camera that Linux offers as a Video4Linux device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import cv2

from face_tracking.camera.base import CaptureOptions
from face_tracking.camera.opencv_capture import OpenCvCamera
from face_tracking.errors import UserError

# V4L2_CID_EXPOSURE_AUTO: V4L2_EXPOSURE_MANUAL and V4L2_EXPOSURE_APERTURE_PRIORITY, which is what
# webcams call automatic.
_MANUAL, _AUTOMATIC = 1, 3


class V4l2Camera(OpenCvCamera):
    """Captures from ``/dev/videoN`` through OpenCV's V4L2 backend.

    :param device: a path, or a bare number N.
    :raises UserError: when there is no such device, it may not be opened, another program holds
        it, or it refuses the pixel format or the exposure.
    """

    def __init__(self, device: str, options: CaptureOptions):
        path = Path(f'/dev/video{device or 0}' if (device or '0').isdecimal() else device)
        _check(path)
        capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
        try:
            _set_up(capture, path, options)
        except UserError:
            capture.release()
            raise
        super().__init__(f'v4l2://{path}', options, capture)


def devices() -> list[str]:
    """Return the paths of the video devices there are."""
    return sorted(
        (str(path) for path in Path('/dev').glob('video[0-9]*')),
        key=lambda path: int(path.removeprefix('/dev/video')),
    )


def _check(path: Path) -> None:
    """Say in one line why a device cannot be used, while the system still tells."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        there = ', '.join(devices()) or 'none'
        raise UserError(
            f'there is no camera {path}', f'attach it, or name another (found: {there})'
        ) from error
    if not stat.S_ISCHR(mode):
        raise UserError(f'{path} is not a video device', 'for a video give file:PATH')
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return UserError(
            f'no permission to open {path}',
            'add yourself to the group video: sudo usermod -aG video $USER, and log in again',
        )
    if error.errno == errno.EBUSY:
        return _busy(path)
    return UserError(f'{path} cannot be opened ({error.strerror})', 'check its cable and power')


def _busy(path: Path) -> UserError:
    return UserError(
        f'{path} opens but does not capture',
        f'end the program that uses it (fuser -v {path}), or name another: of a '
        "camera's several devices only one gives images (v4l2-ctl --list-devices)",
    )


def _set_up(capture: cv2.VideoCapture, path: Path, options: CaptureOptions) -> None:
    if not capture.isOpened():
        raise _busy(path)
    # One buffer to wait in: an image that nobody takes is not worth having later.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if options.pixel_format:
        _choose_format(capture, path, options.pixel_format)
    if options.size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
    if options.frame_rate:
        capture.set(cv2.CAP_PROP_FPS, options.frame_rate)
    _expose(capture, path, options.exposure)


def _choose_format(capture: cv2.VideoCapture, path: Path, pixel_format: str) -> None:
    if len(pixel_format) != 4:
        raise UserError(
            f'the pixel format "{pixel_format}" is not a FourCC',
            'give four letters, such as MJPG or YUYV',
        )
    wanted = cv2.VideoWriter.fourcc(*pixel_format)
    capture.set(cv2.CAP_PROP_FOURCC, wanted)
    granted = int(capture.get(cv2.CAP_PROP_FOURCC))
    if granted != wanted:
        name = granted.to_bytes(4, 'little').decode('ascii', 'replace')
        raise UserError(
            f'{path} does not deliver {pixel_format} but {name}',
            f'choose from what v4l2-ctl -d {path} --list-formats-ext lists',
        )


def _expose(capture: cv2.VideoCapture, path: Path, milliseconds: float) -> None:
    if not milliseconds:
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _AUTOMATIC)
        return
    # V4L2_CID_EXPOSURE_ABSOLUTE counts in units of 100 microseconds.
    granted = capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL) and capture.set(
        cv2.CAP_PROP_EXPOSURE, milliseconds * 10
    )
    if not granted:
        raise UserError(
            f'{path} takes no exposure of {milliseconds:g} ms',
            f'see its range with v4l2-ctl -d {path} --list-ctrls, or give 0',
        )
