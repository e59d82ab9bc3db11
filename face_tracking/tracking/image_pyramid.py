# SPDX-License-Identifier: Apache-2.0
"""An image at the sizes at which the tracker looks: small in color, smaller in gray."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

LONG_SIDE = 320
"""Pixels of the image in which faces are compared by their looks."""

FLOW_SIDE = 160
"""Pixels of the image in which motion is measured, to a twentieth of a pixel."""


class ImagePyramid:
    """One image, shrunk once; what is derived from it is made when first asked for.

    :param image: uint8 (height, width, 3), BGR; kept by reference.
    :ivar shape: height and width of the image as it came, pixels.
    :ivar small: the image in color, its long side at most :data:`LONG_SIDE`.
    :ivar scale: pixels of ``small`` per pixel, for the x1, y1, x2, y2 of a box, float64 (4,).
    """

    def __init__(self, image: np.ndarray):
        self._image: np.ndarray | None = image
        self.shape = image.shape[:2]
        self.small = _shrunk(image, LONG_SIDE)
        self.scale = np.array(2 * _scale(self.small, self.shape))

    @property
    def image(self) -> np.ndarray:
        """The image as it came; gone once :meth:`release` was called."""
        return self._image

    def release(self) -> None:
        """Let go of the image as it came: what is remembered should be small."""
        self._image = None

    @cached_property
    def gray(self) -> np.ndarray:
        """The image in gray, uint8 (h, w), its long side at most :data:`FLOW_SIDE`."""
        return cv2.cvtColor(_shrunk(self.small, FLOW_SIDE), cv2.COLOR_BGR2GRAY)

    @cached_property
    def gray_scale(self) -> np.ndarray:
        """Pixels of ``gray`` per pixel, across and down, float64 (2,)."""
        return np.array(_scale(self.gray, self.shape))


def _scale(small: np.ndarray, shape: tuple[int, int]) -> tuple[float, float]:
    return small.shape[1] / shape[1], small.shape[0] / shape[0]


def _shrunk(image: np.ndarray, long_side: int) -> np.ndarray:
    """Return the image with its long side at most that long, every pixel averaged in."""
    height, width = image.shape[:2]
    ratio = long_side / max(height, width)
    size = max(round(width * ratio), 1), max(round(height * ratio), 1)
    # OpenCV has a fast way to average pixels for one factor only, 2.
    while ratio <= 0.5 and height % 2 == 0 and width % 2 == 0:
        width, height, ratio = width // 2, height // 2, 2 * ratio
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if ratio < 1:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image
