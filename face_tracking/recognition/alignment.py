# SPDX-License-Identifier: Apache-2.0
"""Warping a face to the position that embedding networks expect."""

from __future__ import annotations

import cv2
import numpy as np

from face_tracking.arrays import FloatArray, ImageArray

CROP_SIDE = 112
"""Width and height in pixels of an aligned face."""
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Where the landmarks lie in an aligned face, (5, 2) in pixels: the two eyes, the tip of the nose,
the two corners of the mouth, each pair from left to right in the image."""


def estimate_similarity(source: FloatArray, target: FloatArray) -> FloatArray:
    """Return the rotation, scale and translation that map points best onto others.

    Least squares in closed form: S. Umeyama, "Least-squares estimation of transformation
    parameters between two point patterns", IEEE TPAMI 13(4), 1991.

    :param source: (N, 2), N at least 2.
    :param target: (N, 2).
    :returns: float64 (2, 3); a point p goes to ``matrix[:, :2] @ p + matrix[:, 2]``.
    :raises ValueError: the points are not finite, or all in one place.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError('landmarks are not finite')
    source_mean, target_mean = source.mean(0), target.mean(0)
    centered = source - source_mean
    variance = (centered**2).sum() / len(source)
    if variance < 1e-12:
        raise ValueError('all landmarks lie in one place')
    covariance = (target - target_mean).T @ centered / len(source)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = left * signs @ right
    scale = singular @ signs / variance
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def align_face(image: ImageArray, landmarks: FloatArray) -> ImageArray:
    """Return a face in the standard position.

    :param image: uint8 (H, W, 3), BGR.
    :param landmarks: (5, 2), pixels of ``image``, in the order of :data:`TEMPLATE`.
    :returns: uint8 (112, 112, 3); black where the image ends.
    :raises ValueError: see :func:`estimate_similarity`.
    """
    matrix = estimate_similarity(landmarks, TEMPLATE)
    crop = cv2.warpAffine(image, matrix, (CROP_SIDE, CROP_SIDE), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8)
