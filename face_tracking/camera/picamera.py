# SPDX-License-Identifier: Apache-2.0
"""The Raspberry Pi's own camera through picamera2 (libcamera)."""

from __future__ import annotations

import time

import cv2
import numpy as np

from face_tracking.camera.base import CaptureOptions, fitted
from face_tracking.camera.live_source import LiveSource
from face_tracking.errors import UserError

DEFAULT_SIZE = (640, 480)
DEFAULT_FORMAT = 'RGB888'
# libcamera names formats as a number reads, highest byte first: its RGB888 lies in memory as BGR.
_TO_BGR = {
    'RGB888': None,
    'BGR888': cv2.COLOR_RGB2BGR,
    'XRGB8888': cv2.COLOR_BGRA2BGR,
    'XBGR8888': cv2.COLOR_RGBA2BGR,
    'YUV420': cv2.COLOR_YUV2BGR_I420,
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
                f'picamera2 frames in "{pixel_format}" are not understood',
                f'give one of {", ".join(_TO_BGR)}',
            )
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

    def _grab(self) -> tuple[np.ndarray, int]:
        request = self._camera.capture_request()
        try:
            image = request.make_array('main')
            exposed = request.get_metadata().get('SensorTimestamp')
        finally:
            request.release()
        # A driver may pad rows or round the size; the request's array has the image's size.
        image = image if self._conversion is None else cv2.cvtColor(image, self._conversion)
        image = fitted(image, (self.width, self.height))
        return image, self._stamp_of_boot_time(exposed)

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


def _open(number: int):
    try:
        from picamera2 import Picamera2
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


def _controls(options: CaptureOptions) -> dict:
    controls = {}
    if options.frame_rate:
        microseconds = round(1e6 / options.frame_rate)
        controls['FrameDurationLimits'] = (microseconds, microseconds)
    if options.exposure:
        controls.update(AeEnable=False, ExposureTime=round(options.exposure * 1000))
    return controls
