# SPDX-License-Identifier: Apache-2.0
"""Reading image files: bounded, upright, and JPEG undecoded where that is enough."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.encoded_images import ArrayImage, EncodedImage, JpegImage
from face_tracking.errors import UserError
from face_tracking.image_header import UPRIGHT, ImageHeader, read_header

MAX_FILE_BYTES = 2**28
"""Bytes of an image file that is read at most."""

_PNG = b'\x89PNG\r\n\x1a\n'
_ORIENTED = ('jpeg', 'png', 'webp')


def read_image(path: Path) -> Array:
    """Return an image file as uint8 (height, width, 3) BGR, turned upright as its EXIF states.

    :raises UserError: it cannot be read or decoded, or it is too large.
    """
    data, header = _read(path)
    return _decoded(path, data, header)


def read_encoded(path: Path) -> EncodedImage:
    """Return an image file, upright; a JPEG that is upright and whole is not decoded yet.

    :raises UserError: see :func:`read_image`.
    """
    data, header = _read(path)
    if header.format == 'jpeg' and header.orientation == UPRIGHT and not _cut_short(data):
        return JpegImage(data, header.width, header.height)
    return ArrayImage(_decoded(path, data, header))


def _read(path: Path) -> tuple[bytes, ImageHeader]:
    try:
        # Not blocking: a pipe, which is refused, would be waited for.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = _content(path, file)
        finally:
            os.close(file)
    except OSError as error:
        raise UserError(
            f'{path} cannot be read ({error.strerror})', 'check the path and its permissions'
        ) from error
    try:
        header = read_header(data)
    except UserError as error:
        raise UserError(f'{path}: {error.problem}', error.remedy) from error
    if header is None:
        raise _not_an_image(path)
    return data, header


def _content(path: Path, file: int) -> bytes:
    """Return the bytes of an open file.

    :raises UserError: it is not a regular file, or too large.
    """
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f'{path} is not a regular file', 'give an image file')
    if status.st_size > MAX_FILE_BYTES:
        raise UserError(
            f'{path} has {status.st_size} bytes, more than {MAX_FILE_BYTES}', 'scale it down'
        )
    return os.read(file, status.st_size + 1)


def _decoded(path: Path, data: bytes, header: ImageHeader) -> Array:
    oriented = header.format in _ORIENTED
    mode = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if oriented else 0)
    pixels = np.frombuffer(_without_color_profile(data), np.uint8)
    try:
        image = cv2.imdecode(pixels, mode)
    except cv2.error:
        image = None
    if image is None:
        raise _not_an_image(path)
    return upright(image, header.orientation) if oriented else image


def upright(image: Array, orientation: int) -> Array:
    """Return an image turned as an EXIF orientation, 1 to 8, states."""
    if orientation >= 5:
        image = cv2.transpose(image)
    code = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return image if code is None else cv2.flip(image, code)


def _not_an_image(path: Path) -> UserError:
    return UserError(f'{path} is not an image that OpenCV can read', 'check that it is whole')


def _without_color_profile(data: bytes) -> bytes:
    """Return a PNG without its ICC profile: OpenCV ignores it, and libpng prints warnings."""
    if not data.startswith(_PNG):
        return data
    position = len(_PNG)
    while position + 8 <= len(data):
        size, kind = struct.unpack_from('>I4s', data, position)
        if kind == b'iCCP':
            return data[:position] + data[position + size + 12 :]
        if kind == b'IDAT':
            break
        position += size + 12
    return data


def _cut_short(data: bytes) -> bool:
    """Return whether the end of a JPEG file is missing."""
    # The end of image follows the last start of scan; that of a thumbnail lies before it.
    if data.endswith(b'\xff\xd9'):  # no need to look for the scan, which is far ahead
        return False
    return data.rfind(b'\xff\xd9') < data.rfind(b'\xff\xda')
