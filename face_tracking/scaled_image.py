# SPDX-License-Identifier: Apache-2.0
"""A reduced copy that reports coordinates of the full-size image."""

from __future__ import annotations

from face_tracking.arrays import Array
from face_tracking.encoded_images import EncodedImage, halve_towards


class ScaledImage(EncodedImage):
    """A reduced copy of an image with the interface and the coordinates of the full-size image.

    Positions are in pixels of the full-size image. Sizes above that of the copy are scaled up.

    :param copy: the reduced image.
    :param width: of the full-size image in pixels, like ``height``.
    """

    def __init__(self, copy: EncodedImage, width: int, height: int):
        super().__init__(width, height)
        self._copy = copy

    def reduced(self, width: int, height: int) -> EncodedImage:
        """Return this image: it takes little memory."""
        return self

    def _bgr(self, divisor: int) -> Array:
        size = self._size(divisor)
        return halve_towards(self._copy.bgr(self._copy.divisor_for(*size)), *size)

    def _gray(self, divisor: int) -> Array:
        size = self._size(divisor)
        return halve_towards(self._copy.gray(self._copy.divisor_for(*size)), *size)

    def _size(self, divisor: int) -> tuple[int, int]:
        return -(-self.width // divisor), -(-self.height // divisor)
