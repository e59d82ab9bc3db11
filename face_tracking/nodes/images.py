# SPDX-License-Identifier: Apache-2.0
"""Images as messages: ``sensor_msgs/Image`` and ``CompressedImage`` to and from frames.

Not through cv_bridge: its wheel takes rows to be packed whatever ``step`` says and needs 0.7 ms
for what a single copy does in 0.05, and Jazzy's own build crashes under NumPy 2.
"""

from __future__ import annotations

import array

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from face_tracking.errors import UserError
from face_tracking.frame import Frame

NANOSECONDS = 1_000_000_000

# Encoding -> bytes of a pixel, and OpenCV's conversion to BGR (None: it is BGR already).
# OpenCV names a Bayer pattern after the second row's second and third pixel, ROS after the first
# row's first two, so that rggb is BG.
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    'bgr8': (3, None),
    '8UC3': (3, None),
    'rgb8': (3, cv2.COLOR_RGB2BGR),
    'bgra8': (4, cv2.COLOR_BGRA2BGR),
    '8UC4': (4, cv2.COLOR_BGRA2BGR),
    'rgba8': (4, cv2.COLOR_RGBA2BGR),
    'mono8': (1, cv2.COLOR_GRAY2BGR),
    '8UC1': (1, cv2.COLOR_GRAY2BGR),
    'mono16': (2, cv2.COLOR_GRAY2BGR),
    'bayer_rggb8': (1, cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': (1, cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': (1, cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': (1, cv2.COLOR_BayerGB2BGR),
    'uyvy': (2, cv2.COLOR_YUV2BGR_UYVY),
    'yuv422': (2, cv2.COLOR_YUV2BGR_UYVY),
    'yuyv': (2, cv2.COLOR_YUV2BGR_YUY2),
    'yuv422_yuy2': (2, cv2.COLOR_YUV2BGR_YUY2),
}


def to_time(stamp: int) -> Time:
    """Return a stamp in nanoseconds as a message."""
    return Time(sec=stamp // NANOSECONDS, nanosec=stamp % NANOSECONDS)


def from_time(time: Time) -> int:
    """Return a message's stamp in nanoseconds."""
    return time.sec * NANOSECONDS + time.nanosec


def to_header(stamp: int, frame_id: str) -> Header:
    """Return the header of everything that comes of the image with this stamp."""
    return Header(stamp=to_time(stamp), frame_id=frame_id)


def to_image(image: np.ndarray, header: Header) -> Image:
    """Return an image, uint8 (height, width, 3) BGR, as a ``bgr8`` message."""
    height, width = image.shape[:2]
    message = Image(header=header, height=height, width=width, encoding='bgr8', step=width * 3)
    message.data = _to_array(image)
    return message


def to_compressed(image: np.ndarray, header: Header, quality: int) -> CompressedImage:
    """Return an image, uint8 (height, width, 3) BGR, as a JPEG of the quality (1 to 100)."""
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    message = CompressedImage(header=header, format='bgr8; jpeg compressed bgr8')
    message.data = _to_array(encoded)
    return message


def from_image(message: Image, sequence: int = 0) -> Frame:
    """Return the image of a message; a packed or padded ``bgr8`` is a view, not a copy.

    :param message: in any of the 8-bit color, mono, Bayer and YUV 4:2:2 encodings, or mono16.
    :param sequence: the frame's number.
    :raises UserError: it has no pixels, an unknown encoding, or less data than it claims.
    """
    height, width, encoding = message.height, message.width, message.encoding
    if not height or not width:
        raise UserError(f'an image of {width}x{height} pixels came', 'check the camera driver')
    if encoding not in _ENCODINGS:
        raise UserError(
            f'an image with the encoding {encoding!r} came',
            'make the camera driver publish bgr8, rgb8, mono8, bayer_*8 or yuyv',
        )
    size, code = _ENCODINGS[encoding]
    if message.step < width * size:
        raise UserError(
            f'an image of width {width} in {encoding} came with a step of {message.step} bytes, '
            f'which must be at least {width * size}',
            'check the camera driver',
        )
    least = message.step * (height - 1) + width * size
    if len(message.data) < least:
        raise UserError(
            f'an image came with {len(message.data)} bytes where its size and step mean {least}',
            'check the camera driver',
        )
    pixels = _view(message, size)
    return Frame(
        image=pixels if code is None else cv2.cvtColor(pixels, code),
        stamp=from_time(message.header.stamp),
        frame_id=message.header.frame_id,
        sequence=sequence,
    )


def _view(message: Image, size: int) -> np.ndarray:
    data = np.frombuffer(message.data, np.uint8)
    shape = (message.height, message.width, size)
    pixels = np.ndarray(shape, np.uint8, data, strides=(message.step, size, 1))
    if message.encoding == 'mono16':
        return pixels[:, :, 0 if message.is_bigendian else 1]
    return pixels[:, :, 0] if size == 1 else pixels


def _to_array(pixels: np.ndarray) -> array.array:
    """Return bytes as the one type that a uint8[] field takes without a look at each element."""
    data = array.array('B')
    data.frombytes(memoryview(np.ascontiguousarray(pixels)).cast('B'))
    return data
