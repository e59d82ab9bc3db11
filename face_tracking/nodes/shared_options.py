# SPDX-License-Identifier: Apache-2.0
"""Options that several nodes have in common, each declared once."""

from __future__ import annotations

from dataclasses import dataclass

from face_tracking.options import Options, option


def token_file_option() -> str:
    """Return the row of the parameter that names the token file of a server."""
    return option(
        '',
        'File with the token, created if missing; empty = ~/.local/share/face_tracking/token',
        read_only=True,
    )


@dataclass(frozen=True)
class FaceSizeOptions(Options):
    """The size of a face, from which its distance follows."""

    face_height: float = option(
        0.22,
        'Height of a face as the detector frames it, in meters; the distance of a face is '
        'computed from it',
        0.01,
        10.0,
    )


@dataclass(frozen=True)
class JpegOptions(Options):
    """The quality of compressed images."""

    jpeg_quality: int = option(80, 'JPEG quality of the compressed images, 1 to 100', 1, 100)


@dataclass(frozen=True)
class ImageInputOptions(Options):
    """How a node receives its images."""

    image_transport: str = option(
        'raw',
        'Transport of the input images: raw subscribes to camera/image_raw, compressed to '
        'camera/image_raw/compressed (JPEG is decoded at a reduced size, which costs less), small '
        'to camera/image_small/compressed (for a detector on another machine)',
        choices=('raw', 'compressed', 'small'),
        read_only=True,
    )


@dataclass(frozen=True)
class ActionFileOptions(Options):
    """Where zones, people, commands and rules are described."""

    actions_file: str = option(
        '',
        'Path of a YAML file with zones, people, commands and rules (config/actions.yaml shows '
        'how); empty = none',
        read_only=True,
    )
