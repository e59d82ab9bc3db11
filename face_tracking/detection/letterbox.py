# SPDX-License-Identifier: Apache-2.0
"""Fitting an image of any size into a network's input."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.errors import UserError
from face_tracking.frame import Frame

Downscaler = Callable[[Array, Array], None]
"""Writes the mean of each 2x2 pixels of an image, uint8 (2 H, 2 W, 3), into another, (H, W, 3);
both are contiguous, and the first one may be written to."""


class Fit(NamedTuple):
    """Pixels of the image for one pixel of the network's input, x and y."""

    x: float
    y: float


@lru_cache(maxsize=16)
def fitted_size(
    image: tuple[int, int], room: tuple[int, int], long_side: int | None = None
) -> tuple[int, int]:
    """Return (width, height) of an image scaled to fit into ``room``, aspect ratio kept.

    The arithmetic is exact, in integers, so that the result never exceeds the room.

    :param image: (width, height) in pixels, at least 1 each.
    :param room: (width, height) in pixels, at least 1 each.
    :param long_side: largest length of the longer side in pixels.
    """
    width, height = image
    # The scale is the fraction over / under.
    over, under = (room[0], width) if room[0] * height <= room[1] * width else (room[1], height)
    if long_side and long_side * under < over * max(width, height):
        over, under = long_side, max(width, height)

    def scaled(side: int) -> int:
        return max((2 * side * over + under) // (2 * under), 1)

    return scaled(width), scaled(height)


class Letterbox:
    """Scales images into a fixed size with their aspect ratio kept; the rest stays black.

    The image is placed in the top-left corner, so that mapping back is a scale alone. The returned
    image is a buffer that the next call overwrites, or the source itself if it has the input's
    size.

    :param width: of the network's input in pixels, like ``height``.
    :param long_side: largest length of the image's longer side after scaling; None fills the
        input.
    :param downscale: halves images of twice the input's size faster than OpenCV.
    """

    def __init__(
        self,
        width: int,
        height: int,
        long_side: int | None = None,
        downscale: Downscaler | None = None,
    ):
        self.width = width
        self.height = height
        self.long_side = long_side
        self._downscale = downscale
        self._canvas = np.zeros((height, width, 3), np.uint8)
        self._shape: tuple[int, ...] = ()
        self._inner = (0, 0)
        self._fit = Fit(1, 1)
        self._is_twice = False
        self._halves: dict[tuple[int, int], Array] = {}

    def __call__(self, image: Array | Frame) -> tuple[Array, Fit]:
        """Return the scaled image, uint8 (height, width, 3), and the scale that maps back.

        :param image: a frame, of which only a reduced image is made if that suffices; or uint8
            (H, W, 3).
        :raises UserError: ``image`` is something else, has no pixels or is damaged.
        """
        if not isinstance(image, Frame):
            return self._fit_array(image)
        fitted, _ = self._fit_array(image.scaled_bgr(*self.inner_size(image.width, image.height)))
        # A reduced side is rounded up, so the scale is that to the frame itself.
        return fitted, Fit(image.width / self._inner[0], image.height / self._inner[1])

    def inner_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) to which an image of this size is scaled."""
        return fitted_size((width, height), (self.width, self.height), self.long_side)

    def _fit_array(self, image: Array) -> tuple[Array, Fit]:
        if image.shape != self._shape or image.dtype != np.uint8:
            self._prepare_for(image)
        if self._inner == image.shape[1::-1] == (self.width, self.height):
            return image, self._fit
        if (
            self._is_twice
            and self._downscale is not None
            and image.flags.c_contiguous
            and image.flags.writeable
        ):
            self._downscale(image, self._canvas)
            return self._canvas, self._fit
        target = self._canvas[: self._inner[1], : self._inner[0]]
        cv2.resize(self._near(image), self._inner, dst=target, interpolation=cv2.INTER_LINEAR)
        return self._canvas, self._fit

    def _prepare_for(self, image: Array) -> None:
        """Compute what is the same for all images of this shape."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UserError(
                f'an image of shape {image.shape} and type {image.dtype} cannot be searched',
                'give 8-bit color images with at least one pixel',
            )
        height, width = image.shape[:2]
        self._shape = image.shape
        self._inner = self.inner_size(width, height)
        self._fit = Fit(width / self._inner[0], height / self._inner[1])
        self._is_twice = self._inner == (self.width, self.height) and (height, width) == (
            2 * self.height,
            2 * self.width,
        )
        self._halves.clear()
        self._canvas[:] = 0

    def _near(self, image: Array) -> Array:
        """Halve the image until it is less than three times as large as the result.

        Linear interpolation skips source pixels beyond a factor of two, and averaging over a
        factor that is not an integer takes ten times as long as halving.
        """
        height, width = image.shape[:2]
        while width >= 3 * self._inner[0] and height >= 3 * self._inner[1]:
            half = width // 2, height // 2
            if half not in self._halves:
                self._halves[half] = np.empty((half[1], half[0], 3), np.uint8)
            even = image[: 2 * half[1], : 2 * half[0]]
            image = cv2.resize(even, half, dst=self._halves[half], interpolation=cv2.INTER_AREA)
            width, height = half
        return image
