# SPDX-License-Identifier: Apache-2.0
"""The scene of the pipeline benchmark: faces that move, as the bytes that a camera delivers.

It imports nothing but OpenCV and NumPy, so that the emulated processor can draw it, too.
"""

from __future__ import annotations

import cv2
import numpy as np

QUALITY = 90
"""JPEG quality: 60 to 70 kB an image of 640x480, as a webcam delivers."""


def draw(
    portrait: np.ndarray, width: int, height: int, faces: int, count: int
) -> list[np.ndarray]:
    """Return ``count`` images, uint8 BGR, in which portraits sway before a textured wall.

    :param portrait: uint8 BGR, a head with some of its surroundings.
    :param faces: how many.
    """
    random = np.random.default_rng(7)
    wall = random.integers(40, 160, (height // 24, width // 24, 3), np.uint8)
    wall = cv2.resize(wall, (width, height), interpolation=cv2.INTER_CUBIC)
    columns = int(np.ceil(np.sqrt(faces * width / height)))
    rows = -(-faces // columns)
    side = int(min(width / columns, height / rows) * 0.6)
    head = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    images = []
    for number in range(count):
        image = wall.copy()
        for face in range(faces):
            row, column = divmod(face, columns)
            sway = 0.05 * side * np.sin(2 * np.pi * number / 60 + face)
            x = int((column + 0.5) * width / columns - side / 2 + sway)
            y = int((row + 0.5) * height / rows - side / 2)
            x, y = min(max(x, 0), width - side), min(max(y, 0), height - side)
            image[y : y + side, x : x + side] = head
        images.append(image)
    return images


def to_jpeg(image: np.ndarray) -> bytes:
    """Return an image as a webcam compresses it: with chroma for every second column."""
    factor = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422
    setting = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    return cv2.imencode('.jpg', image, setting)[1].tobytes()


def to_yuyv(image: np.ndarray) -> np.ndarray:
    """Return an image as uint8 (height, width, 2), YUYV."""
    return cv2.cvtColor(image, cv2.COLOR_BGR2YUV_YUY2)
