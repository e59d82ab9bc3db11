# SPDX-License-Identifier: Apache-2.0
"""The training images in memory, decoded once, with smaller copies for shrinking."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from training.labels import Annotated

MAX_SIDE = 640
MIN_LEVEL = 24


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image and what is annotated in it.

    :param file: where it is.
    :param levels: uint8 (H, W, 3) BGR, then halves of it, each averaged from the one before.
    :param boxes: float32 (N, 4), ``[x1, y1, x2, y2]`` in pixels of the first level.
    :param landmarks: float32 (N, 5, 2) in the same pixels, NaN where unknown.
    :param ignore: bool (N,).
    :param weights: float32 (N,), how often each face is drawn beside others.
    :param points_only: the landmarks alone are a person's: the box is drawn from them, and other
        faces in the image are not labeled.
    """

    file: Path
    levels: tuple[np.ndarray, ...]
    boxes: np.ndarray
    landmarks: np.ndarray
    ignore: np.ndarray
    weights: np.ndarray
    points_only: bool = False

    @classmethod
    def of(
        cls,
        file: Path,
        image: np.ndarray,
        boxes: np.ndarray,
        landmarks: np.ndarray,
        ignore: np.ndarray,
        **further: Any,
    ) -> Sample:
        """Return the sample of an image whose faces are drawn alike often."""
        weights = np.ones(len(boxes), np.float32)
        return cls(file, _pyramid(image), boxes, landmarks, ignore, weights, **further)


def load(
    rows: Iterable[Annotated],
    warn: Callable[[str], None],
    progress: bool = True,
    longest_side: int | None = MAX_SIDE,
) -> list[Sample]:
    """Decode the images of ``rows``; one that cannot be is named to ``warn`` and skipped.

    :param longest_side: larger images are scaled down to this, pixels; None keeps them.
    """
    rows = list(rows)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = pool.map(lambda row: _read(row, longest_side), rows)
        read = tqdm(read, total=len(rows), desc='images', unit='', disable=not progress)
        samples = []
        for row, sample in zip(rows, read, strict=True):
            if sample is None:
                reason = 'it cannot be decoded' if row.file.is_file() else 'there is no such file'
                warn(f'skipped image {row.file}: {reason}')
            else:
                samples.append(sample)
    return samples


def _read(row: Annotated, longest_side: int | None) -> Sample | None:
    """Return the sample of ``row``, None where its image cannot be read."""
    image = cv2.imread(str(row.file), cv2.IMREAD_COLOR) if row.file.is_file() else None
    if image is None:
        return None
    scale = min(1.0, (longest_side or np.inf) / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Sample(
        row.file,
        _pyramid(image),
        row.boxes * np.float32(scale),
        row.landmarks * np.float32(scale),
        row.ignore,
        row.weights,
        row.points_only,
    )


def split(rows: list[Annotated], fraction: float) -> tuple[list[Annotated], list[Annotated]]:
    """Return the training and the validation part, by a hash of each image's name.

    An image stays in its part whatever is added or removed around it.
    """
    held = [_hash(row) < fraction for row in rows]
    return (
        [row for row, is_held in zip(rows, held, strict=True) if not is_held],
        [row for row, is_held in zip(rows, held, strict=True) if is_held],
    )


def _hash(row: Annotated) -> float:
    name = f'{row.file.parent.name}/{row.file.name}'
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], 'big') / 2**32


def _pyramid(image: np.ndarray) -> tuple[np.ndarray, ...]:
    levels = [image]
    while min(levels[-1].shape[:2]) >= 2 * MIN_LEVEL:
        height, width = levels[-1].shape[:2]
        # Odd edges are cut, so that a level is exactly half the one before.
        even = levels[-1][: height // 2 * 2, : width // 2 * 2]
        levels.append(cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    return tuple(levels)
