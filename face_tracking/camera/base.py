# SPDX-License-Identifier: Apache-2.0
"""What every camera source is: options in, frames out."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from face_tracking.errors import UserError
from face_tracking.frame import Frame


class CameraLost(UserError):
    """The camera was there and gives no pictures any more; it may come back."""


@dataclass(frozen=True)
class CaptureOptions:
    """What is asked of a source; what it grants is in the source's own attributes.

    :ivar width: pixels, 0 for the source's own width; so ``height``.
    :ivar rate: frames per second, 0 for the source's own rate.
    :ivar pixel_format: what the device is asked to deliver: a FourCC for V4L2 (``MJPG``,
        ``YUYV``), a libcamera format for picamera2 (``RGB888``); empty for the default. The
        frames are BGR in any case.
    :ivar flip_horizontal: mirror left and right.
    :ivar flip_vertical: mirror top and bottom (with the other one, a camera mounted head down).
    :ivar exposure: milliseconds; 0 leaves it to the camera.
    :ivar frame_id: the optical frame that the frames are stamped with.
    :ivar loop: files, folders and scenes start again at their end.
    :ivar realtime: files, folders and scenes are paced by the clock, and frames that nobody
        fetched in time are left out; otherwise every frame comes, as fast as it is fetched.
    :ivar horizontal_fov: horizontal field of view in radians of the virtual camera.
    :ivar latency: seconds by which a scene's frames come late, as those of a real camera do.
    :ivar mount: of the virtual camera: its pan and tilt (radians) at a stamp, where joints move
        it; None to follow the scene's own path.
    :ivar timeout: seconds without a picture after which a live camera counts as lost.
    :ivar clock: nanoseconds now, in the clock that the stamps are of.
    """

    width: int = 0
    height: int = 0
    rate: float = 0.0
    pixel_format: str = ''
    flip_horizontal: bool = False
    flip_vertical: bool = False
    exposure: float = 0.0
    frame_id: str = 'camera_optical_frame'
    loop: bool = False
    realtime: bool = True
    horizontal_fov: float = math.radians(60)
    latency: float = 0.0
    mount: Callable[[int], tuple[float, float]] | None = None
    timeout: float = 3.0
    clock: Callable[[], int] = time.time_ns

    def __post_init__(self):
        for name in ('width', 'height', 'rate', 'exposure', 'latency'):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"the camera's {name} is {value}",
                                "give a positive number, or 0 for the camera's own")
        if bool(self.width) != bool(self.height):
            raise UserError(f'the picture size {self.width}x{self.height} is half given',
                            'give both width and height, or neither')
        if not 0 < self.horizontal_fov < math.pi:
            raise UserError(f'a field of view of {self.horizontal_fov:.3g} rad cannot be',
                            'give radians between 0 and pi')
        if not self.timeout > 0:
            raise UserError(f"the camera's timeout is {self.timeout}", 'give seconds above 0')

    @property
    def size(self) -> tuple[int, int] | None:
        """The (width, height) asked for, None where the source may choose."""
        return (self.width, self.height) if self.width else None


class CameraSource(ABC):
    """Something that delivers frames; also a context manager that closes itself.

    :ivar uri: what it was opened with.
    :ivar width: of the frames in pixels; so ``height``. A folder's are those of its last picture.
    :ivar rate: frames per second as far as the source tells, else 0.
    :ivar live: the pictures come from a device at its own pace.
    """

    live = False

    def __init__(self, uri: str, options: CaptureOptions):
        self.uri = uri
        self.options = options
        self.width, self.height = options.width, options.height
        self.rate = options.rate

    @abstractmethod
    def read(self) -> Frame | None:
        """Wait for the next frame and return it; None at the end of the stream.

        :raises CameraLost: when the device has vanished or fallen silent.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the device back; a ``read`` waiting in another thread returns None."""

    def __enter__(self) -> CameraSource:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _frame(self, image: np.ndarray, stamp: int, sequence: int) -> Frame:
        """Make a frame of a BGR picture: flipped as asked, and its size noted."""
        image = _flipped(image, self.options)
        self.height, self.width = image.shape[:2]
        return Frame(image, int(stamp), self.options.frame_id, sequence)


def _flipped(image: np.ndarray, options: CaptureOptions) -> np.ndarray:
    if options.flip_horizontal and options.flip_vertical:
        return cv2.flip(image, -1)
    if options.flip_horizontal:
        return cv2.flip(image, 1)
    if options.flip_vertical:
        return cv2.flip(image, 0)
    return image


def fitted(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return the picture scaled to (width, height), or as it is where none is asked for."""
    if size is None or (image.shape[1], image.shape[0]) == size:
        return image
    smaller = size[0] < image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
