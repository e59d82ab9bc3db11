# SPDX-License-Identifier: Apache-2.0
"""Images and boxes in the form that is sent, without a Python object for each field.

rclpy converts a message field by field, and an image is copied four times on its way through two
processes. A publisher takes serialized messages as well, and a raw subscription delivers them.
They are CDR in every middleware of ROS 2 (OMG DDSI-RTPS 2.3, section 10.2): numbers lie at
multiples of their size; a string is its length, its bytes and NUL, which the length includes; a
sequence is its length and its elements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from face_tracking.arrays import Array
from face_tracking.errors import UserError
from face_tracking.time_units import SECOND

Fields = TypeVar('Fields')
_LITTLE_ENDIAN = b'\x00\x01\x00\x00'
"""The first bytes of a message: plain CDR, little endian. Alignment counts from their end."""
_POSE = (0.0,) * 6 + (1.0,) + (0.0,) * 36
"""A geometry_msgs/PoseWithCovariance that is not used: position, orientation, covariance."""
_SIZES = {'B': 1, 'i': 4, 'I': 4, 'd': 8}
"""Bytes of the numbers, by their letter in the notation of ``struct``."""


class Stamp(NamedTuple):
    """The fields of builtin_interfaces/Time."""

    sec: int
    nanosec: int


class Header(NamedTuple):
    """The fields of std_msgs/Header."""

    stamp: Stamp
    frame_id: str


class ImageFields(NamedTuple):
    """The fields of sensor_msgs/Image; ``data`` is a part of the serialized message."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


class CompressedImageFields(NamedTuple):
    """The fields of sensor_msgs/CompressedImage; ``data`` is a part of the serialized message."""

    header: Header
    format: str
    data: memoryview


def image_to_cdr(image: Array, encoding: str, stamp: int, frame_id: str) -> bytes:
    """Return an image as a serialized sensor_msgs/Image.

    :param image: uint8 (height, width, channels).
    :param stamp: nanoseconds.
    """
    height, width, channels = image.shape
    out = _Writer()
    out.header(stamp, frame_id)
    out.numbers('II', height, width)
    out.string(encoding)
    out.numbers('B', 0)  # is_bigendian
    out.numbers('II', channels * width, image.size)
    return out.followed_by(np.ascontiguousarray(image).data)


def compressed_image_to_cdr(
    data: bytes | memoryview, encoding: str, stamp: int, frame_id: str
) -> bytes:
    """Return an image file as a serialized sensor_msgs/CompressedImage.

    :param data: the file.
    :param encoding: the field ``format``.
    :param stamp: nanoseconds.
    """
    out = _Writer()
    out.header(stamp, frame_id)
    out.string(encoding)
    out.numbers('I', len(data))
    return out.followed_by(data)


def boxes_to_cdr(
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    ids: Sequence[str],
    class_id: str,
    stamp: int,
    frame_id: str,
) -> bytes:
    """Return boxes as a serialized vision_msgs/Detection2DArray with one hypothesis for each.

    :param boxes: center and size in pixels: x, y, width, height.
    :param stamp: nanoseconds.
    """
    out = _Writer()
    out.header(stamp, frame_id)
    out.numbers('I', len(boxes))
    for (x, y, width, height), score, identity in zip(boxes, scores, ids, strict=True):
        out.header(stamp, frame_id)
        out.numbers('I', 1)
        out.string(class_id)
        out.numbers('49d', score, *_POSE, x, y, 0.0, width, height)
        out.string(identity)
    return out.followed_by(b'')


def image_from_cdr(data: bytes) -> ImageFields | None:
    """Return the fields of a serialized sensor_msgs/Image; None if its byte order is another.

    :raises UserError: the message is cut short.
    """
    return _read(data, _image)


def compressed_image_from_cdr(data: bytes) -> CompressedImageFields | None:
    """Return the fields of a serialized sensor_msgs/CompressedImage; None likewise.

    :raises UserError: the message is cut short.
    """
    return _read(data, _compressed_image)


def _read(data: bytes, fields: Callable[[_Reader], Fields]) -> Fields | None:
    """Return what ``fields`` reads of a message, None if its byte order is another."""
    if not data.startswith(_LITTLE_ENDIAN):
        return None
    try:
        return fields(_Reader(data))
    except struct.error:
        raise UserError(
            f'a message of {len(data)} bytes that ends too early was received',
            'check its publisher',
        ) from None


def _image(read: _Reader) -> ImageFields:
    header = read.header()
    height, width = read.numbers('II')
    encoding = read.string()
    (is_bigendian,) = read.numbers('B')
    (step,) = read.numbers('I')
    return ImageFields(header, height, width, encoding, is_bigendian, step, read.bytes())


def _compressed_image(read: _Reader) -> CompressedImageFields:
    return CompressedImageFields(read.header(), read.string(), read.bytes())


class _Writer:
    """Appends fields to a message."""

    def __init__(self) -> None:
        self._out = bytearray()

    def numbers(self, layout: str, *values: float) -> None:
        """Append numbers of one size, in the notation of ``struct``."""
        self._out += bytes(-len(self._out) % _SIZES[layout[-1]])
        self._out += struct.pack('<' + layout, *values)

    def string(self, text: str) -> None:
        """Append a string."""
        encoded = text.encode()
        self.numbers('I', len(encoded) + 1)
        self._out += encoded + b'\0'

    def header(self, stamp: int, frame_id: str) -> None:
        """Append a std_msgs/Header.

        :param stamp: nanoseconds.
        """
        self.numbers('iI', *divmod(stamp, SECOND))
        self.string(frame_id)

    def followed_by(self, data: bytes | memoryview) -> bytes:
        """Return the message, with bytes at its end: it is the only copy of them."""
        return b''.join((_LITTLE_ENDIAN, self._out, data))


class _Reader:
    """Reads the fields of a message in their order.

    :raises struct.error: the message ends before.
    """

    def __init__(self, data: bytes):
        self._data = memoryview(data)[len(_LITTLE_ENDIAN) :]
        self._position = 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        """Read numbers of one size, in the notation of ``struct``."""
        self._position += -self._position % _SIZES[layout[-1]]
        values = struct.unpack_from('<' + layout, self._data, self._position)
        self._position += struct.calcsize(layout)
        return values

    def bytes(self) -> memoryview:
        """Read a sequence of bytes."""
        (size,) = self.numbers('I')
        if size > len(self._data) - self._position:
            raise struct.error
        self._position += size
        return self._data[self._position - size : self._position]

    def string(self) -> str:
        """Read a string."""
        return str(self.bytes()[:-1], 'utf-8', 'replace')

    def header(self) -> Header:
        """Read a std_msgs/Header."""
        (seconds,) = self.numbers('i')
        (nanoseconds,) = self.numbers('I')
        return Header(Stamp(seconds, nanoseconds), self.string())
