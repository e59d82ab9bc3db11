# SPDX-License-Identifier: Apache-2.0
"""The forms in which cameras deliver images, each reduced before it is converted.

A form can be had in color or in gray at its full size divided by 1, 2, 4 or 8. JPEG is decoded at
the reduced size (libjpeg-turbo computes smaller inverse transforms), YUV is averaged before the
conversion, and gray is the luma that YUV and JPEG have already.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property, lru_cache
from typing import Protocol

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.errors import UserError

DIVISORS = (8, 4, 2, 1)

_REDUCED_COLOR = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_REDUCED_GRAY = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# BT.601 video levels: 16 to 235 are black to white.
_BLACK, _GAIN = 16, 255 / 219
# What each of two numbers of luma adds to a gray: half of that gain, as a fraction that float32
# holds exactly. The sum gets a quarter of its last place, so that no sum is between two grays.
_SHARE, _TIEBREAK = 149 / 256, 1 / 1024
_PLACES = 12  # each way, at which pixels are compared
_SAME_LEVELS = 8.0  # mean difference of pixels between two images of the same scene
_SAME_BYTES = 0.04  # of a JPEG file by which the next one may differ


class YuvConverter(Protocol):
    """Makes small images of YUV faster than OpenCV. All arrays are contiguous uint8."""

    def packed_half(self, pixels: Array, luma_first: bool) -> Array:
        """Return BGR (height / 2, width / 2, 3) of YUYV or UYVY (height, width, 2), even sides."""
        ...

    def packed_gray(self, pixels: Array, luma_first: bool) -> Array:
        """Return gray (height / 4, width / 4), bit by bit that which OpenCV's functions make."""
        ...

    def semi_planar_half(self, luma: Array, chroma: Array, v_first: bool) -> Array:
        """Return BGR (height / 2, width / 2, 3) of luma (height, width) and of their chroma."""
        ...


class EncodedImage(ABC):
    """An image in the form of its camera.

    :ivar width: of the image in pixels, like ``height``.
    :ivar flip: how it is mirrored after decoding: a code of ``cv2.flip``, None for not at all.
    :ivar converter: makes small images of YUV from now on; None leaves that to OpenCV.
    :ivar has_luma: gray is made without the detour by color.
    :ivar gray_from_color: where a color image is made anyway, gray is cheaper made from that. The
        motion of a camera at rest is then seen as up to a tenth of a pixel between an image whose
        gray was made from color and one whose gray was not.
    """

    has_luma = True
    gray_from_color = True

    def __init__(self, width: int, height: int, flip: int | None = None):
        self.width = width
        self.height = height
        self.flip = flip
        self.converter: YuvConverter | None = None
        self._samples: Array | None = None

    def divisor_for(self, width: int, height: int) -> int:
        """Return the largest divisor that leaves at least so many pixels, 1 if none does."""
        for divisor in DIVISORS:
            if (
                -(-self.width // divisor) >= width
                and -(-self.height // divisor) >= height
                and self.allows(divisor)
            ):
                return divisor
        return 1

    def allows(self, divisor: int) -> bool:
        """Return whether the image reduced by this divisor shows just the whole image."""
        return True

    def bgr(self, divisor: int) -> Array:
        """Return uint8 (ceil(height / divisor), ceil(width / divisor), 3), BGR.

        :raises UserError: the image is damaged.
        """
        return self._flipped(self._bgr(divisor))

    def gray(self, divisor: int) -> Array:
        """Return uint8 (ceil(height / divisor), ceil(width / divisor)).

        :raises UserError: the image is damaged.
        """
        return self._flipped(self._gray(divisor))

    def reduced(self, width: int, height: int) -> EncodedImage:
        """Return an image that takes little memory and still has that many pixels.

        Its sides need not be reduced by the same factor.
        """
        divisor = self.divisor_for(width, height)
        return self if divisor == 1 else ArrayImage(self.bgr(divisor))

    def resembles(self, other: EncodedImage) -> bool:
        """Return whether it probably shows the same scene as ``other``, by a cheap comparison.

        Images of one form and size are compared at a few places. False where the two cannot be
        compared.
        """
        if type(self) is not type(other) or (self.width, self.height) != (
            other.width,
            other.height,
        ):
            return False
        own, others = self._sampled(), other._sampled()
        if own is None or others is None or own.shape != others.shape:
            return False
        return cv2.norm(own, others, cv2.NORM_L1) < _SAME_LEVELS * own.size

    def _sampled(self) -> Array | None:
        """Return the pixels at a few places, uint8; None for a form that has none yet."""
        if self._samples is None:
            self._samples = self._sample()
        return self._samples

    def _sample(self) -> Array | None:
        """Read what :meth:`_sampled` returns."""
        return None

    @abstractmethod
    def _bgr(self, divisor: int) -> Array:
        """Return :meth:`bgr` before it is mirrored."""

    @abstractmethod
    def _gray(self, divisor: int) -> Array:
        """Return :meth:`gray` before it is mirrored."""

    def _flipped(self, image: Array) -> Array:
        return image if self.flip is None else cv2.flip(image, self.flip)


class ArrayImage(EncodedImage):
    """Pixels in an array, which are converted after they have been reduced.

    :param pixels: uint8 (height, width) or (height, width, channels).
    :param to_bgr: the conversion of ``cv2.cvtColor`` to BGR; None if the pixels are BGR.
    :param to_gray: that to gray; None if the pixels are gray.
    """

    has_luma = False

    def __init__(
        self,
        pixels: Array,
        to_bgr: int | None = None,
        to_gray: int | None = cv2.COLOR_BGR2GRAY,
        flip: int | None = None,
    ):
        super().__init__(pixels.shape[1], pixels.shape[0], flip)
        self.pixels = pixels
        self._to_bgr = to_bgr
        self._to_gray = to_gray

    def reduced(self, width: int, height: int) -> EncodedImage:
        """Return the pixels scaled to that size, if they are more."""
        if self.width <= width and self.height <= height:
            return self
        pixels = halve_towards(self.pixels, width, height)
        return ArrayImage(pixels, self._to_bgr, self._to_gray, self.flip)

    def _sample(self) -> Array:
        return self.pixels[_places(self.height, self.width)].copy()

    def _bgr(self, divisor: int) -> Array:
        return _converted(divide(self.pixels, divisor), self._to_bgr)

    def _gray(self, divisor: int) -> Array:
        return _converted(divide(self.pixels, divisor), self._to_gray)


class JpegImage(EncodedImage):
    """A JPEG file, decoded at the size that is asked for.

    :param data: the file.
    :param width: the size that its header states, in pixels, like ``height``.
    """

    def __init__(self, data: bytes, width: int, height: int, flip: int | None = None):
        super().__init__(width, height, flip)
        self.data = data

    def allows(self, divisor: int) -> bool:
        """Return whether it divides both sides: the decoder pads the last block otherwise."""
        return self.width % divisor == 0 and self.height % divisor == 0

    def reduced(self, width: int, height: int) -> EncodedImage:
        """Return this image: compressed, it takes less memory than any other form."""
        return self

    def resembles(self, other: EncodedImage) -> bool:
        """Compare the sizes of the files: that of a camera at rest hardly changes."""
        if not isinstance(other, JpegImage):
            return False
        return abs(len(self.data) - len(other.data)) <= _SAME_BYTES * len(other.data)

    def _bgr(self, divisor: int) -> Array:
        return self._decoded(_REDUCED_COLOR[divisor])

    def _gray(self, divisor: int) -> Array:
        return self._decoded(_REDUCED_GRAY[divisor])

    def _decoded(self, mode: int) -> Array:
        data = np.frombuffer(self.data, np.uint8)
        try:
            image = cv2.imdecode(data, mode | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:
            image = None
        if image is None:
            raise UserError(
                f'a JPEG image of {self.width}x{self.height} pixels cannot be decoded',
                'check the camera and its cable',
            )
        return image


class YuvImage(EncodedImage):
    """Luma with chroma for each second pixel of each second row, or of each row.

    Sides that a divisor does not divide are converted at full size and then reduced.
    """

    gray_from_color = False

    def _bgr(self, divisor: int) -> Array:
        if divisor == 1:
            return self._full_bgr()
        if not self._divides(2 * divisor):
            return divide(self._full_bgr(), divisor)
        return cv2.cvtColorTwoPlane(
            np.ascontiguousarray(self._luma(divisor)),
            np.ascontiguousarray(self._chroma(2 * divisor)),
            cv2.COLOR_YUV2BGR_NV12,
        )

    def _gray(self, divisor: int) -> Array:
        luma = self._luma(divisor) if self._divides(divisor) else divide(self._luma(1), divisor)
        # One weighted sum stretches video levels to 0..255, as the conversion to BGR does.
        return cv2.addWeighted(luma, _GAIN, luma, 0, -_BLACK * _GAIN)

    def reduced(self, width: int, height: int) -> EncodedImage:
        """Return the reduced luma and chroma, which are converted only if they are used."""
        divisor = self.divisor_for(width, height)
        if divisor == 1 or not self._divides(2 * divisor):
            return super().reduced(width, height)
        return SemiPlanarImage(self._luma(divisor), self._chroma(2 * divisor), flip=self.flip)

    def _divides(self, divisor: int) -> bool:
        return self.width % divisor == 0 and self.height % divisor == 0

    @abstractmethod
    def _full_bgr(self) -> Array:
        """Return the image at full size in BGR."""

    @abstractmethod
    def _luma(self, divisor: int) -> Array:
        """Return Y of blocks of ``divisor`` pixels square, (height / divisor, width / divisor)."""

    @abstractmethod
    def _chroma(self, divisor: int) -> Array:
        """Return U and V of such blocks, (height / divisor, width / divisor, 2)."""


class PackedYuvImage(YuvImage):
    """YUV 4:2:2 with the samples of two pixels together: YUYV or UYVY.

    :param pixels: uint8 (height, width, 2); the width is even.
    :param luma_first: YUYV if true, UYVY if not.
    """

    def __init__(self, pixels: Array, luma_first: bool = True, flip: int | None = None):
        super().__init__(pixels.shape[1], pixels.shape[0], flip)
        if self.width % 2:
            raise ValueError(f'YUV 4:2:2 has no odd width, such as {self.width}')
        self._pixels = np.ascontiguousarray(pixels)
        self._first = luma_first

    def _sample(self) -> Array:
        # NumPy copies one number of 16 bits for each pixel faster than two of 8.
        numbers = self._pixels.view(np.uint16)[..., 0]
        return numbers[_places(self.height, self.width)].copy().view(np.uint8)

    def _bgr(self, divisor: int) -> Array:
        converter = self.converter  # another thread may set it
        if divisor == 2 and converter is not None and self._divides(2):
            return converter.packed_half(self._pixels, self._first)
        return super()._bgr(divisor)

    def _full_bgr(self) -> Array:
        code = cv2.COLOR_YUV2BGR_YUY2 if self._first else cv2.COLOR_YUV2BGR_UYVY
        return cv2.cvtColor(self._pixels, code)

    def reduced(self, width: int, height: int) -> EncodedImage:
        """Return every second or fourth row where so many are enough: that is a mere copy."""
        divisor = self.divisor_for(width, height)
        if divisor in (2, 4):
            return PackedYuvImage(self._pixels[::divisor].copy(), self._first, self.flip)
        return super().reduced(width, height)

    def _gray(self, divisor: int) -> Array:
        if divisor < 4 or not self._divides(divisor):
            return super()._gray(divisor)
        converter = self.converter
        if divisor == 4 and converter is not None:
            return converter.packed_gray(self._pixels, self._first)
        # Every second row, of which two are averaged, is enough for a quarter of the size. The
        # last halving of the columns, in which OpenCV is slow, is part of the stretching.
        rows = cv2.split(self._pixels[::2])[self._luma_channel]
        columns = halve_towards(rows, 2 * self.width // divisor, self.height // divisor)
        left, right = cv2.split(columns.reshape(len(columns), -1, 2))
        return cv2.addWeighted(left, _SHARE, right, _SHARE, _TIEBREAK - 2 * _BLACK * _SHARE)

    def _luma(self, divisor: int) -> Array:
        return divide(self._full_luma, divisor)

    def _chroma(self, divisor: int) -> Array:
        # One sample stands for its block: averaging would cost more than all the rest.
        pairs = self._pixels.reshape(self.height, self.width // 2, 4)
        size = self.width // divisor, self.height // divisor
        samples = cv2.resize(pairs, size, interpolation=cv2.INTER_NEAREST)
        # OpenCV takes apart and joins faster than NumPy copies every second byte.
        return cv2.merge(cv2.split(samples)[1 - self._luma_channel :: 2])

    @cached_property
    def _full_luma(self) -> Array:
        # Both channels, since OpenCV has vector code for that and none to extract one.
        return cv2.split(self._pixels)[self._luma_channel]

    @property
    def _luma_channel(self) -> int:
        return 0 if self._first else 1


class SemiPlanarImage(YuvImage):
    """YUV 4:2:0 with the luma in one plane and the chroma in another: NV12, NV21, I420.

    :param luma: uint8 (height, width); both are even.
    :param chroma: uint8 (height / 2, width / 2, 2), U and V.
    :param v_first: V comes before U, as in NV21.
    """

    def __init__(
        self,
        luma: Array,
        chroma: Array,
        v_first: bool = False,
        flip: int | None = None,
    ):
        super().__init__(luma.shape[1], luma.shape[0], flip)
        if self.width % 2 or self.height % 2:
            raise ValueError(f'YUV 4:2:0 has no odd sides, such as {self.width}x{self.height}')
        self._y = luma
        self._uv = chroma
        self._v_first = v_first

    def _sample(self) -> Array:
        return self._y[_places(self.height, self.width)].copy()

    def _bgr(self, divisor: int) -> Array:
        converter = self.converter
        if divisor == 2 and converter is not None:
            luma, chroma = map(np.ascontiguousarray, (self._y, self._uv))
            return converter.semi_planar_half(luma, chroma, self._v_first)
        return super()._bgr(divisor)

    def _full_bgr(self) -> Array:
        code = cv2.COLOR_YUV2BGR_NV21 if self._v_first else cv2.COLOR_YUV2BGR_NV12
        luma, chroma = map(np.ascontiguousarray, (self._y, self._uv))
        return cv2.cvtColorTwoPlane(luma, chroma, code)

    def _luma(self, divisor: int) -> Array:
        return divide(self._y, divisor)

    def _chroma(self, divisor: int) -> Array:
        step = divisor // 2
        chroma = self._uv[::step, ::step]
        return chroma[..., ::-1] if self._v_first else chroma


def divide(image: Array, divisor: int) -> Array:
    """Return an image with its sides divided, rounded up, every pixel averaged in."""
    height, width = -(-image.shape[0] // divisor), -(-image.shape[1] // divisor)
    return halve_towards(image, width, height)


def halve_towards(image: Array, width: int, height: int) -> Array:
    """Return an image scaled down to a size, every pixel averaged in.

    Halving comes first: OpenCV has a fast way to average pixels for that factor only.
    """
    rows, columns = image.shape[:2]
    while columns >= 2 * width and rows >= 2 * height and columns % 2 == 0 and rows % 2 == 0:
        columns, rows = columns // 2, rows // 2
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    if (columns, rows) != (width, height):
        smaller = columns >= width and rows >= height
        way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        image = cv2.resize(image, (width, height), interpolation=way)
    return image


@lru_cache(maxsize=16)
def _places(height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and the columns at which images of a size are compared."""
    down, across = (max(side // _PLACES, 1) for side in (height, width))
    return slice(down // 2, None, down), slice(across // 2, None, across)


def _converted(pixels: Array, code: int | None) -> Array:
    return pixels if code is None else cv2.cvtColor(pixels, code)
