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
            function = _function(node, values, path)
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
    """Return the names of the maps of logits whose cells ``outputs`` hold as rows of scores.

    :param outputs: they end in a transposition, a reshaping and a sigmoid, as a YuNet's scores.
    :raises UserError: one of them does not.
    """
    makers = {output: node for node in onnx.load(str(path)).graph.node for output in node.output}
    found = []
    for output in outputs:
        name, kinds = output, []
        while name in makers and makers[name].op_type in ('Sigmoid', 'Reshape', 'Transpose'):
            kinds.append(makers[name].op_type)
            name = makers[name].input[0]
        if 'Sigmoid' not in kinds:
            raise UserError(
                f'{path} does not compute {output} by a sigmoid',
                'name a YuNet, or train with --device cpu',
            )
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
        order.append(makers[name])

    for output in outputs:
        if output not in makers:
            raise UserError(f'{path} has no output {output}', 'name a YuNet with raw outputs')
        visit(output)
    return order


def _function(node, values, path) -> nn.Module:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    simple = {'Relu': nn.ReLU, 'Sigmoid': nn.Sigmoid, 'Add': _Sum}
    if node.op_type in simple:
        return simple[node.op_type]()
    if node.op_type in _SUPPORTED and _is_plain(attributes, _SUPPORTED[node.op_type]):
        if node.op_type == 'Conv':
            return _Convolution(values, attributes)
        if node.op_type == 'MaxPool':
            return nn.MaxPool2d(attributes['kernel_shape'][0], attributes.get('strides', [1])[0])
        return nn.Upsample(scale_factor=2, mode='nearest')
    raise UserError(
        f'{path} holds an operator {node.op_type} that is not run on a GPU here',
        'name a YuNet, or train with --device cpu',
    )


_SUPPORTED: dict[str, dict[str, set]] = {
    'Conv': {'dilations': {1}, 'auto_pad': {b'NOTSET'}},
    'MaxPool': {'pads': {0}, 'ceil_mode': {0}, 'dilations': {1}, 'auto_pad': {b'NOTSET'}},
    'Resize': {
        'mode': {b'nearest'},
        'nearest_mode': {b'floor'},
        'coordinate_transformation_mode': {b'asymmetric'},
    },
}
"""The only values that some attributes of an operator may have. What is enlarged is enlarged
twofold: sums of maps of other sizes fail."""


def _is_plain(attributes, allowed) -> bool:
    """Return whether the attributes have allowed values, and windows are square."""
    lists = {name: value for name, value in attributes.items() if isinstance(value, list)}
    return all(
        set(value if isinstance(value, list) else [value]) <= allowed[name]
        for name, value in attributes.items()
        if name in allowed
    ) and all(len(set(lists.get(name, [0]))) == 1 for name in ('pads', 'strides', 'kernel_shape'))


class _Convolution(nn.Module):
    def __init__(self, values, attributes):
        super().__init__()
        self.register_buffer('weight', torch.from_numpy(values[0].copy()))
        self.register_buffer(
            'bias', torch.from_numpy(values[1].copy()) if len(values) > 1 else None
        )
        self.options = {
            'stride': attributes.get('strides', [1])[0],
            'padding': attributes.get('pads', [0])[0],
            'groups': attributes.get('group', 1),
        }

    def forward(self, x):
        return functional.conv2d(x, self.weight, self.bias, **self.options)


class _Sum(nn.Module):
    def forward(self, first, second):
        return first + second
