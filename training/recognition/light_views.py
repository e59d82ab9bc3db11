# SPDX-License-Identifier: Apache-2.0
"""Cheap views of aligned crops: another place, light, sharpness or compression of the same face.

A view takes a fifth of a millisecond instead of three, so that each one is drawn when it is
needed. What the teacher makes of the clean crop is the target of all of them.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.recognition.views import SIDE, at_resolution, compressed


class LightViews:
    """Draws views.

    :param crops: uint8 (N, S, S, 3) BGR, aligned with a margin of (S - 112) / 2.
    """

    def __init__(self, crops: np.ndarray, seed: int):
        self.crops = crops
        self.random = np.random.default_rng(seed)
        rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
        self._slopes = np.stack([rows, columns])

    def make(self, number: int, flip: bool) -> np.ndarray:
        """Return a view of a crop, uint8 (112, 112, 3) BGR.

        :param flip: whether to mirror it.
        """
        draw = self.random
        image = self._place(self.crops[number], flip)
        if draw.random() < 0.12:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        image = cv2.LUT(image, self._curve())
        if draw.random() < 0.12:  # light from one side
            angle, depth = draw.uniform(0, 2 * np.pi), draw.uniform(0, 0.5)
            slope = np.tensordot([np.sin(angle), np.cos(angle)], self._slopes, 1)
            light = (1 + depth * slope).astype(np.float32)
            image = cv2.multiply(image, cv2.merge([light, light, light]), dtype=cv2.CV_8U)
        if draw.random() < 0.06:
            width, height = draw.integers(15, 45, 2)
            left, top = draw.integers(0, SIDE - width), draw.integers(0, SIDE - height)
            image[top : top + height, left : left + width] = draw.integers(0, 256, 3)
        return self._degrade(image) if draw.random() < 0.4 else image

    def _place(self, crop: np.ndarray, flip: bool) -> np.ndarray:
        """Cut the 112x112 middle, slightly turned, scaled and shifted."""
        draw = self.random
        angle, scale = draw.normal(0, np.deg2rad(3.5)), np.exp(draw.normal(0, 0.05))
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        mirror = -1.0 if flip else 1.0
        turn = np.array([[mirror * cosine, -mirror * sine], [sine, cosine]])
        middle = np.full(2, len(crop) / 2 - 0.5)
        move = np.full(2, SIDE / 2 - 0.5) + draw.normal(0, 1.8, 2) - turn @ middle
        return cv2.warpAffine(
            crop,
            np.hstack([turn, move[:, None]]),
            (SIDE, SIDE),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _curve(self) -> np.ndarray:
        """Return gain, gamma, contrast and offset as a table, uint8 (256, 1, 3)."""
        draw = self.random
        gain = np.exp(draw.normal(0, 0.15)) * np.exp(draw.normal(0, 0.04, 3))
        value = np.clip(np.arange(256)[:, None, None] / 255 * gain, 0, 1)
        value = value ** np.exp(draw.normal(0, 0.18))
        value = (value - 0.45) * np.exp(draw.normal(0, 0.12)) + 0.45 + draw.normal(0, 0.04)
        return (np.clip(value, 0, 1) * 255).astype(np.uint8)

    def _degrade(self, image: np.ndarray) -> np.ndarray:
        """Lower the resolution, blur, add noise, compress."""
        draw = self.random
        if draw.random() < 0.5:
            image = at_resolution(image, int(draw.uniform(32, 90)))
        if draw.random() < 0.25:
            image = cv2.blur(image, tuple(int(side) for side in draw.integers(1, 6, 2)))
        if draw.random() < 0.2:
            noise = np.empty(image.shape, np.int16)
            cv2.randn(noise, (0, 0, 0), (draw.uniform(2, 9),) * 3)
            image = cv2.add(image, noise, dtype=cv2.CV_8U)
        if draw.random() < 0.35:
            image = compressed(image, int(draw.integers(25, 90)))
        return image
