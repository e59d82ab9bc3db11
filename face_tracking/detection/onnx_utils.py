# SPDX-License-Identifier: Apache-2.0
"""Input sizes of ONNX files: reading them and changing them.

A fully convolutional network works at any input size, but an exported file usually states one,
and compilers plan memory for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from face_tracking import files
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

PROBE = (640, 640)
"""Width and height at which a network that leaves its input size open is recognized."""
MAX_SIDE = 8192
"""Largest side of a network's input in pixels."""
OTHER_SIZE = 'use the size it was exported for, or sides that are multiples of its largest stride'


def signature(path: Path) -> tuple[int, int, dict[str, tuple[int, ...]]]:
    """Return input width, input height and the shape of each output by name.

    A side that the file leaves open is 0; the shapes of the outputs are then those at the input
    size :data:`PROBE`.

    :raises UserError: the file is not an ONNX model with one image as its input.
    """
    model = files.read_onnx(path)
    with files.malformed(path, 'ONNX model', 'fetch or export it again'):
        shape = _shape(image_input(model.graph, path))
        if len(shape) != 4 or shape[1] not in (0, 3) or max(shape[2:]) > MAX_SIDE:
            raise UserError(
                f'{path} takes an input of shape {"x".join(map(str, shape))}, which is not a '
                'color image',
                'give a detector with an input of shape 1x3xHxW',
            )
        if not all(shape[2:]):
            model = files.parse_onnx(reshaped(path, *PROBE), path)
        return shape[3], shape[2], {output.name: _shape(output) for output in model.graph.output}


def reshaped(path: Path, width: int, height: int) -> bytes:
    """Return the ONNX file ``path`` with its input set to ``width`` by ``height`` pixels.

    :raises UserError: the file is not an ONNX model, or the network is tied to its size.
    """
    model = files.read_onnx(path)
    target = f'network for {width}x{height} pixels'
    with files.malformed(path, target, OTHER_SIZE):
        return _reshape(model, path, width, height)


def _reshape(model: ModelProto, path: Path, width: int, height: int) -> bytes:
    import onnx

    graph = model.graph
    sides = image_input(graph, path).type.tensor_type.shape.dim
    for side, size in zip(sides, (1, 3, height, width), strict=True):
        side.dim_value = size
    for output in graph.output:
        for side in output.type.tensor_type.shape.dim:
            side.Clear()
    del graph.value_info[:]
    for index, node in enumerate(graph.node):
        if node.op_type == 'Resize' and len(node.input) == 4:
            _resize_to_partner(model, index)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _resize_to_partner(model: ModelProto, index: int) -> None:
    """Set the target size of a fixed-size Resize to the size of what its result is added to."""
    import onnx

    graph = model.graph
    node = graph.node[index]
    addition = next(
        (
            other
            for other in graph.node
            if other.op_type == 'Add' and node.output[0] in other.input
        ),
        None,
    )
    if addition is None:
        raise LookupError(f'the result of {node.output[0]} is not added to a feature map')
    partner = next(name for name in addition.input if name != node.output[0])
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {value.name: _shape(value) for value in inferred.value_info}
    sizes = f'{node.output[0]}_sizes'
    array = np.array(shapes[partner], np.int64)
    graph.initializer.append(onnx.numpy_helper.from_array(array, sizes))
    node.input[3] = sizes


def image_input(graph: GraphProto, path: Path | str) -> ValueInfoProto:
    """Return the input that is not a weight.

    :raises UserError: there is not exactly one.
    """
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise UserError(
            f'the model {path} has {len(inputs)} inputs',
            'give a detector whose only input is an image',
        )
    return inputs[0]


def _shape(value: ValueInfoProto) -> tuple[int, ...]:
    return tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
