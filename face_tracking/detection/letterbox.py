# SPDX-License-Identifier: Apache-2.0
"""Fitting an image of any size into a network's input, and finding the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from face_tracking.errors import UserError
from face_tracking.frame import Frame

Downscaler = Callable[[np.ndarray, np.ndarray], None]
"""Writes the means of each four pixels of an image, uint8 (2 H, 2 W, 3), into another, (H, W, 3);
both are contiguous, and the first may be written to."""


class Fit(NamedTuple):
    """How many pixels of the source one pixel of the network's input stands for, x and y."""

    x: float
    y: float


class Letterbox:
    """Scales images into a fixed size, keeping their aspect; what is left over stays black.

    The image goes to the top-left corner, so that the way back is a scale alone. The returned
    image is a buffer that the next call writes over, or the source itself where it fits as
    it is.

    :param width: of the network's input in pixels, like ``height``.
    :param long_side: scale an image no further than to this long side; None fills the input.
    :param halve: what shrinks images of twice the input's size faster than OpenCV.
    """

    def __init__(
        self,
        width: int,
        height: int,
        long_side: int | None = None,
        halve: Downscaler | None = None,
    ):
        self.width = width
        self.height = height
        self.long_side = long_side
        self._halve = halve
        self._canvas = np.zeros((height, width, 3), np.uint8)
        self._shape: tuple[int, ...] = ()
        self._inner = (0, 0)
        self._fit = Fit(1, 1)
        self._halves_exactly = False
        self._halves: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, image: np.ndarray | Frame) -> tuple[np.ndarray, Fit]:
        """Return the image, uint8 (height, width, 3), and the fit that leads back.

        :param image: a frame, of which only a reduced image is made where that is enough; or
            uint8 (H, W, 3).
        :raises UserError: if ``image`` is anything else, has no pixels or is damaged.
        """
        if isinstance(image, Frame):
            return self._fit_frame(image)
        return self._fit_array(image)

    def inner_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size in pixels to which an image of this size is scaled."""
        scale = min(self.width / width, self.height / height)
        if self.long_side:
            scale = min(scale, self.long_side / max(width, height))
        return max(round(width * scale), 1), max(round(height * scale), 1)

    def _fit_frame(self, frame: Frame) -> tuple[np.ndarray, Fit]:
        inner = self.inner_size(frame.width, frame.height)
        image = frame.scaled_bgr(*inner)
        fitted, _ = self._fit_array(image)
        # A reduced side is rounded up, so the way back does not lead over the reduced image.
        inner = self._inner
        return fitted, Fit(frame.width / inner[0], frame.height / inner[1])

    def _fit_array(self, image: np.ndarray) -> tuple[np.ndarray, Fit]:
        if image.shape != self._shape or image.dtype != np.uint8:
            self._prepare_for(image)
        if self._inner == image.shape[1::-1] == (self.width, self.height):
            return image, self._fit
        if self._halves_exactly and image.flags.c_contiguous and image.flags.writeable:
            self._halve(image, self._canvas)
            return self._canvas, self._fit
        target = self._canvas[: self._inner[1], : self._inner[0]]
        cv2.resize(self._near(image), self._inner, dst=target, interpolation=cv2.INTER_LINEAR)
        return self._canvas, self._fit

    def _prepare_for(self, image: np.ndarray):
        """Work out what holds for all images of this shape."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UserError(
                f'an image of shape {image.shape} and type {image.dtype} cannot be searched',
                'give 8-bit color images with at least one pixel',
            )
        height, width = image.shape[:2]
        self._shape = image.shape
        self._inner = self.inner_size(width, height)
        self._fit = Fit(width / self._inner[0], height / self._inner[1])
        self._halves_exactly = (
            self._halve is not None
            and self._inner == (self.width, self.height)
            and (height, width) == (2 * self.height, 2 * self.width)
        )
        self._halves.clear()
        self._canvas[:] = 0

    def _near(self, image: np.ndarray) -> np.ndarray:
        """Halve the image until it is less than three times as large as it has to be.

        Linear interpolation skips source pixels beyond a factor of two, and averaging over any
        other factor than a whole one takes ten times as long as halving.
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
