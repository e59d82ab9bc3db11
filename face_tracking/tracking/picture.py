# SPDX-License-Identifier: Apache-2.0
"""A picture at the size at which the tracker looks: small, and in grey where that will do."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

LONG_SIDE = 320
"""Pixels. Motion is measured to a tenth of a pixel, so half a picture's size loses nothing."""


class Picture:
    """One picture, shrunk once; what is derived from it is made when first asked for.

    :param image: uint8 (height, width, 3), BGR; kept by reference.
    :ivar shape: height and width of the picture as it came, pixels.
    :ivar scale: small pixels per pixel, across and down, float64 (2,).
    """

    def __init__(self, image: np.ndarray):
        self._image: np.ndarray | None = image
        self.shape = height, width = image.shape[:2]
        ratio = min(LONG_SIDE / max(height, width), 1.0)
        size = max(round(width * ratio), 1), max(round(height * ratio), 1)
        self.small = image if ratio == 1.0 else cv2.resize(
            image, size, interpolation=cv2.INTER_AREA)
        self.scale = np.array([size[0] / width, size[1] / height])

    @property
    def image(self) -> np.ndarray:
        """The picture as it came; gone once :meth:`release` was called."""
        return self._image

    def release(self) -> None:
        """Let go of the picture as it came: what is remembered should be small."""
        self._image = None

    @cached_property
    def grey(self) -> np.ndarray:
        """The small picture in grey, uint8 (h, w)."""
        return cv2.cvtColor(self.small, cv2.COLOR_BGR2GRAY)
