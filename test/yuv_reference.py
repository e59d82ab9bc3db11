# SPDX-License-Identifier: Apache-2.0
"""What the compiled functions for YUV compute, in NumPy."""

from __future__ import annotations

import numpy as np


def packed_half(pixels: np.ndarray, luma_first: bool = True) -> np.ndarray:
    """Return YUYV or UYVY, uint8 (2 H, 2 W, 2), as BGR (H, W, 3)."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    luma, chroma = (
        pixels[..., channel].reshape(height, 2, width, 2).astype(int)
        for channel in ((0, 1) if luma_first else (1, 0))
    )
    u, v = (chroma.sum(axis=1)[..., part] + 1 >> 1 for part in (0, 1))
    return _bgr(luma.sum(axis=(1, 3)), u, v, 128.25)


def semi_planar_half(luma: np.ndarray, chroma: np.ndarray, v_first: bool = False) -> np.ndarray:
    """Return NV12 or NV21, uint8 (2 H, 2 W) and (H, W, 2), as BGR (H, W, 3)."""
    height, width = chroma.shape[:2]
    four = luma.astype(int).reshape(height, 2, width, 2).sum(axis=(1, 3))
    u, v = (chroma[..., part].astype(int) for part in ((1, 0) if v_first else (0, 1)))
    return _bgr(four, u, v, 128)


def _bgr(four: np.ndarray, u: np.ndarray, v: np.ndarray, middle: float) -> np.ndarray:
    """Return BT.601 at video levels with 6 binary places, rounded."""
    gray = (37 * four + (four >> 2) >> 1) - 16 * 149 // 2
    colors = [
        gray + in_u * u + in_v * v - round(middle * (in_u + in_v))
        for in_u, in_v in ((129, 0), (-25, -52), (0, 102))
    ]
    return np.clip(np.stack(colors, axis=-1) + 32 >> 6, 0, 255).astype(np.uint8)
