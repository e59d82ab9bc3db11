# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network in ONNX as a module of PyTorch, to run it on a GPU.

ONNX Runtime's build for GPUs has to match the installed CUDA; PyTorch is there already.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from face_tracking.errors import UserError


class OnnxGraph(nn.Module):
    """The part of the ONNX file ``path`` that computes the maps named ``outputs``.

    Takes float32 (N, C, H, W), of any N, and any H and W that the graph's additions allow.

    :raises UserError: the file cannot be read, lacks an output, or holds another operator than
        convolution, ReLU, sigmoid, addition, maximum pooling and enlarging by rows and columns.
    """

    def __init__(self, path: Path, outputs: list[str]):
        super().__init__()
        try:
            graph = onnx.load(str(path)).graph
        except Exception as error:
            raise UserError(f'{path} cannot be read', 'name an ONNX file') from error
        weights = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
        makers = {output: node for node in graph.node for output in node.output}
        self.outputs, self.steps = outputs, []
        self.input = next(entry.name for entry in graph.input if entry.name not in weights)
        for node in _needed(outputs, makers, self.input, path):
            values = [weights[name] for name in node.input if name in weights]
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            function = _function(node.op_type, values, attributes, path)
            self.steps.append(
                (function, [n for n in node.input if n and n not in weights], node.output[0])
            )
        self.functions = nn.ModuleList(step[0] for step in self.steps)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps named ``outputs``, each (N, C, H, W)."""
        values = {self.input: image}
        for function, names, output in self.steps:
            values[output] = function(*(values[name] for name in names))
        return [values[name] for name in self.outputs]


def before_flattening(path: Path, outputs: list[str]) -> list[str]:
    """Return the names of the maps whose cells ``outputs`` hold as rows.

    A detector's outputs often end in a transposition, a reshaping and a sigmoid.
    """
    makers = {output: node for node in onnx.load(str(path)).graph.node for output in node.output}
    found = []
    for output in outputs:
        name = output
        while makers[name].op_type in ('Sigmoid', 'Reshape', 'Transpose'):
            name = makers[name].input[0]
        found.append(name)
    return found


def _needed(outputs, makers, entry, path):
    """Return the nodes that ``outputs`` depend on, each after those that it reads."""
    order, seen = [], set()

    def visit(name):
        if name == entry or name in seen or name not in makers:
            return
        seen.add(name)
        for source in makers[name].input:
            visit(source)
        if makers[name] not in order:
            order.append(makers[name])

    for output in outputs:
        if output not in makers:
            raise UserError(f'{path} has no output {output}', 'name a YuNet with raw outputs')
        visit(output)
    return order


def _function(kind: str, values, attributes, path) -> nn.Module:
    if kind == 'Conv':
        return _Convolution(values, attributes)
    if kind == 'MaxPool':
        return nn.MaxPool2d(attributes['kernel_shape'][0], attributes['strides'][0])
    if kind == 'Resize':
        return nn.Upsample(scale_factor=2, mode='nearest')
    simple = {'Relu': nn.ReLU, 'Sigmoid': nn.Sigmoid, 'Add': _Sum}
    if kind not in simple:
        raise UserError(
            f'{path} holds the operator {kind}, which is not run on a GPU here',
            'name a YuNet, or train with --device cpu',
        )
    return simple[kind]()


class _Convolution(nn.Module):
    def __init__(self, values, attributes):
        super().__init__()
        self.register_buffer('weight', torch.from_numpy(values[0].copy()))
        self.register_buffer(
            'bias', torch.from_numpy(values[1].copy()) if len(values) > 1 else None
        )
        self.options = {
            'stride': attributes['strides'][0],
            'padding': attributes['pads'][0],
            'groups': attributes['group'],
        }

    def forward(self, x):
        return functional.conv2d(x, self.weight, self.bias, **self.options)


class _Sum(nn.Module):
    def forward(self, first, second):
        return first + second
