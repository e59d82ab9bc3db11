# SPDX-License-Identifier: Apache-2.0
"""An image on its way through the package, in the form in which the camera delivered it.

The camera's own form (JPEG, YUYV, NV12, BGR) is converted only on request, once, and at the size
that is asked for: the tracker needs a small gray image, the detector a color image of the size of
its network, and only viewers need full-size BGR.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.encoded_images import ArrayImage, EncodedImage, JpegImage, halve_towards
from face_tracking.errors import UserError

GRAY_SIDE = 160
"""Long side in pixels of the gray image that all users of a frame share."""


class Frame:
    """One image, passed on by reference: its pixels are never written to.

    All methods may be called from several threads at once; what one of them makes, the others
    reuse.

    :param image: uint8 (height, width, 3) BGR, or an image in the form of its camera.
    :param stamp: time of exposure in nanoseconds of the ROS clock.
    :param frame_id: the camera's optical frame (REP 103: x right, y down, z forward).
    :param sequence: counts the frames of one source since it was opened; gaps are lost frames.
    :ivar source: the image in the form of its camera.
    :ivar gray_of_color: whether the gray that was made last was derived from colors although the
        camera delivers luma. Two such images differ by less than one of each kind.
    :raises UserError: an array has another shape or type.
    """

    def __init__(
        self,
        image: Array | EncodedImage,
        stamp: int = 0,
        frame_id: str = 'camera_optical_frame',
        sequence: int = 0,
    ):
        self.source = image if isinstance(image, EncodedImage) else _of_array(image)
        self.stamp = stamp
        self.frame_id = frame_id
        self.sequence = sequence
        self._lock = threading.Lock()
        self._slots: dict[object, _Slot] = {}
        self._color_divisors: set[int] = set()
        self.gray_of_color = False

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.source.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.source.height

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and 3: the shape of :attr:`image`."""
        return self.source.height, self.source.width, 3

    @property
    def image(self) -> Array:
        """The full-size image, uint8 (height, width, 3) BGR."""
        return self.bgr()

    def bgr(self) -> Array:
        """Return the full-size image, uint8 (height, width, 3) BGR.

        :raises UserError: the image is damaged.
        """
        return self._color(1)

    def scaled_bgr(self, width: int, height: int) -> Array:
        """Return the smallest color image that is cheap to make and at least that large.

        :returns: uint8 (h, w, 3) BGR, the full size divided by 1, 2, 4 or 8; of the full size
            where that has fewer pixels than requested.
        :raises UserError: the image is damaged.
        """
        return self._color(self.source.divisor_for(width, height))

    def expect_bgr(self, width: int, height: int) -> None:
        """Announce a call of :meth:`scaled_bgr`: gray is then derived from what it returns."""
        with self._lock:
            self._color_divisors.add(self.source.divisor_for(width, height))

    @property
    def expects_bgr(self) -> bool:
        """Whether a color image of it was requested, from which gray is cheap to compute."""
        return bool(self._color_divisors)

    def expects_scaled_bgr(self, width: int, height: int) -> bool:
        """Return whether what :meth:`scaled_bgr` returns was requested or announced."""
        return self.source.divisor_for(width, height) in self._color_divisors

    def gray(self, width: int, height: int) -> Array:
        """Return the image in gray at just that size, uint8 (height, width).

        :raises UserError: the image is damaged.
        """
        return self._make(('gray', width, height), lambda: self._gray(width, height))

    def small_gray(self) -> Array:
        """Return the image in gray with a long side of at most :data:`GRAY_SIDE`, uint8 (h, w).

        :raises UserError: the image is damaged.
        """
        return self.gray(*size_within(GRAY_SIDE, self.width, self.height))

    def jpeg(self) -> bytes | None:
        """Return the JPEG file that the camera delivered; None for other cameras."""
        source = self.source
        return source.data if isinstance(source, JpegImage) and source.flip is None else None

    def reduced(self, width: int, height: int) -> Frame:
        """Return a frame that keeps little memory, to make an image of at most that size later.

        What this frame has made already is reused. Its aspect ratio may differ.
        """
        with self._lock:
            divisor = self.source.divisor_for(width, height)
            slot = self._slots.get(('bgr', divisor))
        color = None if slot is None else slot.value
        if color is not None and divisor > 1:
            kept: EncodedImage = ArrayImage(color)
        else:
            kept = self.source.reduced(width, height)
        return Frame(kept, self.stamp, self.frame_id, self.sequence)

    def with_stamp(self, stamp: int) -> Frame:
        """Return the same image with another stamp."""
        return Frame(self.source, stamp, self.frame_id, self.sequence)

    def _color(self, divisor: int) -> Array:
        with self._lock:
            self._color_divisors.add(divisor)
        return self._make(('bgr', divisor), lambda: self.source.bgr(divisor))

    def _gray(self, width: int, height: int) -> Array:
        divisor = self.source.divisor_for(width, height)
        with self._lock:
            divisors = [d for d in self._color_divisors if d <= divisor]
        self.gray_of_color = bool(divisors) and self.source.gray_from_color
        if self.gray_of_color:
            color = halve_towards(self._color(max(divisors)), width, height)
            return cv2.cvtColor(color, cv2.COLOR_BGR2GRAY)
        return halve_towards(self.source.gray(divisor), width, height)

    def _make(self, key: object, make: Callable[[], Array]) -> Array:
        """Return what ``make`` returned for this key, calling it once at most."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = _Slot()
        # Not under the lock of the frame: the tracker does not wait for the detector's decoding.
        with slot.lock:
            if slot.value is None:
                slot.value = make()
            return slot.value


class _Slot:
    """The place of one image that was made, and the lock of the thread that makes it."""

    __slots__ = ('lock', 'value')

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: Array | None = None


def _of_array(image: Array) -> ArrayImage:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f'an image has the shape {image.shape} and the type {image.dtype}',
            'give 8-bit BGR images with at least one pixel: uint8 (height, width, 3)',
        )
    return ArrayImage(image)


@lru_cache(maxsize=16)
def size_within(long_side: int, width: int, height: int) -> tuple[int, int]:
    """Return a width and height scaled down to a long side, if they are larger."""
    ratio = min(long_side / max(height, width), 1.0)
    return max(round(width * ratio), 1), max(round(height * ratio), 1)


def as_frame(image: Array | Frame) -> Frame:
    """Return a frame for an image, uint8 (height, width, 3) BGR; a frame is returned as it is."""
    return image if isinstance(image, Frame) else Frame(image)
