# SPDX-License-Identifier: Apache-2.0
"""``camera/image_small/compressed``: small JPEGs for a detector at the other end of a network.

``; of 640x480`` at the end of ``format`` is the size of the full image. Positions found in the
small image are then in pixels of the full one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from sensor_msgs.msg import CompressedImage

from face_tracking.errors import UserError
from face_tracking.frame import Frame, size_within
from face_tracking.nodes.image_messages import (
    AnyCompressedImage,
    from_compressed,
    to_compressed,
    to_header,
)
from face_tracking.options import Options, option
from face_tracking.scaled_image import ScaledImage

MAX_SIDE = 8192
"""Pixels in a row or a column of an image, small or full."""
_ASPECT_TOLERANCE = 0.05
_FULL_SIZE = re.compile(r'; of (\d{1,5})x(\d{1,5})$')


@dataclass(frozen=True)
class SmallImageOptions(Options):
    """Images for a detector on another machine."""

    small_side: int = option(
        320,
        'Long side of the images on camera/image_small/compressed in pixels, or somewhat more: '
        'the image is divided by 1, 2, 4 or 8',
        32,
        MAX_SIDE,
    )
    small_quality: int = option(
        60, 'JPEG quality of camera/image_small/compressed, 1 to 100', 1, 100
    )
    small_rate: float = option(
        10.0,
        'Maximum rate of camera/image_small/compressed, in Hz; 0 = one for each image',
        0.0,
        1000.0,
    )


class RateLimit:
    """Selects no more messages per second than a limit."""

    def __init__(self) -> None:
        self._due = 0.0

    def due(self, rate: float) -> bool:
        """Return whether the next one may be sent; then it is counted as sent.

        :param rate: per second; 0 for no limit.
        """
        now = time.monotonic()
        if rate > 0 and now < self._due:
            return False
        # In steps of the period, so that 30 images per second become 10 and not 8.
        period = 1 / rate if rate > 0 else 0.0
        self._due = max(self._due, now - period) + period
        return True


def to_small(frame: Frame, options: SmallImageOptions) -> CompressedImage:
    """Return a small JPEG of a frame, with the frame's own size in ``format``."""
    width, height = size_within(options.small_side, frame.width, frame.height)
    pixels = frame.scaled_bgr(width, height)
    header = to_header(frame.stamp, frame.frame_id)
    message = to_compressed(pixels, header, options.small_quality)
    message.format = f'{message.format}; of {frame.width}x{frame.height}'
    return message


def frame_from_compressed(message: AnyCompressedImage) -> Frame:
    """Return a frame of the full size, whose pixels are those of the small image.

    A message that does not state a full size is an image of its own size.

    :raises UserError: it is not an image, or the size that it states is not possible.
    """
    frame = from_compressed(message)
    stated = _FULL_SIZE.search(message.format)
    if stated is None:
        return frame
    width, height = map(int, stated.groups())
    ratio = width * frame.height / max(frame.width * height, 1)
    if (
        not (frame.width <= width <= MAX_SIDE and frame.height <= height <= MAX_SIDE)
        or abs(ratio - 1) > _ASPECT_TOLERANCE
    ):
        raise UserError(
            f'a small image of {frame.width}x{frame.height} pixels states that it was made from '
            f'one of {width}x{height}',
            'check its publisher',
        )
    full = ScaledImage(frame.source, width, height)
    return Frame(full, frame.stamp, frame.frame_id, frame.sequence)
