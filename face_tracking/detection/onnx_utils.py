# SPDX-License-Identifier: Apache-2.0
"""Input sizes of ONNX files: reading them, and changing them.

A fully convolutional network has no size of its own, but an exported file states one, and
compilers plan memory by it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from face_tracking.errors import UserError

PROBE = (640, 640)
"""Width and height at which a network that leaves its input size open is recognized."""


def signature(path: Path) -> tuple[int, int, dict[str, tuple[int, ...]]]:
    """Return input width, input height and the shape of each output by name.

    A side that the file leaves open counts as 0. The outputs' shapes are those at the input size
    `PROBE` then.

    :raises UserError: if the file is not an ONNX model with one image as its input.
    """
    import onnx

    graph = _load(path).graph
    shape = _shape(_image(graph, path))
    if len(shape) != 4 or shape[1] not in (0, 3):
        raise UserError(
            f'{path} takes an input of shape {"x".join(map(str, shape))}, which is not a color '
            'image',
            'give a detector with an input of shape 1x3xHxW',
        )
    if not all(shape[2:]):
        graph = onnx.load_from_string(reshaped(path, *PROBE)).graph
    return shape[3], shape[2], {output.name: _shape(output) for output in graph.output}


def reshaped(path: Path, width: int, height: int) -> bytes:
    """Return the ONNX file ``path`` with its input set to ``width`` by ``height`` pixels.

    :raises UserError: if the network is tied to its size.
    """
    import onnx

    model = _load(path)
    graph = model.graph
    sides = _image(graph, path).type.tensor_type.shape.dim
    for side, size in zip(sides, (1, 3, height, width), strict=True):
        side.dim_value = size
    for output in graph.output:
        for side in output.type.tensor_type.shape.dim:
            side.Clear()
    del graph.value_info[:]
    try:
        for index, node in enumerate(graph.node):
            if node.op_type == 'Resize' and len(node.input) == 4:
                _resize_to_partner(model, index)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model)
    except (
        onnx.shape_inference.InferenceError,
        onnx.checker.ValidationError,
        LookupError,
    ) as error:
        raise UserError(
            f'the model {path} cannot be re-shaped to {width}x{height} pixels',
            'use the size it was exported for, or sides that are multiples of its largest stride',
        ) from error
    return model.SerializeToString()


def _resize_to_partner(model, index: int):
    """Give a Resize with a fixed target size the size of what its result is added to."""
    import onnx

    graph = model.graph
    node = graph.node[index]
    addition = next(
        other for other in graph.node if other.op_type == 'Add' and node.output[0] in other.input
    )
    partner = next(name for name in addition.input if name != node.output[0])
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shape = next(_shape(value) for value in inferred.value_info if value.name == partner)
    sizes = f'{node.output[0]}_sizes'
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape, np.int64), sizes))
    node.input[3] = sizes


def _load(path: Path):
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            f'the Python package onnx, which reads {path}, is missing',
            'install it (python3-onnx, or pip install onnx)',
        ) from error
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
    except DecodeError as error:
        raise UserError(
            f'{path} is not an ONNX model, or is truncated', 'fetch or export it again'
        ) from error
    except OSError as error:
        raise UserError(
            f'cannot read the model {path} ({error.strerror})', 'check the path'
        ) from error
    if not model.graph.node or not model.graph.output:
        raise UserError(
            f'{path} is not an ONNX model, or is truncated', 'fetch or export it again'
        )
    return model


def _image(graph, path: Path):
    """Return the input that is not a weight."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise UserError(
            f'the model {path} has {len(inputs)} inputs',
            'give a detector whose one input is an image',
        )
    return inputs[0]


def _shape(value) -> tuple[int, ...]:
    return tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
