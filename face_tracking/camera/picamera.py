# SPDX-License-Identifier: Apache-2.0
"""The Raspberry Pi's own camera through picamera2 (libcamera)."""

from __future__ import annotations

import time
from collections.abc import Container
from typing import Any

import cv2

from face_tracking.arrays import Array
from face_tracking.camera.base import CaptureOptions, fitted
from face_tracking.camera.controls import CameraControls
from face_tracking.camera.live_source import LiveSource
from face_tracking.encoded_images import ArrayImage, EncodedImage, SemiPlanarImage
from face_tracking.errors import UserError

DEFAULT_SIZE = (640, 480)
DEFAULT_FORMAT = 'RGB888'
# libcamera names formats as a number reads, highest byte first: its RGB888 lies in memory as BGR.
_TO_BGR = {
    'RGB888': None,
    'BGR888': (cv2.COLOR_RGB2BGR, cv2.COLOR_RGB2GRAY),
    'XRGB8888': (cv2.COLOR_BGRA2BGR, cv2.COLOR_BGRA2GRAY),
    'XBGR8888': (cv2.COLOR_RGBA2BGR, cv2.COLOR_RGBA2GRAY),
    'YUV420': None,
}


class PiCamera(LiveSource):
    """Captures from camera number ``index`` (empty for the first).

    :raises UserError: when picamera2 is missing, there is no such camera, it is in use, or it
        refuses the options.
    """

    def __init__(self, index: str, options: CaptureOptions):
        super().__init__(f'picamera2:{index}', options)
        number = _number(index)
        pixel_format = options.pixel_format or DEFAULT_FORMAT
        if pixel_format not in _TO_BGR:
            raise UserError(
                f'picamera2 frames in "{pixel_format}" are not supported',
                f'give one of {", ".join(_TO_BGR)}',
            )
        self._pixel_format = pixel_format
        self._conversion = _TO_BGR[pixel_format]
        self.width, self.height = options.size or DEFAULT_SIZE
        self._camera = _open(number)
        try:
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={'size': (self.width, self.height), 'format': pixel_format},
                    controls=_controls(options),
                    buffer_count=4,
                )
            )
            self._camera.start()
        except Exception as error:
            self._release()
            raise UserError(
                f'the Pi camera refuses {self.width}x{self.height} {pixel_format} ({error})',
                'try other options, or see what it offers: rpicam-hello --list-cameras',
            ) from error
        self._start()

    def _grab(self) -> tuple[Array | EncodedImage, int]:
        request = self._camera.capture_request()
        try:
            image = request.make_array('main')
            exposed = request.get_metadata().get('SensorTimestamp')
        finally:
            request.release()
        # A driver may pad rows or round the size; the request's array has the image's size.
        return fitted(self._encoded(image), (self.width, self.height)), (
            self._stamp_of_boot_time(exposed)
        )

    def set_controls(self, controls: CameraControls) -> None:
        """Adjust the camera while it captures.

        :raises UserError: it lacks a control or refuses a value.
        """
        wanted = _adjustments(controls, self._camera.camera_controls)
        try:
            self._camera.set_controls(wanted)
        except Exception as error:  # libcamera's bindings raise several types
            raise UserError(
                f'the Pi camera refuses {wanted} ({error})', 'choose other values'
            ) from error

    def _encoded(self, image: Array) -> Array | EncodedImage:
        if self._pixel_format == 'YUV420':
            return _of_planes(image, self.width, self.height)
        return image if self._conversion is None else ArrayImage(image, *self._conversion)

    def _stamp_of_boot_time(self, exposed: int | None) -> int:
        """Return the stamp of libcamera's SensorTimestamp, nanoseconds of CLOCK_BOOTTIME."""
        if exposed is None:
            return self.options.clock()
        age = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - exposed) / 1e9
        return self._stamp_of_age(age if 0 <= age < 10 else 0.0)

    def _release(self) -> None:
        try:
            self._camera.stop()
        finally:
            self._camera.close()


def _number(index: str) -> int:
    if index and not index.isdecimal():
        raise UserError(f'"{index}" is not the number of a Pi camera', 'give picamera2:0')
    return int(index or 0)


def _open(number: int) -> Any:
    try:
        from picamera2 import Picamera2  # pyright: ignore[reportMissingImports]  not on PyPI
    except ImportError as error:
        raise UserError(
            'picamera2 cannot be imported',
            'on Raspberry Pi OS: sudo apt install '
            'python3-picamera2, and make the virtual environment with '
            '--system-site-packages',
        ) from error
    known = Picamera2.global_camera_info()
    if number >= len(known):
        names = ', '.join(f'{i}: {info.get("Model", "?")}' for i, info in enumerate(known))
        raise UserError(
            f'there is no Pi camera {number}',
            f'check its ribbon cable, then rpicam-hello --list-cameras (found: {names or "none"})',
        )
    try:
        return Picamera2(number)
    except (RuntimeError, IndexError, OSError) as error:
        raise UserError(
            f'the Pi camera {number} cannot be opened ({error})',
            'end the program that uses it: fuser -v /dev/media*',
        ) from error


def _of_planes(planes: Array, width: int, height: int) -> SemiPlanarImage:
    """Return the image of an I420 buffer, whose rows may be padded."""
    stride = planes.shape[1]
    luma = planes[:height, :width]
    quarter = height // 4 * stride + (height % 4) * stride // 4
    rest = planes.reshape(-1)[height * stride :]
    u, v = (
        rest[begin : begin + quarter].reshape(height // 2, stride // 2)[:, : width // 2]
        for begin in (0, quarter)
    )
    return SemiPlanarImage(luma, cv2.merge([u, v]))


def _controls(options: CaptureOptions) -> dict[str, Any]:
    controls: dict[str, Any] = {}
    if options.frame_rate:
        microseconds = round(1e6 / options.frame_rate)
        controls['FrameDurationLimits'] = (microseconds, microseconds)
    for name in CameraControls.AUTOMATIC:
        if (value := options.value_of(name)) is not None:
            controls.update(_manual(name, value))
    return controls


def _adjustments(controls: CameraControls, available: Container[str]) -> dict[str, Any]:
    """Return libcamera's controls for those of a user.

    :param available: the names of the controls that the camera has.
    :raises UserError: the camera lacks one that is to have a value.
    """
    wanted: dict[str, Any] = {}
    for name in CameraControls.AUTOMATIC:
        value = controls.value_of(name)
        adjusted = _AUTOMATIC[name] if value is None else _manual(name, value)
        missing = [key for key in adjusted if key not in available]
        if missing and value is not None:
            raise UserError(
                f'the Pi camera has no control {missing[0]}, which {name} needs',
                f'set {name} to {CameraControls.AUTOMATIC[name]:g}',
            )
        wanted.update({key: adjusted[key] for key in adjusted if key in available})
    return wanted


_AUTOMATIC: dict[str, dict[str, Any]] = {
    'exposure': {'AeEnable': True, 'ExposureTime': 0},
    'gain': {'AnalogueGain': 0.0},
    'white_balance': {'AwbEnable': True},
    'focus': {'AfMode': 2},
}


def _manual(name: str, value: float) -> dict[str, Any]:
    return {
        'exposure': {'AeEnable': False, 'ExposureTime': round(value * 1000)},
        'gain': {'AnalogueGain': value},
        'white_balance': {'AwbEnable': False, 'ColourTemperature': round(value)},
        'focus': {'AfMode': 0, 'LensPosition': value},
    }[name]
