# SPDX-License-Identifier: Apache-2.0
"""A student with the weights of an exported ONNX file, ready to be trained further.

Batch norm is folded in the file. It is inserted again behind each convolution so that the network
computes the same: it normalizes by statistics that are measured on given views, and its gain and
shift undo that. Each kernel is scaled as an initial one, since a batch norm makes the learning
rate relative to the size of the kernel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from training.recognition.network import Student

KERNEL_NORM = 0.58
"""Norm of the kernel of one output channel as PyTorch initializes it, 1 / sqrt(3)."""


def load_folded(path: Path, images: torch.Tensor) -> Student:
    """Return the exported network with batch norm, which computes what the file does.

    :param images: RGB 0..255 (N, 3, 112, 112), whose statistics the batch norm takes.
    """
    values = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).astype(np.float32))
        for item in onnx.load(str(path)).graph.initializer
    }
    network = Student().eval()
    hooks = [
        layer[0].register_forward_hook(
            _unfold(layer[1], values[f'{name}.weight'], values[f'{name}.bias'])
        )
        for name, layer in _normed(network).items()
    ]
    for name, layer in (('maps', network.maps), ('embedding', network.dense)):
        layer.weight.data, layer.bias.data = values[f'{name}.weight'], values[f'{name}.bias']
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return network


def _normed(network: Student) -> dict[str, nn.Sequential]:
    """Return the convolutions with batch norm by the names that the export gives them."""
    found: dict[str, nn.Sequential] = {}
    for name, module in network.named_modules():
        if (
            isinstance(module, nn.Sequential)
            and len(module) == 2
            and isinstance(module[1], nn.BatchNorm2d)
        ):
            found[name.replace('_blocks.', '_')] = module
    return found


def _unfold(norm: nn.BatchNorm2d, weight: torch.Tensor, bias: torch.Tensor):
    """Return a forward hook of a convolution that fills it and the batch norm behind it."""

    def fill(layer: nn.Conv2d, inputs: tuple[torch.Tensor], _output) -> torch.Tensor:
        scale = KERNEL_NORM / weight.flatten(1).norm(dim=1).clamp(min=1e-6)
        layer.weight.data = weight * scale[:, None, None, None]
        output = functional.conv2d(inputs[0], layer.weight, None, layer.stride, layer.padding)
        norm.running_mean.copy_(output.mean((0, 2, 3)))
        norm.running_var.copy_(output.var((0, 2, 3)))
        gain = (norm.running_var + norm.eps).sqrt() / scale
        norm.weight.data = gain
        norm.bias.data = bias + norm.running_mean / scale
        return output

    return fill


def match_maps(network: Student, images: torch.Tensor, wanted: torch.Tensor) -> float:
    """Turn the last feature maps towards the wanted ones, the embedding staying the same.

    The basis of the teacher's maps may be another than the one that the network was trained with.

    :param wanted: the teacher's maps of the views in the basis, (N, C, 7, 7).
    :returns: share of the variance of the wanted maps that the turned ones explain.
    """
    with torch.no_grad():
        found = network(images)[1]
    rows, columns = (_rows(maps) for maps in (found, wanted))
    mean, offset = rows.mean(0), columns.mean(0)
    rows, columns = rows - mean, columns - offset
    left, _, right = torch.linalg.svd(rows.T @ columns)
    turn = left @ right  # the orthogonal matrix with the least squared error (Procrustes)
    maps, dense = network.maps, network.dense
    kernel, readout = maps.weight.data.double(), dense.weight.data.double()
    maps.weight.data = torch.einsum('kt,kcyx->tcyx', turn, kernel).float()
    maps.bias.data = ((maps.bias.data.double() - mean) @ turn + offset).float()
    dense.weight.data = torch.einsum('okyx,kt->otyx', readout, turn).float()
    dense.bias.data += (readout.sum((2, 3)) @ (mean - turn @ offset)).float()
    return float(1 - (rows @ turn - columns).square().sum() / columns.square().sum())


def _rows(maps: torch.Tensor) -> torch.Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2).double()
