# SPDX-License-Identifier: Apache-2.0
"""Images from other nodes: bounded, converted, stamped; or refused with the reason."""

from __future__ import annotations

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from face_tracking.errors import UserError
from face_tracking.frame import Frame
from face_tracking.nodes.cdr import (
    CompressedImageFields,
    compressed_image_from_cdr,
    image_from_cdr,
)
from face_tracking.nodes.image_messages import AnyCompressedImage, AnyImage, from_image
from face_tracking.nodes.log_limiter import shorten
from face_tracking.nodes.small_images import frame_from_compressed

MAX_SIDE = 8192
"""Pixels in a row or a column of an image."""
MAX_NAME_LENGTH = 256
"""Characters of an encoding or a frame id."""


def image_topic(transport: str) -> tuple[str, type[Image] | type[CompressedImage]]:
    """Return the name and type of the topic of the input images.

    :param transport: ``raw``, ``compressed`` or ``small``.
    """
    if transport == 'small':
        return 'camera/image_small/compressed', CompressedImage
    if transport == 'compressed':
        return 'camera/image_raw/compressed', CompressedImage
    return 'camera/image_raw', Image


def read_serialized_image(
    data: bytes, kind: type[Image] | type[CompressedImage], now: int
) -> Frame:
    """Return the image of a serialized message, of which the pixels are not copied.

    :param data: as a raw subscription receives it.
    :param kind: its type.
    :param now: see :func:`read_image`.
    :raises UserError: see :func:`read_image`.
    """
    read = compressed_image_from_cdr if kind is CompressedImage else image_from_cdr
    return read_image(read(data) or deserialize_message(data, kind), now)


def read_image(message: AnyImage | AnyCompressedImage, now: int) -> Frame:
    """Return the image of a message.

    :param message: in any encoding that :func:`from_image` supports, or compressed.
    :param now: the stamp in nanoseconds of an image that has none (zero).
    :raises UserError: the image is too large, damaged or of an unknown encoding.
    """
    if isinstance(message, CompressedImage | CompressedImageFields):
        frame = frame_from_compressed(message)
    else:
        check_image(message)
        frame = from_image(message)
    return frame.with_stamp(now) if frame.stamp == 0 else frame


def check_image(message: AnyImage) -> None:
    """Check the sizes of a message before anything is done with it.

    :raises UserError: a size is out of bounds.
    """
    if max(message.width, message.height) > MAX_SIDE:
        raise UserError(
            f'an image of {message.width}x{message.height} pixels was received',
            f'publish images of at most {MAX_SIDE} pixels a side',
        )
    for name, text in (('encoding', message.encoding), ('frame_id', message.header.frame_id)):
        if len(text) > MAX_NAME_LENGTH:
            raise UserError(
                f'an image with a {name} of {len(text)} characters was received '
                f'({shorten(text, 40)})',
                f'use at most {MAX_NAME_LENGTH} characters',
            )
