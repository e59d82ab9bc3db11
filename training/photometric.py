# SPDX-License-Identifier: Apache-2.0
"""What a cheap camera in a living room does to an image: light, color, blur, noise, JPEG."""

from __future__ import annotations

import math

import cv2
import numpy as np


def degrade(image: np.ndarray, boxes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return uint8 (H, W, 3) BGR like ``image``, under worse conditions.

    :param boxes: float32 (N, 4), the faces, some of which something may hide in part.
    """
    if random.random() < 0.12:
        image = _occluded(image, boxes, random)
    if random.random() < 0.12:
        image = _blurred(image, random)
    image = _lit(image, random)
    if random.random() < 0.15:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if random.random() < 0.15:
        image = _noisy(image, random)
    if random.random() < 0.2:
        quality = int(random.integers(25, 90))
        _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image


def _occluded(image, boxes, random):
    """Put flat bars and patches over parts of some faces."""
    image = image.copy()
    for box in boxes[random.random(len(boxes)) < 0.5]:
        sides = box[2:] - box[:2]
        low = box[:2] + sides * random.uniform(-0.2, 0.9, 2)
        high = low + sides * random.uniform(0.15, 0.45, 2)
        x1, y1, x2, y2 = np.clip(np.concatenate([low, high]), 0, [*image.shape[1::-1]] * 2).astype(
            int
        )
        image[y1:y2, x1:x2] = random.integers(0, 256, 3)
    return image


def _blurred(image, random):
    if random.random() < 0.6:
        return cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.3))
    length = int(random.integers(2, 6))
    kernel = np.zeros((7, 7), np.float32)
    angle = random.uniform(0, math.pi)
    offset = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    start, stop = np.rint(3 - offset).astype(int), np.rint(3 + offset).astype(int)
    cv2.line(kernel, start.tolist(), stop.tolist(), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _lit(image, random):
    """Change exposure, contrast, gamma and color; darken it; put a light behind it."""
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    gain = random.uniform(0.7, 1.3)
    cast = np.exp(random.normal(0, 0.08, 3))
    contrast = random.uniform(0.8, 1.25)
    gamma = math.exp(random.normal(0, 0.25))
    if random.random() < 0.08:
        gain *= random.uniform(0.12, 0.5)
    table = ((levels**gamma - 0.45) * contrast + 0.45) * gain * cast
    image = cv2.LUT(image, (np.clip(table, 0, 1) * 255).astype(np.uint8)[None])
    if random.random() < 0.1:
        height, width = image.shape[:2]
        angle = random.uniform(0, 2 * math.pi)
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        ramp = (x * math.cos(angle) + y * math.sin(angle)) * random.uniform(0.2, 0.7)
        lit = image * (1 + ramp)[..., None] + np.maximum(ramp, 0)[..., None] * 60
        image = np.clip(lit, 0, 255).astype(np.uint8)
    return image


def _noisy(image, random):
    noise = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(random.integers(1 << 30)))
    cv2.randn(noise, 0, float(random.uniform(2, 18)))
    return np.clip(image + noise, 0, 255).astype(np.uint8)
