# SPDX-License-Identifier: Apache-2.0
"""Cuts and sudden jumps of the camera: when the whole image changed at once.

After a cut nothing is where it was. Two images in a row are compared as thumbnails, by their
correlation, which neither brightness nor contrast changes. A camera that merely moves fast changes
the thumbnails too, but then the background can be followed.

Two shots may look alike from afar: two people filmed one after the other in the same place, or
pictures with the same wide black borders. So there is a range in which a cut is possible.
"""

from __future__ import annotations

from enum import IntEnum

import cv2
import numpy as np

from face_tracking.arrays import FloatArray
from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.optical_flow import Warp

_THUMBNAIL = (16, 12)  # pixels
_CUT = 0.7  # correlation; measured: 0.66 and less at cuts, 0.75 and more between other images
_POSSIBLE = 0.9  # measured: up to 0.82 between shots that look alike from afar
_CONTRAST = 2.0  # gray levels of standard deviation, below which a thumbnail shows nothing


class Cut(IntEnum):
    """Whether the scene changed between two images."""

    NONE = 0
    POSSIBLE = 1
    CERTAIN = 2


def find_cut(before: ImagePyramid, after: ImagePyramid, warp: Warp | None) -> Cut:
    """Return whether an image shows another scene, or another part of it, than the one before.

    :param warp: how the background moved, None where that could not be measured.
    """
    if warp is not None:
        return Cut.NONE
    first, second = (_thumbnail(pyramid) for pyramid in (before, after))
    energy = float(np.sqrt((first * first).mean() * (second * second).mean()))
    if energy <= _CONTRAST**2:
        return Cut.NONE
    correlation = float((first * second).mean()) / energy
    if correlation < _CUT:
        return Cut.CERTAIN
    return Cut.POSSIBLE if correlation < _POSSIBLE else Cut.NONE


def _thumbnail(pyramid: ImagePyramid) -> FloatArray:
    """Return a small gray image without its mean, float32 (12, 16)."""
    small = cv2.resize(pyramid.gray, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    return small - small.mean()
