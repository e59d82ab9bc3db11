# SPDX-License-Identifier: Apache-2.0
"""The interface of all camera sources: options in, frames out."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import cv2

from face_tracking.arrays import Array
from face_tracking.camera.controls import CameraControls
from face_tracking.encoded_images import EncodedImage
from face_tracking.errors import UserError
from face_tracking.frame import Frame
from face_tracking.options import option


class CameraLostError(UserError):
    """The camera has stopped delivering images; it may come back."""


@dataclass(frozen=True)
class CaptureSettings(CameraControls):
    """What a user may ask of a camera; what the source grants is in the source's attributes."""

    width: int = option(
        0, 'Image width in pixels; 0 = the size of the source, also for the height', 0, 8192
    )
    height: int = option(
        0, 'Image height in pixels; 0 = the size of the source, also for the width', 0, 8192
    )
    frame_rate: float = option(0.0, 'Frames per second; 0 = the rate of the source', 0.0, 1000.0)
    pixel_format: str = option(
        '',
        'Pixel format requested from the device: a FourCC (MJPG, YUYV) for V4L2, a libcamera '
        'format (RGB888) for picamera2; empty = the default',
    )
    flip_horizontal: bool = option(False, 'Mirror the image left to right')
    flip_vertical: bool = option(
        False,
        'Mirror the image top to bottom; with flip_horizontal, for a camera mounted upside down',
    )
    read_timeout: float = option(
        3.0, 'Seconds without an image after which a live camera counts as lost', 0.1, 60.0
    )
    loop: bool = option(False, 'Restart videos, folders and scenes at their end')
    realtime: bool = option(
        True,
        'Play videos, folders and scenes at their own rate, skipping frames that are late; '
        'otherwise as fast as they are read',
    )
    latency: float = option(
        0.0,
        'Seconds by which the images of a scene are delayed, as those of a real camera are',
        0.0,
        1.0,
    )
    frame_id: str = option(
        'camera_optical_frame', 'Optical frame of the images: x right, y down, z forward (REP 103)'
    )
    horizontal_fov: float = option(
        math.radians(60),
        'Horizontal field of view in radians, used without a calibration (1.047 rad = 60 deg)',
        0.01,
        3.1,
    )

    @property
    def size(self) -> tuple[int, int] | None:
        """The (width, height) asked for, None if the source may choose.

        A size takes effect once both sides are set, so that they can be set one by one.
        """
        return (self.width, self.height) if self.width and self.height else None


@dataclass(frozen=True)
class CaptureOptions(CaptureSettings):
    """The settings of a camera together with what the program brings.

    :ivar mount: for the virtual camera: its pan and tilt in radians at a stamp, if joints move
        it; None to follow the path of the scene.
    :ivar clock: returns the time in nanoseconds, in the clock of the stamps.
    """

    mount: Callable[[int], tuple[float, float]] | None = None
    clock: Callable[[], int] = time.time_ns


class CameraSource(ABC):
    """Something that delivers frames; also a context manager that closes itself.

    :ivar uri: what it was opened with.
    :ivar width: of the frames in pixels, like ``height``. A folder's are those of its last image.
    :ivar rate: frames per second as the source reports it, else 0.
    :ivar live: the images come from a device at its own pace.
    """

    live = False

    def __init__(self, uri: str, options: CaptureOptions):
        self.uri = uri
        self.options = options
        self.width, self.height = options.width, options.height
        self.rate = options.frame_rate

    @abstractmethod
    def read(self) -> Frame | None:
        """Wait for the next frame and return it; None at the end of the stream.

        :raises CameraLostError: when the device has vanished or delivers no frames.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device; a ``read`` waiting in another thread returns None."""

    def set_controls(self, controls: CameraControls) -> None:  # noqa: B027  few have controls
        """Adjust the camera while it captures; sources without controls ignore it.

        :raises UserError: the camera lacks a control or refuses a value.
        """

    def __enter__(self) -> CameraSource:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _frame(self, image: Array | EncodedImage, stamp: int, sequence: int) -> Frame:
        """Return a frame of an image, which is mirrored as the options ask when it is used."""
        frame = Frame(image, int(stamp), self.options.frame_id, sequence)
        frame.source.flip = _flip_code(self.options)
        self.width, self.height = frame.width, frame.height
        return frame


def _flip_code(options: CaptureOptions) -> int | None:
    """Return the code of ``cv2.flip`` for the options, None if the image is not mirrored."""
    if options.flip_horizontal and options.flip_vertical:
        return -1
    if options.flip_horizontal:
        return 1
    return 0 if options.flip_vertical else None


def fitted(image: Array | EncodedImage, size: tuple[int, int] | None) -> Array | EncodedImage:
    """Return the image scaled to (width, height); as it is if no size is requested."""
    if isinstance(image, EncodedImage):
        if size is None or (image.width, image.height) == size:
            return image
        image = image.bgr(image.divisor_for(*size))
    if size is None or (image.shape[1], image.shape[0]) == size:
        return image
    smaller = size[0] < image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
