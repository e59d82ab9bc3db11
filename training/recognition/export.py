# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to an ONNX file and its description."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from training.recognition.network import MEAN, Bottleneck, Student

OPSET = 13
SCALES = [0.94, 1.06]
"""Sizes at which each face is embedded, relative to the aligned one: the mean of two agrees better
with the teacher on the held-out faces (a cosine of .610 in place of .603)."""
INPUT, OUTPUT = 'face', 'embedding'


class _Graph:
    """Collects nodes and weights; each method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def convolution(
        self, source: str, name: str, layer: nn.Conv2d, norm: nn.BatchNorm2d | None = None
    ) -> str:
        """Add a convolution with its batch norm folded in."""
        weight = layer.weight.detach().double()
        bias = (
            torch.zeros(len(weight)).double()
            if layer.bias is None
            else layer.bias.detach().double()
        )
        if norm is not None:
            gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = weight * gain[:, None, None, None]
            bias = (bias - norm.running_mean.double()) * gain + norm.bias.detach().double()
        for kind, value in (('weight', weight), ('bias', bias)):
            array = np.ascontiguousarray(value.numpy(), np.float32)
            self.weights.append(numpy_helper.from_array(array, f'{name}.{kind}'))
        side = layer.padding[0]
        self.nodes.append(
            helper.make_node(
                'Conv',
                [source, f'{name}.weight', f'{name}.bias'],
                [name],
                name=name,
                kernel_shape=layer.kernel_size,
                strides=layer.stride,
                pads=[side] * 4,
            )
        )
        return name

    def relu(self, source: str) -> str:
        """Add a ReLU."""
        self.nodes.append(helper.make_node('Relu', [source], [f'{source}.relu']))
        return f'{source}.relu'

    def bottleneck(self, source: str, name: str, block: Bottleneck) -> str:
        """Add a residual bottleneck."""
        value = self.relu(self.convolution(source, f'{name}.reduce', *block.reduce))
        value = self.relu(self.convolution(value, f'{name}.filter', *block.filter))
        value = self.convolution(value, f'{name}.expand', *block.expand)
        self.nodes.append(helper.make_node('Add', [source, value], [f'{name}.sum']))
        return self.relu(f'{name}.sum')


def to_onnx(network: Student) -> onnx.ModelProto:
    """Return the network as ONNX: face (1, 3, 112, 112) to embedding (1, 128, 1, 1)."""
    graph = _Graph()
    value = graph.relu(graph.convolution(INPUT, 'stem', *network.stem))
    value = graph.relu(graph.convolution(value, 'early', *network.early))
    value = graph.bottleneck(value, 'early_block', network.early_block)
    for stage in ('middle', 'late'):
        value = graph.relu(graph.convolution(value, stage, *getattr(network, stage)))
        for number, block in enumerate(getattr(network, f'{stage}_blocks')):
            value = graph.bottleneck(value, f'{stage}_{number}', block)
    value = graph.convolution(value, 'maps', network.maps)
    graph.convolution(value, OUTPUT, network.dense)
    proto = helper.make_graph(
        graph.nodes,
        'face_embedding',
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, 128, 1, 1])],
        graph.weights,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid('', OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(path: Path, threshold: float) -> str:
    """Return the description of an exported file, as YAML.

    :param threshold: cosine similarity from which two faces are of one person.
    """
    content = {
        'name': path.stem,
        'license': 'Apache-2.0',
        'input': {'color': 'rgb', 'mean': [int(MEAN)] * 3, 'scale': 1 / MEAN},
        'decoder': {'name': 'embedding', 'threshold': threshold, 'mirror': True, 'scales': SCALES},
        'outputs': [OUTPUT],
        'size_multiple': 112,
        'files': [
            {
                'file': path.name,
                'size': [112, 112],
                'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        ],
    }
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('output', type=Path, help='the .onnx file to write')
    parser.add_argument(
        '--threshold', type=float, default=0.4, help='cosine of one person, for the description'
    )
    options = parser.parse_args()
    network = Student()
    network.load_state_dict(torch.load(options.checkpoint)['average'])
    onnx.save(to_onnx(network.eval()), str(options.output))
    description = describe(options.output, options.threshold)
    options.output.with_suffix('.yaml').write_text(description)
    print(options.output, options.output.stat().st_size)


if __name__ == '__main__':
    main()
