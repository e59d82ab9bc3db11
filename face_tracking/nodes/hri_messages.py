# SPDX-License-Identifier: Apache-2.0
"""Faces as the messages of REP 155; imported only where ``hri_msgs`` is installed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from hri_msgs.msg import (
    FacialLandmarks,
    IdsList,
    NormalizedPointOfInterest2D,
    NormalizedRegionOfInterest2D,
)
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from face_tracking.arrays import Array, ImageArray

# The five landmarks of the detector, in its order: the eye on the left of the image is the
# person's right one.
POINTS = (
    FacialLandmarks.RIGHT_PUPIL,
    FacialLandmarks.LEFT_PUPIL,
    FacialLandmarks.NOSE,
    FacialLandmarks.MOUTH_OUTER_RIGHT,
    FacialLandmarks.MOUTH_OUTER_LEFT,
)
PART_TYPES = {
    'roi': NormalizedRegionOfInterest2D,
    'landmarks': FacialLandmarks,
    'cropped': Image,
    'aligned': Image,
}
"""The type of each topic below a face."""
COUNT = 70
"""Landmarks of a message; those that are not known have confidence 0."""
CROP_SIZE = 128
"""Pixels: cropped and aligned faces are squares of this side."""
# Where the eyes and the mouth are in an aligned face, over its side.
_ALIGNED = np.array([[0.33, 0.38], [0.67, 0.38], [0.5, 0.58], [0.37, 0.75], [0.63, 0.75]])


def face_id(track: int) -> str:
    """Return the id of a face in REP 155: a name that can be part of a topic."""
    return f'f{track:05d}'


def to_ids(ids: list[str], header: Header) -> IdsList:
    """Return a list of ids."""
    return IdsList(header=header, ids=ids)


def to_roi(
    box: Array, score: float, size: tuple[int, int], header: Header
) -> NormalizedRegionOfInterest2D:
    """Return a box (4,) in pixels, normalized by the size (width, height) of the image."""
    corners = np.clip(np.asarray(box, np.float64) / [*size, *size], 0.0, 1.0).tolist()
    xmin, ymin, xmax, ymax = corners
    return NormalizedRegionOfInterest2D(
        header=header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=float(score)
    )


def to_facial_landmarks(
    landmarks: Array, score: float, size: tuple[int, int], header: Header
) -> FacialLandmarks:
    """Return five landmarks (5, 2) in pixels; the other points have confidence 0."""
    points = [NormalizedPointOfInterest2D() for _ in range(COUNT)]
    if np.isfinite(landmarks).all():
        for name, (x, y) in zip(POINTS, (landmarks / size).tolist(), strict=True):
            points[name] = NormalizedPointOfInterest2D(x=x, y=y, c=float(score))
    return FacialLandmarks(header=header, landmarks=points, width=size[0], height=size[1])


def cropped(image: ImageArray, box: Array) -> ImageArray:
    """Return the square around a box, uint8 (128, 128, 3); black out of the image."""
    center = (box[:2] + box[2:]) / 2
    side = max(float((box[2:] - box[:2]).max()), 1.0)
    scale = CROP_SIZE / side
    shift = CROP_SIZE / 2 - scale * center
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return np.asarray(cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE)), np.uint8)


def aligned(image: ImageArray, landmarks: Array) -> ImageArray | None:
    """Return a face turned upright by its landmarks (5, 2), None without them."""
    if not np.isfinite(landmarks).all():
        return None
    target = (_ALIGNED * CROP_SIZE).astype(np.float32)
    found: Any = cv2.estimateAffinePartial2D(
        landmarks.astype(np.float32), target, method=cv2.LMEDS
    )
    matrix = found[0]
    if matrix is None:  # the points do not determine one
        return None
    return np.asarray(cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE)), np.uint8)
