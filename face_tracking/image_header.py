# SPDX-License-Identifier: Apache-2.0
"""The size of an image file by its header, so that no decoder allocates what a file claims.

Read are JPEG, PNG, BMP, WebP, TIFF and the portable any-maps: the formats of
:data:`face_tracking.camera.image_folder.SUFFIXES`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from face_tracking.errors import UserError

MAX_IMAGE = 2**27
"""Pixels of an image file that is decoded at most: 134 megapixels, 400 MB in BGR."""

MAX_LIVE_IMAGE = 2**25
"""Pixels of one image of a camera or a message at most: 33 megapixels, as 8K has."""

UPRIGHT = 1
_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset((0x01, 0xD8, *range(0xD0, 0xD8)))
_ORIENTATION, _WIDTH, _HEIGHT = 274, 256, 257


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file states.

    :ivar format: ``jpeg``, ``png``, ``bmp``, ``webp``, ``tiff`` or ``pnm``.
    :ivar width: in pixels, as they are stored, like ``height``.
    :ivar orientation: of EXIF, 1 to 8; 1 is upright.
    """

    format: str
    width: int
    height: int
    orientation: int = UPRIGHT


def read_header(data: bytes, most_pixels: int = MAX_IMAGE) -> ImageHeader | None:
    """Return the header of an image file; None if this is not one that is whole.

    :raises UserError: the image has more than ``most_pixels`` pixels.
    """
    try:
        header = _parsed(data)
    except (struct.error, IndexError, ValueError):
        return None
    if header is None or header.width < 1 or header.height < 1:
        return None
    if header.width * header.height > most_pixels:
        raise UserError(
            f'the image has {header.width}x{header.height} pixels, more than {most_pixels}',
            'scale it down',
        )
    return header


def _parsed(data: bytes) -> ImageHeader | None:
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b'BM'):
        return _bmp(data)
    if data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        return _webp(data)
    if data[:4] in (b'II*\x00', b'MM\x00*'):
        tags = _tiff_tags(data)
        orientation = _orientation(tags)
        return ImageHeader('tiff', tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0), orientation)
    match = re.match(
        rb'P[1-6](?:\s+|#[^\n]*\n)*(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})\s', data[:4096]
    )
    return ImageHeader('pnm', int(match[1]), int(match[2])) if match else None


def _jpeg(data: bytes) -> ImageHeader | None:
    position, orientation = 2, UPRIGHT
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from('>H', data, position + 2)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from('>HH', data, position + 5)
            return ImageHeader('jpeg', width, height, orientation)
        if marker == 0xE1 and data[position + 4 : position + 10] == b'Exif\0\0':
            orientation = _exif_orientation(data[position + 10 : position + 2 + length])
        position += 2 + max(length, 2)
    return None


def _png(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from('>II', data, 16)
    orientation = UPRIGHT
    for kind, begin, length in _png_chunks(data):
        if kind == b'eXIf':
            orientation = _exif_orientation(data[begin : begin + length])
    return ImageHeader('png', width, height, orientation)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, begin and length of each chunk before the pixels."""
    position = len(_PNG)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        if kind == b'IDAT':
            return
        yield kind, position + 8, length
        position += length + 12


def _bmp(data: bytes) -> ImageHeader:
    (size,) = struct.unpack_from('<I', data, 14)
    width, height = struct.unpack_from('<HH' if size == 12 else '<ii', data, 18)
    return ImageHeader('bmp', width, abs(height))


def _webp(data: bytes) -> ImageHeader | None:
    kind = data[12:16]
    if kind == b'VP8X':
        width, height = (int.from_bytes(data[at : at + 3], 'little') + 1 for at in (24, 27))
        return ImageHeader('webp', width, height, _webp_orientation(data))
    if kind == b'VP8L':
        (bits,) = struct.unpack_from('<I', data, 21)
        return ImageHeader('webp', (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b'VP8 ':
        width, height = struct.unpack_from('<HH', data, 26)
        return ImageHeader('webp', width & 0x3FFF, height & 0x3FFF)
    return None


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from('<4sI', data, position)
        if kind == b'EXIF':
            exif = data[position + 8 : position + 8 + length]
            return _exif_orientation(exif.removeprefix(b'Exif\0\0'))
        position += 8 + length + length % 2
    return UPRIGHT


def _exif_orientation(exif: bytes) -> int:
    try:
        return _orientation(_tiff_tags(exif))
    except (struct.error, IndexError):
        return UPRIGHT


def _orientation(tags: dict[int, int]) -> int:
    found = tags.get(_ORIENTATION, UPRIGHT)
    return found if 1 <= found <= 8 else UPRIGHT


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Return the tags of the first directory that are one short or long integer."""
    order = '<' if data[:2] == b'II' else '>'
    (position,) = struct.unpack_from(f'{order}I', data, 4)
    (count,) = struct.unpack_from(f'{order}H', data, position)
    tags = {}
    for number in range(count):
        at = position + 2 + 12 * number
        tag, kind = struct.unpack_from(f'{order}HH', data, at)
        if kind in (3, 4):
            (tags[tag],) = struct.unpack_from(order + ('H' if kind == 3 else 'I'), data, at + 8)
    return tags
