# SPDX-License-Identifier: Apache-2.0
"""Augmented views of aligned face crops.

A student that is to imitate its teacher everywhere needs many different inputs rather than many
labels (Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR
2022). Photographs are few here, so half of the views show faces that do not exist: blends of two,
parts of one on another, and faces whose proportions were changed by a smooth warp.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 112


def fill_borders(crop: np.ndarray) -> np.ndarray:
    """Return a crop whose black corners, outside the photograph, repeat the nearest pixel."""
    outside = (crop.max(2) == 0).astype(np.uint8)
    outside = cv2.morphologyEx(outside, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    if not outside.any():
        return crop
    outside = cv2.dilate(outside, np.ones((3, 3), np.uint8))
    _, labels = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = outside == 0
    if not inside.any():
        return crop
    nearest = np.zeros((labels.max() + 1, 3), np.uint8)
    nearest[labels[inside]] = crop[inside]
    return np.where(outside[..., None] > 0, nearest[labels], crop)


def at_resolution(image: np.ndarray, side: int) -> np.ndarray:
    """Return a view scaled to ``side`` x ``side`` pixels and back."""
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """Return a view as it looks after JPEG compression of a quality from 1 to 100."""
    code = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(code, cv2.IMREAD_COLOR)


class ViewMaker:
    """Draws views.

    :param crops: uint8 (N, S, S, 3) BGR, aligned with a margin of (S - 112) / 2.
    :param weights: how often each crop is drawn, relative to the others.
    :param invented: share of the views that show blends and compositions of two faces.
    """

    def __init__(self, crops: np.ndarray, weights: np.ndarray, seed: int, invented: float = 0.5):
        self.crops, self.invented = crops, invented
        self.chances = weights / weights.sum()
        self.random = np.random.default_rng(seed)

    def make(self) -> np.ndarray:
        """Return one view, uint8 (112, 112, 3) BGR."""
        draw = self.random.random
        image = self._source()
        kind = draw()
        if kind < 0.6 * self.invented:
            image = self._blend(image, self._source())
        elif kind < self.invented:
            image = self._compose(image, self._source())
        image = self._warp(image, smooth=draw() < 0.4)
        if draw() < 0.5:
            image = image[:, ::-1]
        image = self._colors(np.ascontiguousarray(image))
        if draw() < 0.06:
            image = self._cover(image)
        return self._degrade(image) if draw() < 0.4 else image

    def _source(self) -> np.ndarray:
        crop = self.crops[self.random.choice(len(self.crops), p=self.chances)]
        if self.random.random() < 0.8:
            crop = fill_borders(crop)
        return crop

    def _blend(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        share = self.random.uniform(0.25, 0.5)
        return cv2.addWeighted(first, 1 - share, second, share, 0)

    def _compose(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Set a part of the second face, matched in mean color, on the first."""
        side = len(first)
        center = self.random.uniform(0.35, 0.65, 2) * side
        angle = self.random.uniform(0, 2 * np.pi)
        rows, columns = np.mgrid[:side, :side]
        if self.random.random() < 0.6:  # one side of a line
            distance = (columns - center[0]) * np.cos(angle) + (rows - center[1]) * np.sin(angle)
        else:  # an oval, as a face on another head
            axes = self.random.uniform(0.16, 0.34, 2) * side
            distance = (
                1 - np.hypot((columns - center[0]) / axes[0], (rows - center[1]) / axes[1])
            ) * axes.min()
        mask = 1 / (1 + np.exp(-distance / self.random.uniform(2, 6)))[..., None]
        shift = first[40:-40, 40:-40].mean((0, 1)) - second[40:-40, 40:-40].mean((0, 1))
        mixed = first * (1 - mask) + (second + self.random.uniform(0.3, 1) * shift) * mask
        return np.clip(mixed, 0, 255).astype(np.uint8)

    def _warp(self, image: np.ndarray, smooth: bool) -> np.ndarray:
        """Cut the 112x112 middle, slightly turned, scaled and shifted."""
        angle = np.deg2rad(self.random.normal(0, 3.5))
        scale = np.exp(self.random.normal(0, 0.05))
        shift = self.random.normal(0, 2.0, 2)
        middle, half = len(image) / 2 - 0.5, SIDE / 2 - 0.5
        cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
        rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
        x, y = columns - half - shift[0], rows - half - shift[1]
        map_x = (cosine * x + sine * y + middle).astype(np.float32)
        map_y = (-sine * x + cosine * y + middle).astype(np.float32)
        if smooth:
            size = int(self.random.integers(3, 7))
            field = self.random.normal(0, self.random.uniform(1, 3.5), (2, size, size))
            across, down = (
                cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
                for values in field.astype(np.float32)
            )
            map_x, map_y = map_x + across, map_y + down
        return cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR)

    def _colors(self, image: np.ndarray) -> np.ndarray:
        draw = self.random
        value = image.astype(np.float32)
        if draw.random() < 0.12:
            value[:] = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
        elif draw.random() < 0.5:
            gray = value.mean(2, keepdims=True)
            value = gray + (value - gray) * draw.uniform(0.5, 1.4)
        gain = np.exp(draw.normal(0, 0.15)) * np.exp(draw.normal(0, 0.04, 3))
        value = np.clip(value * gain / 255, 0, 1) ** np.exp(draw.normal(0, 0.18))
        if draw.random() < 0.2:  # light from one side
            angle = draw.uniform(0, 2 * np.pi)
            rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
            slope = columns * np.cos(angle) + rows * np.sin(angle)
            value = value * (1 + draw.uniform(0, 0.5) * slope)[..., None]
        contrast = np.exp(draw.normal(0, 0.12))
        value = (value - 0.45) * contrast + 0.45 + draw.normal(0, 0.04)
        return (np.clip(value, 0, 1) * 255).astype(np.uint8)

    def _cover(self, image: np.ndarray) -> np.ndarray:
        image = image.copy()
        width, height = self.random.integers(15, 50, 2)
        left, top = self.random.integers(0, SIDE - width), self.random.integers(0, SIDE - height)
        image[top : top + height, left : left + width] = self.random.integers(0, 256, 3)
        return image

    def _degrade(self, image: np.ndarray) -> np.ndarray:
        """Lower the resolution, blur, add noise, compress."""
        draw = self.random
        if draw.random() < 0.5:
            image = at_resolution(image, int(draw.uniform(28, 90)))
        if draw.random() < 0.25:
            length = int(draw.integers(3, 8))
            kernel = np.zeros((length, length), np.float32)
            kernel[length // 2] = 1 / length
            turn = cv2.getRotationMatrix2D(
                (length / 2 - 0.5, length / 2 - 0.5), draw.uniform(0, 180), 1
            )
            kernel = cv2.warpAffine(kernel, turn, (length, length))
            image = cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6))
        if draw.random() < 0.3:
            noise = draw.normal(0, draw.uniform(2, 10), image.shape)
            image = np.clip(image + noise, 0, 255).astype(np.uint8)
        if draw.random() < 0.5:
            image = compressed(image, int(draw.integers(25, 90)))
        return image
