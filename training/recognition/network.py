# SPDX-License-Identifier: Apache-2.0
"""The student: a small embedding network of plain convolutions.

Residual bottlenecks (He et al., "Deep residual learning for image recognition", CVPR 2016) with
dense 3x3 kernels between pointwise ones. Depthwise kernels would need fewer operations, but take
longer on a processor, in training as in use. The dense layer at the end reads every position of
the last map, as the teacher's does, and is a 7x7 convolution here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

EMBEDDING = 128
MEAN = 128.0
"""Subtracted from each pixel value, which is then divided by it."""


@dataclass(frozen=True)
class Width:
    """Channels at 56, 28, 14 and 7 rows, of the bottlenecks inside, and how many there are."""

    stem: int = 16
    early: int = 32
    early_inner: int = 16
    middle: int = 96
    middle_inner: int = 48
    middle_blocks: int = 4
    late: int = 128
    late_inner: int = 64
    late_blocks: int = 4
    maps: int = 128


def convolution(inputs: int, outputs: int, size: int = 1, stride: int = 1) -> nn.Sequential:
    """Return a convolution and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.reduce = convolution(channels, inner)
        self.filter = convolution(inner, inner, 3)
        self.expand = convolution(inner, channels)
        nn.init.zeros_(self.expand[1].weight)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return feature maps of the same shape."""
        inner = torch.relu(self.filter(torch.relu(self.reduce(value))))
        return torch.relu(value + self.expand(inner))


class Student(nn.Module):
    """Embeds aligned faces, RGB 0..255 (N, 3, 112, 112), in 128 numbers."""

    def __init__(self, width: Width | None = None):
        super().__init__()
        width = width or Width()
        self.stem = convolution(3, width.stem, 3, 2)
        self.early = convolution(width.stem, width.early, 3, 2)
        self.early_block = Bottleneck(width.early, width.early_inner)
        self.middle = convolution(width.early, width.middle, 3, 2)
        self.middle_blocks = nn.Sequential(
            *[Bottleneck(width.middle, width.middle_inner) for _ in range(width.middle_blocks)]
        )
        self.late = convolution(width.middle, width.late, 3, 2)
        self.late_blocks = nn.Sequential(
            *[Bottleneck(width.late, width.late_inner) for _ in range(width.late_blocks)]
        )
        self.maps = nn.Conv2d(width.late, width.maps, 1)
        self.dense = nn.Conv2d(width.maps, EMBEDDING, 7)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings (N, 128) and the last feature maps (N, C, 7, 7)."""
        value = torch.relu(self.stem((images - MEAN) / MEAN))
        value = self.early_block(torch.relu(self.early(value)))
        value = self.middle_blocks(torch.relu(self.middle(value)))
        value = self.late_blocks(torch.relu(self.late(value)))
        maps = self.maps(value)
        return self.dense(maps).flatten(1), maps


def cost(network: nn.Module) -> tuple[int, int]:
    """Return the numbers of parameters and of multiply-adds for one face."""
    operations = 0

    def count(layer: nn.Conv2d, _inputs, output: torch.Tensor) -> None:
        nonlocal operations
        operations += output.shape[2] * output.shape[3] * layer.weight.numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    training = network.training
    network.eval()
    with torch.inference_mode():
        network(torch.zeros(1, 3, 112, 112))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return sum(parameter.numel() for parameter in network.parameters()), operations
