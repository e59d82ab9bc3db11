# SPDX-License-Identifier: Apache-2.0
"""A quantized network as a TensorFlow Lite file.

Convolutions, pooling, upsampling and additions are in int8, as an Edge TPU computes them. They are
followed by the few steps in float that turn the last maps into the network's outputs; the compiler
of an accelerator leaves those to the processor.

The schema (classes ending in T are its tables) is part of LiteRT:
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import DTypeLike

from face_tracking.arrays import Array, FloatArray, IntArray
from face_tracking.compiler.graph import (
    IMAGE,
    NONE,
    RELU,
    Activation,
    Add,
    Convolution,
    Layer,
    MaxPool,
    Output,
    Part,
    Shape,
    Upsample,
    Window,
)
from face_tracking.compiler.tflite.integer_network import Grid, IntegerNetwork
from face_tracking.errors import UserError

Op = schema.BuiltinOperator
VERSIONS = {
    Op.CONV_2D: 3,
    Op.DEPTHWISE_CONV_2D: 3,
    Op.ADD: 2,
    Op.PAD: 2,
    Op.MAX_POOL_2D: 2,
    Op.RESIZE_NEAREST_NEIGHBOR: 2,
    Op.DEQUANTIZE: 2,
}
"""The first version of each operator that computes in int8; 1 for the others."""
TYPES: dict[Any, int] = {
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.float32): schema.TensorType.FLOAT32,
}


def written(integers: IntegerNetwork, description: str) -> bytes:
    """Return the TensorFlow Lite file of a network.

    Its input is int8 (1, H, W, 3), each pixel value minus 128. Its outputs have the names and the
    shapes of the ONNX file, in float32.

    :raises UserError: a layer or its padding does not exist in TensorFlow Lite.
    """
    return Writer(integers).write(description)


class Writer:
    """Collects tensors and operators; feature maps are tensors by name."""

    def __init__(self, integers: IntegerNetwork):
        self._integers = integers
        self._network = integers.network
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first one is empty by convention
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        self._maps: dict[str, int] = {}

    def write(self, description: str) -> bytes:
        """Return the file's content."""
        image = self._map(IMAGE)
        for layer in self._network.layers:
            self._add_layer(layer)
        outputs = self._add_outputs()
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = 'main', self._tensors, self._operators
        graph.inputs, graph.outputs = [image], outputs
        model = schema.ModelT()
        model.version, model.description = 3, description
        model.operatorCodes, model.buffers, model.subgraphs = self._codes, self._buffers, [graph]
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b'TFL3')
        return bytes(builder.Output())

    # Tensors

    def _tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: DTypeLike,
        data: Array | None = None,
        scales: Sequence[float] | FloatArray = (),
        zero_points: Sequence[int] | IntArray = (),
        axis: int = 0,
    ) -> int:
        # The generated classes annotate their attributes as None.
        tensor: Any = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), TYPES[np.dtype(dtype)]
        if data is not None:
            buffer: Any = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        if len(scales):
            quantization: Any = schema.QuantizationParametersT()
            quantization.scale = np.asarray(scales, np.float32)
            quantization.zeroPoint = np.asarray(zero_points, np.int64)
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _constant(self, name: str, data: Array) -> int:
        return self._tensor(name, data.shape, data.dtype, data)

    def _map(self, name: str) -> int:
        """Return the tensor of a feature map."""
        if name not in self._maps:
            self._maps[name] = self._quantized_map(
                name, self._network.shapes[name], self._integers.grids[name]
            )
        return self._maps[name]

    def _quantized_map(self, name: str, shape: Shape, grid: Grid) -> int:
        return self._tensor(
            name,
            (1, shape.height, shape.width, shape.channels),
            np.int8,
            scales=[grid.scale],
            zero_points=[grid.zero_point],
        )

    # Operators

    def _operator(self, kind: int, inputs: Sequence[int], output: int, options: Any = None) -> int:
        operator: Any = schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            name = type(options).__name__.removesuffix('T')
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options
        self._operators.append(operator)
        return output

    def _code(self, kind: int) -> int:
        for index, code in enumerate(self._codes):
            if code.builtinCode == kind:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = kind, VERSIONS.get(kind, 1)
        code.deprecatedBuiltinCode = min(kind, 127)
        self._codes.append(code)
        return len(self._codes) - 1

    def _add_layer(self, layer: Layer) -> None:
        if isinstance(layer, Convolution):
            self._add_convolution(layer)
        elif isinstance(layer, MaxPool):
            self._add_pool(layer)
        elif isinstance(layer, Upsample):
            self._add_upsampling(layer)
        elif isinstance(layer, Add):
            options = schema.AddOptionsT()
            options.fusedActivationFunction = fused(layer.activation)
            self._operator(
                Op.ADD,
                [self._map(name) for name in layer.sources],
                self._map(layer.output),
                options,
            )
        else:
            raise _unknown(layer)

    def _add_convolution(self, layer: Convolution) -> None:
        source, padding = self._padded(layer)
        kind: Any = schema.DepthwiseConv2DOptionsT if layer.depthwise else schema.Conv2DOptionsT
        options = kind()
        options.padding = padding
        options.strideH, options.strideW = layer.window.stride
        options.dilationHFactor, options.dilationWFactor = layer.window.dilation
        options.fusedActivationFunction = fused(layer.activation)
        kernel = self._integers.kernels[layer.output]
        weights = kernel.weights[None] if layer.depthwise else kernel.weights.transpose(3, 0, 1, 2)
        zeros = np.zeros(len(kernel.scales), np.int64)
        weights = self._tensor(
            f'{layer.output}/weights',
            weights.shape,
            np.int8,
            weights,
            kernel.scales,
            zeros,
            axis=3 if layer.depthwise else 0,
        )
        input_scale = self._integers.grids[layer.sources[0]].scale
        bias = self._tensor(
            f'{layer.output}/bias',
            kernel.bias.shape,
            np.int32,
            kernel.bias,
            kernel.scales * np.float32(input_scale),
            zeros,
        )
        if layer.depthwise:
            options.depthMultiplier = 1
        self._operator(
            Op.DEPTHWISE_CONV_2D if layer.depthwise else Op.CONV_2D,
            [source, weights, bias],
            self._map(layer.output),
            options,
        )

    def _padded(self, layer: Convolution) -> tuple[int, int]:
        """Return the input of a convolution and its kind of padding.

        TensorFlow Lite supports no padding, and padding to a multiple of the stride with more at
        the end. Any other padding needs a separate operator.
        """
        shape = self._network.shapes[layer.sources[0]]
        source = self._map(layer.sources[0])
        if not any(layer.window.padding):
            return source, schema.Padding.VALID
        if layer.window.padding == _same_padding(layer.window, shape):
            return source, schema.Padding.SAME
        top, left, bottom, right = layer.window.padding
        larger = Shape(shape.height + top + bottom, shape.width + left + right, shape.channels)
        padded = self._quantized_map(
            f'{layer.output}/padded', larger, self._integers.grids[layer.sources[0]]
        )
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        self._operator(
            Op.PAD,
            [source, self._constant(f'{layer.output}/padding', amounts)],
            padded,
            schema.PadOptionsT(),
        )
        return padded, schema.Padding.VALID

    def _add_pool(self, layer: MaxPool) -> None:
        shape, window = self._network.shapes[layer.sources[0]], layer.window
        if window.dilation != (1, 1) or window.padding not in (
            (0, 0, 0, 0),
            _same_padding(window, shape),
        ):
            raise _unknown(layer)
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.SAME if any(window.padding) else schema.Padding.VALID
        options.filterHeight, options.filterWidth = window.size
        options.strideH, options.strideW = window.stride
        self._operator(
            Op.MAX_POOL_2D, [self._map(layer.sources[0])], self._map(layer.output), options
        )

    def _add_upsampling(self, layer: Upsample) -> None:
        shape, small = self._network.shapes[layer.output], self._network.shapes[layer.sources[0]]
        for large, side in ((shape.height, small.height), (shape.width, small.width)):
            taken = np.floor(np.arange(large, dtype=np.float32) * np.float32(side / large))
            if (taken != np.arange(large) // layer.factor).any():
                raise _unknown(layer)
        size = self._constant(
            f'{layer.output}/size', np.array([shape.height, shape.width], np.int32)
        )
        self._operator(
            Op.RESIZE_NEAREST_NEIGHBOR,
            [self._map(layer.sources[0]), size],
            self._map(layer.output),
            schema.ResizeNearestNeighborOptionsT(),
        )

    # From the last maps to the outputs, in float

    def _add_outputs(self) -> list[int]:
        ends = dict.fromkeys(
            part.source for output in self._network.outputs for part in output.parts
        )
        real = {name: self._dequantized(name) for name in ends}
        return [self._add_output(output, real) for output in self._network.outputs]

    def _dequantized(self, name: str) -> int:
        shape = self._tensors[self._map(name)].shape
        value = self._operator(
            Op.DEQUANTIZE,
            [self._map(name)],
            self._tensor(f'{name}/real', shape, np.float32),
            schema.DequantizeOptionsT(),
        )
        if name in self._integers.ends:
            factors = self._constant(f'{name}/factors', self._integers.ends[name])
            value = self._operator(
                Op.MUL,
                [value, factors],
                self._tensor(f'{name}/scaled', shape, np.float32),
                schema.MulOptionsT(),
            )
        return value

    def _add_output(self, output: Output, real: dict[str, int]) -> int:
        parts = [
            self._part(output, index, part, real[part.source])
            for index, part in enumerate(output.parts)
        ]
        if output.planar:
            order = self._constant(f'{output.name}/order', np.array([0, 3, 1, 2], np.int32))
            kind, inputs, options = Op.TRANSPOSE, [*parts, order], schema.TransposeOptionsT()
        elif len(parts) > 1:
            kind, inputs, options = Op.CONCATENATION, parts, schema.ConcatenationOptionsT()
            options.axis = 1
        else:
            shape = self._constant(f'{output.name}/shape', np.array(output.shape, np.int32))
            kind, inputs, options = Op.RESHAPE, [*parts, shape], schema.ReshapeOptionsT()
        name = f'{output.name}/logits' if output.softmax else output.name
        value = self._operator(kind, inputs, self._tensor(name, output.shape, np.float32), options)
        if output.softmax:
            options = schema.SoftmaxOptionsT()
            options.beta = 1.0
            value = self._operator(
                Op.SOFTMAX, [value], self._tensor(output.name, output.shape, np.float32), options
            )
        return value

    def _part(self, output: Output, index: int, part: Part, value: int) -> int:
        name = f'{output.name}/part{index}'
        shape = self._network.shapes[part.source]
        taken = (1, shape.height, shape.width, part.channels)
        if part.channels != shape.channels:
            begin = self._constant(f'{name}/begin', np.array([0, 0, 0, part.first], np.int32))
            size = self._constant(f'{name}/size', np.array(taken, np.int32))
            value = self._operator(
                Op.SLICE,
                [value, begin, size],
                self._tensor(name, taken, np.float32),
                schema.SliceOptionsT(),
            )
        if part.activation.kind == 'sigmoid':
            value = self._operator(
                Op.LOGISTIC, [value], self._tensor(f'{name}/sigmoid', taken, np.float32)
            )
        elif part.activation != NONE:
            raise UserError(
                f'the activation {part.activation.kind} of {output.name} does '
                'not exist in TensorFlow Lite',
                'choose another runtime',
            )
        if len(output.parts) > 1:
            rows = (
                1,
                shape.height * shape.width * part.channels // output.shape[-1],
                output.shape[-1],
            )
            wanted = self._constant(f'{name}/shape', np.array(rows, np.int32))
            value = self._operator(
                Op.RESHAPE,
                [value, wanted],
                self._tensor(f'{name}/rows', rows, np.float32),
                schema.ReshapeOptionsT(),
            )
        return value


def fused(activation: Activation) -> int:
    """Return the code of an activation that is fused into an operator."""
    kinds = {
        NONE: schema.ActivationFunctionType.NONE,
        RELU: schema.ActivationFunctionType.RELU,
        Activation('clip', 0.0, 6.0): schema.ActivationFunctionType.RELU6,
    }
    if activation not in kinds:
        raise UserError(
            f'the activation {activation.kind} from {activation.low:g} to '
            f'{activation.high:g} does not exist in TensorFlow Lite',
            'choose another runtime',
        )
    return kinds[activation]


def _same_padding(window: Window, shape: Shape) -> tuple[int, int, int, int]:
    """Return the padding SAME of TensorFlow Lite: top, left, bottom, right."""
    begin, end = [], []
    for axis, length in enumerate((shape.height, shape.width)):
        steps = -(-length // window.stride[axis])
        missing = max(0, (steps - 1) * window.stride[axis] + window.reach(axis) - length)
        begin.append(missing // 2)
        end.append(missing - missing // 2)
    return (*begin, *end)


def _unknown(layer: Layer) -> UserError:
    return UserError(
        f'{type(layer).__name__} ({layer.output}) does not exist in TensorFlow Lite',
        'choose another runtime',
    )
