# SPDX-License-Identifier: Apache-2.0
"""Batches by number: batch k of a seed is the same whenever and wherever it is made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from training.compose import Composer
from training.photometric import degrade
from training.teacher import Teacher

NATURAL_SPARED = 0.5
"""How many natural canvases are not made worse by light, blur, noise and JPEG."""


@dataclasses.dataclass
class Batch:
    """What one step learns from.

    :param images: uint8 (B, 3, H, W), BGR.
    :param boxes: float32 (B, G, 4), ``[x1, y1, x2, y2]`` pixels; rows not ``valid`` are zero.
    :param landmarks: float32 (B, G, 5, 2), pixels, NaN where unknown.
    :param valid: bool (B, G), rows that are faces.
    :param ignore: bool (B, G), rows that are regions to ignore.
    :param points_only: bool (B, G), faces of which the landmarks alone are known.
    :param teacher: float32 (B, A, 2), class and object score of every cell, or None.
    """

    images: torch.Tensor
    boxes: torch.Tensor
    landmarks: torch.Tensor
    valid: torch.Tensor
    ignore: torch.Tensor
    points_only: torch.Tensor
    teacher: torch.Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in memory from which copies to a GPU are fast."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change) -> Batch:
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return Batch(*(None if value is None else change(value) for value in values))


class Batches(Dataset):
    """Batches of canvases, made by number.

    :param composers: they take turns; the larger one's canvases, the fewer are in its batch.
    :param size: how many canvases of the first composer are in a batch.
    :param teacher: path of a teacher's ONNX file, or None; loaded in the process that uses it.
        None where the training runs the teacher itself, on a GPU.
    :param processes: how many batches, one for each process, a step has.
    """

    def __init__(
        self,
        composers: list[Composer],
        size: int,
        seed: int,
        teacher: Path | None = None,
        processes: int = 1,
    ):
        self.composers, self.size, self.seed = composers, size, seed
        self.processes = processes
        self.teacher_path, self.teacher = teacher, None

    def __getitem__(self, number: int) -> Batch:
        composer = self.composers[number // self.processes % len(self.composers)]
        pixels = self.composers[0].width * self.composers[0].height * self.size
        images, labels = [], []
        for k in range(max(1, pixels // (composer.width * composer.height))):
            random = np.random.default_rng((self.seed, int(number), k))
            canvas = composer.draw(random)
            rows = canvas.labels()
            spares = composer.natural and random.random() < NATURAL_SPARED
            images.append(canvas.image if spares else degrade(canvas.image, rows[0], random))
            labels.append(rows)
        tensor = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
        opinion = None
        if self.teacher_path is not None:
            if self.teacher is None:
                self.teacher = Teacher(self.teacher_path, fine=True)
            opinion = self.teacher.scores(tensor)
        return Batch(tensor, *(torch.from_numpy(array) for array in _padded(labels)), opinion)


def set_up_worker(_number: int):
    """Keep a loader's process to one thread."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _padded(labels):
    most = max(1, *(len(rows[0]) for rows in labels))
    boxes = np.zeros((len(labels), most, 4), np.float32)
    landmarks = np.full((len(labels), most, 5, 2), np.nan, np.float32)
    valid = np.zeros((len(labels), most), bool)
    ignore = np.zeros((len(labels), most), bool)
    points_only = np.zeros((len(labels), most), bool)
    for k, (box, points, unsure, only) in enumerate(labels):
        boxes[k, : len(box)], landmarks[k, : len(box)] = box, points
        valid[k, : len(box)], ignore[k, : len(box)] = ~unsure, unsure
        points_only[k, : len(box)] = only
    return boxes, landmarks, valid, ignore, points_only
