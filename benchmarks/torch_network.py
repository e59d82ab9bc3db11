# SPDX-License-Identifier: Apache-2.0
"""Any detector that the compiler reads, as a PyTorch module: the table's PyTorch rows."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from face_tracking.compiler.graph import (
    IMAGE,
    NONE,
    RELU,
    Activation,
    Add,
    Convolution,
    Layer,
    MaxPool,
    Network,
    Output,
    Upsample,
)


class TorchNetwork(nn.Module):
    """Takes float32 (1, 3, H, W), returns the network's outputs in their order.

    :raises ValueError: a layer or an activation that no module here stands for.
    """

    def __init__(self, network: Network):
        super().__init__()
        self._steps = network.layers
        self._outputs = network.outputs
        self._shapes = network.shapes
        self.layers = nn.ModuleList(_module(layer) for layer in network.layers)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        maps = {IMAGE: image}
        for layer, module in zip(self._steps, self.layers, strict=True):
            values = [maps[name] for name in layer.sources]
            result = module(values[0] + values[1]) if isinstance(layer, Add) else module(*values)
            if isinstance(layer, Upsample):
                shape = self._shapes[layer.output]
                result = result[:, :, : shape.height, : shape.width]
            maps[layer.output] = result
        return [_handed_out(output, maps) for output in self._outputs]

    def last_convolutions(self) -> list[str]:
        """Return the names of the modules whose results are outputs."""
        ends = {part.source for output in self._outputs for part in output.parts}
        return [
            f'layers.{index}.0' for index, layer in enumerate(self._steps) if layer.output in ends
        ]


def _module(layer: Layer) -> nn.Module:
    if isinstance(layer, Convolution):
        return nn.Sequential(_convolution(layer), _activation(layer.activation))
    if isinstance(layer, MaxPool) and not any(layer.window.padding):
        return nn.MaxPool2d(layer.window.size, layer.window.stride, ceil_mode=True)
    if isinstance(layer, Upsample):
        return nn.Upsample(scale_factor=layer.factor, mode='nearest')
    if isinstance(layer, Add):
        return _activation(layer.activation)
    raise ValueError(f'there is no module here for {type(layer).__name__} ({layer.output})')


def _convolution(layer: Convolution) -> nn.Conv2d:
    window = layer.window
    if window.padding[:2] != window.padding[2:]:
        raise ValueError(f'{layer.output} is padded unevenly')
    out = layer.weights.shape[-1]
    module = nn.Conv2d(
        out if layer.depthwise else layer.weights.shape[2],
        out,
        window.size,
        window.stride,
        window.padding[:2],
        window.dilation,
        groups=out if layer.depthwise else 1,
    )
    weights = (
        layer.weights.transpose(2, 0, 1)[:, None]
        if layer.depthwise
        else layer.weights.transpose(3, 2, 0, 1)
    )
    module.weight.data = torch.from_numpy(weights.copy())
    module.bias.data = torch.from_numpy(layer.bias.copy())
    return module


def _activation(activation: Activation) -> nn.Module:
    modules = {NONE: nn.Identity, RELU: nn.ReLU}
    if activation not in modules:
        raise ValueError(f'there is no module here for the activation {activation.kind}')
    return modules[activation]()


def _handed_out(output: Output, maps: dict[str, torch.Tensor]) -> torch.Tensor:
    parts = []
    for part in output.parts:
        values = maps[part.source][:, part.first : part.first + part.channels]
        if part.activation.kind == 'sigmoid':
            values = torch.sigmoid(values)
        elif part.activation != NONE:
            raise ValueError(f'nothing here computes {part.activation.kind} of {output.name}')
        parts.append(
            values
            if output.planar
            else values.permute(0, 2, 3, 1).reshape(1, -1, output.shape[-1])
        )
    joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return functional.softmax(joined, dim=-1) if output.softmax else joined
