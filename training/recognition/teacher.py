# SPDX-License-Identifier: Apache-2.0
"""SFace as a PyTorch module, read from its ONNX file, with batch norm folded in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

SHA256 = '0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79'


class Teacher(nn.Module):
    """Embeds aligned faces.

    :param path: ``face_recognition_sface_2021dec.onnx`` of the OpenCV model zoo.
    """

    def __init__(self, path: Path):
        super().__init__()
        graph = onnx.load(str(path)).graph
        values = {
            item.name: numpy_helper.to_array(item).astype(np.float64) for item in graph.initializer
        }
        layers: list[nn.Module] = []
        for node in graph.node:
            attributes = {
                item.name: onnx.helper.get_attribute_value(item) for item in node.attribute
            }
            weights = [values.get(name) for name in node.input[1:]]
            if node.op_type == 'Conv':
                layers.append(_convolution(weights[0], attributes))
            elif node.op_type == 'BatchNormalization':
                _fold(layers, weights, attributes['epsilon'])
            elif node.op_type == 'PRelu':
                layer = nn.PReLU(weights[0].size)
                layer.weight.data = _tensor(weights[0].ravel())
                layers.append(layer)
            elif node.op_type == 'Gemm':
                self.dense = nn.Linear(weights[0].shape[1], weights[0].shape[0])
                self.dense.weight.data = _tensor(weights[0])
                self.dense.bias.data = _tensor(weights[1])
                layers.append(self.dense)
        self.body = nn.Sequential(*layers[:-1])
        self.eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embeddings (N, 128) and the last feature maps (N, 1024, 7, 7).

        :param images: RGB 0..255, (N, 3, 112, 112).
        """
        maps = self.body((images - 127.5) / 128)
        return self.dense(maps.contiguous().flatten(1)), maps


def _tensor(value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(value, np.float32))


def _convolution(weights: np.ndarray, attributes: dict) -> nn.Conv2d:
    out, per_group, size, _ = weights.shape
    group = attributes.get('group', 1)
    layer = nn.Conv2d(
        per_group * group, out, size, attributes['strides'][0], attributes['pads'][0], groups=group
    )
    layer.weight.data = _tensor(weights)
    nn.init.zeros_(layer.bias)
    return layer


def _fold(layers: list[nn.Module], weights: list[np.ndarray], epsilon: float) -> None:
    """Fold a batch norm into the layer before it; behind a PReLU it becomes a layer of its own."""
    gamma, beta, mean, variance = weights
    gain = gamma / np.sqrt(variance + epsilon)
    shift = beta - mean * gain
    last = layers[-1]
    if isinstance(last, nn.PReLU):
        scale = nn.Conv2d(len(gain), len(gain), 1, groups=len(gain))
        scale.weight.data, scale.bias.data = _tensor(gain.reshape(-1, 1, 1, 1)), _tensor(shift)
        layers.append(scale)
        return
    shape = (-1,) + (1,) * (last.weight.ndim - 1)
    last.weight.data *= _tensor(gain).reshape(shape)
    last.bias.data = last.bias.data * _tensor(gain) + _tensor(shift)
