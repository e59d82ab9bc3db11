# SPDX-License-Identifier: Apache-2.0
"""An image at the sizes that the tracker works on: small in color, smaller in gray."""

from __future__ import annotations

from functools import cached_property, lru_cache

import cv2
import numpy as np

from face_tracking.arrays import Array, FloatArray
from face_tracking.encoded_images import halve_towards
from face_tracking.frame import GRAY_SIDE, Frame, as_frame, size_within

Size = tuple[int, int]
"""Width and height in pixels."""

LONG_SIDE = 320
"""Long side in pixels of the image in which the appearance of faces is compared."""

FLOW_SIDE = GRAY_SIDE
"""Long side in pixels of the image in which motion is measured, to a twentieth of a pixel."""


class ImagePyramid:
    """One image at several sizes, each made when it is first used.

    :param image: a frame, or uint8 (height, width, 3) BGR; kept by reference.
    :ivar shape: height and width of the image in pixels.
    :ivar scale: pixels of ``small`` per pixel, for the x1, y1, x2, y2 of a box, float64 (4,).
    :ivar gray_scale: pixels of ``gray`` per pixel, across and down, float64 (2,).
    :ivar is_released: whether the full-size image was freed.
    :ivar gray_of_color: whether ``gray`` was derived from colors, see :class:`Frame`; False until
        it is made.
    :ivar rested: for how many images in a row the background did not move.
    """

    def __init__(self, image: Array | Frame):
        self._frame = as_frame(image)
        self.is_released = False
        self._compared: tuple[Frame, bool] | None = None
        self.shape = self._frame.height, self._frame.width
        self._small_size, self._gray_size, self.scale, self.gray_scale = _sizes_of(
            self._frame.width, self._frame.height
        )
        self.rested = 0
        self._halved: list[Array] = []
        self.gray_of_color = False
        if not self._frame.source.has_luma:
            self.expect_color()

    @property
    def image(self) -> Array | None:
        """The full-size image, uint8 (height, width, 3) BGR; None after :meth:`release`."""
        return None if self.is_released else self._frame.bgr()

    def expect_color(self) -> None:
        """Announce that ``small`` will be used: ``gray`` is then derived from the same image."""
        self._frame.expect_bgr(*self._small_size)

    @property
    def expects_color(self) -> bool:
        """Whether ``small`` is made anyway, for the detector perhaps."""
        return self._frame.expects_scaled_bgr(*self._small_size)

    def resembles(self, frame: Frame) -> bool:
        """Return whether a later frame probably shows the same scene, by a cheap comparison.

        Only valid before :meth:`release`. Asked twice about the same frame, it compares once.
        """
        if self._compared is None or self._compared[0] is not frame:
            self._compared = frame, frame.source.resembles(self._frame.source)
        return self._compared[1]

    def release(self) -> None:
        """Free the full-size image; ``small`` can still be had."""
        self._frame = self._frame.reduced(*self._small_size)
        self.is_released = True
        self._compared = None

    @cached_property
    def small(self) -> Array:
        """The image in color, uint8 (h, w, 3) BGR, its long side at most :data:`LONG_SIDE`."""
        color = self._frame.scaled_bgr(*self._small_size)
        return halve_towards(color, *self._small_size)

    @cached_property
    def gray(self) -> Array:
        """The image in gray, uint8 (h, w), its long side at most :data:`FLOW_SIDE`."""
        gray = self._frame.gray(*self._gray_size)
        self.gray_of_color = self._frame.gray_of_color
        return gray

    def halved(self, times: int) -> Array:
        """Return ``gray`` halved that often; an odd last row or column is left out."""
        halved = self._halved
        if not halved:
            halved.append(self.gray)
        while len(halved) <= times:
            height, width = halved[-1].shape
            even = halved[-1][: height & ~1, : width & ~1]
            size = width // 2, height // 2
            halved.append(cv2.resize(even, size, interpolation=cv2.INTER_AREA))
        return halved[times]


@lru_cache(maxsize=16)
def _sizes_of(width: int, height: int) -> tuple[Size, Size, FloatArray, FloatArray]:
    """Return the sizes in color and in gray, and both scales, of an image of a size."""
    full = width, height
    small, gray = size_within(LONG_SIDE, *full), size_within(FLOW_SIDE, *full)
    scales = np.divide(2 * small, 2 * full), np.divide(gray, full)
    for scale in scales:
        scale.flags.writeable = False  # it is shared
    return small, gray, *scales
