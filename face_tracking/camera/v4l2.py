# SPDX-License-Identifier: Apache-2.0
"""A USB or CSI camera that Linux offers as a Video4Linux device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import cv2

from face_tracking.arrays import Array
from face_tracking.camera import v4l2_controls
from face_tracking.camera.base import CameraLostError, CaptureOptions
from face_tracking.camera.controls import CameraControls
from face_tracking.camera.opencv_capture import OpenCvCamera
from face_tracking.encoded_images import (
    EncodedImage,
    JpegImage,
    PackedYuvImage,
    SemiPlanarImage,
)
from face_tracking.errors import UserError
from face_tracking.image_header import MAX_LIVE_IMAGE, read_header

_MAX_DAMAGED = 30
"""JPEG images in a row that a camera may deliver damaged before it counts as lost."""

# Formats that are taken over as the camera delivers them; OpenCV converts the others to BGR.
_JPEG = ('MJPG', 'JPEG')
_PACKED = {'YUYV': True, 'UYVY': False}
_SEMI_PLANAR = {'NV12': False, 'NV21': True}
_UNDECODED = (*_JPEG, *_PACKED, *_SEMI_PLANAR)


class V4l2Camera(OpenCvCamera):
    """Captures from ``/dev/videoN`` through OpenCV's V4L2 backend, without its conversion to BGR.

    JPEG images that arrive damaged are skipped.

    :param device: a path, or a bare number N.
    :raises UserError: when there is no such device, it may not be opened, another program holds
        it, or it refuses the pixel format or the exposure.
    """

    def __init__(self, device: str, options: CaptureOptions):
        path = Path(f'/dev/video{device or 0}' if (device or '0').isdecimal() else device)
        _check(path)
        self._path = path
        self.damaged = 0
        capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
        try:
            _set_up(capture, path, options)
            v4l2_controls.set_controls(path, options)
        except UserError:
            capture.release()
            raise
        self._format = _keep_undecoded(capture)
        super().__init__(f'v4l2://{path}', options, capture)

    def set_controls(self, controls: CameraControls) -> None:
        """Adjust the device while it captures.

        :raises UserError: it lacks a control or refuses a value.
        """
        v4l2_controls.set_controls(self._path, controls)

    def _grab(self) -> tuple[Array | EncodedImage, int]:
        for _ in range(_MAX_DAMAGED):
            image, stamp = self._grab_once()
            if image is not None:
                return image, stamp
            self.damaged += 1
        raise CameraLostError(
            f'{self.uri} delivered {_MAX_DAMAGED} damaged images in a row', 'check its cable'
        )

    def _encoded(self, image: Array) -> Array | EncodedImage | None:
        """Return an image in the form of the device; None if it is damaged."""
        if self._format in _JPEG:
            return _jpeg(image)
        if self._format in _PACKED and image.ndim == 3 and image.shape[2] == 2:
            return PackedYuvImage(image, _PACKED[self._format])
        if self._format in _SEMI_PLANAR and (image.ndim == 2 or image.shape[2] == 1):
            height, width = image.shape[0] * 2 // 3, image.shape[1]
            rows = image.reshape(image.shape[:2])
            chroma = rows[height:].reshape(height // 2, width // 2, 2)
            return SemiPlanarImage(rows[:height], chroma, _SEMI_PLANAR[self._format])
        return image


def devices() -> list[str]:
    """Return the paths of the video devices there are."""
    return sorted(
        (str(path) for path in Path('/dev').glob('video[0-9]*')),
        key=lambda path: int(path.removeprefix('/dev/video')),
    )


def _check(path: Path) -> None:
    """Raise an error that names the reason while the system still reports it."""
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
    # One buffer to wait in: an image that is not taken is not worth having later.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if options.pixel_format:
        _choose_format(capture, path, options.pixel_format)
    if options.size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
    if options.frame_rate:
        capture.set(cv2.CAP_PROP_FPS, options.frame_rate)


def _keep_undecoded(capture: cv2.VideoCapture) -> str:
    """Turn OpenCV's conversion off where the format is understood; return the format, else ''."""
    name = _fourcc(capture)
    if name not in _UNDECODED or not capture.set(cv2.CAP_PROP_CONVERT_RGB, 0):
        return ''
    return name


def _fourcc(capture: cv2.VideoCapture) -> str:
    number = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    return number.to_bytes(4, 'little').decode('ascii', 'replace')


def _jpeg(image: Array) -> JpegImage | None:
    data = image.tobytes()
    header = read_header(data, MAX_LIVE_IMAGE)
    if header is None or header.format != 'jpeg':
        return None
    return JpegImage(data, header.width, header.height)


def _choose_format(capture: cv2.VideoCapture, path: Path, pixel_format: str) -> None:
    if len(pixel_format) != 4:
        raise UserError(
            f'the pixel format "{pixel_format}" is not a FourCC',
            'give four letters, such as MJPG or YUYV',
        )
    wanted = cv2.VideoWriter.fourcc(*pixel_format)
    capture.set(cv2.CAP_PROP_FOURCC, wanted)
    granted = _fourcc(capture)
    if granted != pixel_format:
        raise UserError(
            f'{path} does not deliver {pixel_format} but {granted}',
            f'choose from what v4l2-ctl -d {path} --list-formats-ext lists',
        )
