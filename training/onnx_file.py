# SPDX-License-Identifier: Apache-2.0
"""An ONNX file of the network for one input size, with nothing left to compute about shapes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper, shape_inference

from training.network import STRIDES, DeployedNetwork

OPSET = 17
INPUT = 'image'
OUTPUTS = tuple(f'head_{stride}' for stride in STRIDES)


def write(network: DeployedNetwork, width: int, height: int, path: Path):
    """Write ``network`` for images of ``width`` x ``height``.

    Input ``image``, float32 (1, 3, H, W), BGR 0..255; outputs ``head_8``, ``head_16``,
    ``head_32``, float32 (1, 16, ceil(H / S), ceil(W / S)), raw.
    """
    with warnings.catch_warnings():
        # The tracing exporter is deprecated; the other one needs two more packages for less.
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, height, width),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
        )
    model = _with_fixed_sizes(onnx.load(str(path)))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _with_fixed_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with the sizes of its resizes as constants, as all shapes are known."""
    shapes = {
        value.name: [entry.dim_value for entry in value.type.tensor_type.shape.dim]
        for value in shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    }
    graph = model.graph
    for node in graph.node:
        if node.op_type == 'Resize':
            sizes = np.array(shapes[node.output[0]], np.int64)
            graph.initializer.append(numpy_helper.from_array(sizes, f'{node.name}_sizes'))
            node.input[3] = f'{node.name}_sizes'
    _drop_unused(graph)
    return model


def _drop_unused(graph: onnx.GraphProto):
    """Remove nodes, last to first, of which no output is read."""
    read = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if read & set(node.output):
            kept.append(node)
            read |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
