# SPDX-License-Identifier: Apache-2.0
"""From the network's raw outputs to faces in pixels, as tensors (so that losses can follow)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from training.network import STRIDES

MAX_LOG_SIZE = 5.0
"""exp() of more would be a face of 148 cells; it keeps a stray prediction finite."""


class Cells(NamedTuple):
    """All cells of all grids of a batch, ordered by stride, then row-major.

    :param scores: score logits (B, A).
    :param qualities: quality logits (B, A).
    :param boxes: ``[x1, y1, x2, y2]``, pixels (B, A, 4).
    :param landmarks: pixels (B, A, 5, 2).
    :param corners: the upper left corners of the cells, pixels (A, 2).
    :param strides: pixels (A,).
    """

    scores: torch.Tensor
    qualities: torch.Tensor
    boxes: torch.Tensor
    landmarks: torch.Tensor
    corners: torch.Tensor
    strides: torch.Tensor


def decode(outputs) -> Cells:
    """Return the cells of the network's three outputs, each (B, 16, H / S, W / S)."""
    flat, corners, strides = [], [], []
    for stride, output in zip(STRIDES, outputs, strict=True):
        height, width = output.shape[2:]
        flat.append(output.float().flatten(2).transpose(1, 2))
        rows, columns = torch.meshgrid(
            torch.arange(height, device=output.device),
            torch.arange(width, device=output.device),
            indexing='ij',
        )
        corners.append(torch.stack([columns, rows], dim=-1).reshape(-1, 2).float() * stride)
        strides.append(torch.full((height * width,), float(stride), device=output.device))
    raw, corners, strides = torch.cat(flat, 1), torch.cat(corners), torch.cat(strides)
    centers = raw[..., 1:3] * strides[:, None] + corners
    half = raw[..., 3:5].clamp(max=MAX_LOG_SIZE).exp() * strides[:, None] / 2
    landmarks = raw[..., 5:15].unflatten(-1, (5, 2)) * half[..., None, :] + centers[..., None, :]
    return Cells(
        raw[..., 0],
        raw[..., 15],
        torch.cat([centers - half, centers + half], -1),
        landmarks,
        corners,
        strides,
    )
