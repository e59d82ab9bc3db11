# SPDX-License-Identifier: Apache-2.0
"""Fitting a picture of any size into a network's input, and finding the way back."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from face_tracking.errors import UserError


class Fit(NamedTuple):
    """How many pixels of the source one pixel of the network's input stands for, x and y."""

    x: float
    y: float


class Letterbox:
    """Scales pictures into a fixed size, keeping their aspect; what is left over stays black.

    The picture goes to the top-left corner, so that the way back is a scale alone. The returned
    picture is a buffer that the next call writes over, or the source itself where it fits as
    it is.

    :param width: of the network's input in pixels, like ``height``.
    :param long_side: scale a picture no further than to this long side; None fills the input.
    """

    def __init__(self, width: int, height: int, long_side: int | None = None):
        self.width = width
        self.height = height
        self.long_side = long_side
        self._canvas = np.zeros((height, width, 3), np.uint8)
        self._filled = (0, 0)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Fit]:
        """Return the picture, uint8 (height, width, 3), and the fit that leads back.

        :param image: uint8 (H, W, 3).
        :raises UserError: if ``image`` is anything else, or has no pixels.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UserError(
                f'a picture of shape {image.shape} and type {image.dtype} cannot be searched',
                'give 8-bit colour pictures with at least one pixel')
        height, width = image.shape[:2]
        inner = self._inner_size(width, height)
        fit = Fit(width / inner[0], height / inner[1])
        if (width, height) == inner == (self.width, self.height):
            return image, fit
        if inner != self._filled:
            self._canvas[:] = 0
            self._filled = inner
        target = self._canvas[:inner[1], :inner[0]]
        cv2.resize(image, inner, dst=target, interpolation=_interpolation(fit))
        return self._canvas, fit

    def _inner_size(self, width: int, height: int) -> tuple[int, int]:
        scale = min(self.width / width, self.height / height)
        if self.long_side:
            scale = min(scale, self.long_side / max(width, height))
        return max(round(width * scale), 1), max(round(height * scale), 1)


def _interpolation(fit: Fit) -> int:
    # Up to a factor of two, linear interpolation still touches every source pixel.
    return cv2.INTER_LINEAR if max(fit) <= 2 else cv2.INTER_AREA
