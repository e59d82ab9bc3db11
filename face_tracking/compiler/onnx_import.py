# SPDX-License-Identifier: Apache-2.0
"""From an ONNX file to a `graph.Network` of any input size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, cast

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from face_tracking import files
from face_tracking.arrays import Array, FloatArray
from face_tracking.compiler.graph import (
    IMAGE,
    NONE,
    RELU,
    Activate,
    Activation,
    Add,
    Concatenate,
    Convolution,
    Layer,
    MaxPool,
    Network,
    Output,
    Part,
    Shape,
    Upsample,
    Window,
    merge_sibling_convolutions,
)
from face_tracking.detection.onnx_utils import MAX_SIDE, image_input
from face_tracking.errors import UserError

OTHER_RUNTIME = 'use runtime onnxruntime, or export it with layers that the compiler supports'
MAX_NODES = 20_000
MAX_MAP = 1 << 28
"""Maximum number of values in a feature map or in a constant."""
MAX_KERNEL = 64
"""Maximum side of a kernel, a stride or a dilation."""
FOLDABLE = frozenset(
    (
        *('Add', 'Cast', 'Ceil', 'Clip', 'Concat', 'Constant', 'Div', 'Equal', 'Exp', 'Floor'),
        *('Gather', 'Identity', 'Max', 'Min', 'Mul', 'Neg', 'Reshape', 'Shape', 'Slice', 'Sqrt'),
        *('Squeeze', 'Sub', 'Transpose', 'Unsqueeze', 'Where', 'ReduceProd'),
    )
)
"""Operators on constants that are computed while reading; none can loop or grow without bound."""


@dataclass(frozen=True)
class Rows:
    """Feature maps reshaped to a matrix, as the outputs of detectors often are.

    :ivar shape: (1, rows, columns).
    """

    shape: tuple[int, int, int]
    parts: tuple[Part, ...]
    softmax: bool = False


Value: TypeAlias = Array | str | Rows
"""A constant, the name of a feature map, or a matrix of its numbers."""
Inputs: TypeAlias = list[Value | None]
"""Of a node; None for one that is optional and left out."""
Attributes: TypeAlias = dict[str, Any]


def read_network(
    path: Path | str, input_size: tuple[int, int] | None = None, rgb: bool = False
) -> Network:
    """Read a detector from an ONNX file.

    :param path: the ONNX file. It has one input (1, 3, H, W); a batch normalization follows its
        convolution directly.
    :param input_size: (width, height) to compile for; None takes the size in the file. For any
        other size the network must be fully convolutional.
    :param rgb: the network expects RGB; the images are BGR.
    :raises UserError: the file is missing, damaged, not an ONNX file, or uses a layer that the
        compiler does not support.
    """
    path = Path(path)
    model = files.read_onnx(path)
    with files.malformed(path, 'ONNX model', OTHER_RUNTIME):
        onnx.checker.check_model(model)
        if len(model.graph.node) > MAX_NODES:
            raise UserError(f'{path} has more than {MAX_NODES} layers', OTHER_RUNTIME)
        network = _Reader(model, path.name, input_size).read()
        if rgb:
            network.layers = [_swap_colors(layer, path.name) for layer in network.layers]
        return merge_sibling_convolutions(network)


def model_input_size(path: Path | str) -> tuple[int, int]:
    """Return (width, height) of the input that an ONNX file declares; 0 where it is left open.

    :raises UserError: see :func:`read_network`.
    """
    path = Path(path)
    model = files.read_onnx(path)
    with files.malformed(path, 'ONNX model', OTHER_RUNTIME):
        return _declared_size(image_input(model.graph, path.name), path.name)


def _declared_size(value: onnx.ValueInfoProto, name: str) -> tuple[int, int]:
    sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
    if len(sides) != 4 or sides[1] not in (0, 3):
        raise UserError(
            f'{name} takes a tensor of shape {sides}, not an image (1, 3, H, W)', OTHER_RUNTIME
        )
    return sides[3], sides[2]


def _constant(tensor: onnx.TensorProto) -> Array:
    if math.prod(tensor.dims) > MAX_MAP or min(tensor.dims, default=0) < 0:
        raise ValueError(f'the constant {tensor.name} has the shape {list(tensor.dims)}')
    return numpy_helper.to_array(tensor)


def _largest_result(shapes: list[tuple[int, ...]]) -> int:
    """Return an upper bound of the size of a result of constants with these shapes."""
    total = sum(math.prod(shape) for shape in shapes)
    rank = max((len(shape) for shape in shapes), default=0)
    sides = [[1] * (rank - len(shape)) + list(shape) for shape in shapes]
    return max(total, math.prod(max(side) for side in zip(*sides, strict=True)))


def _swap_colors(layer: Layer, name: str) -> Layer:
    if IMAGE not in layer.sources:
        return layer
    if not isinstance(layer, Convolution) or layer.depthwise:
        raise UserError(f'{name} does not begin with a convolution', OTHER_RUNTIME)
    return replace(layer, weights=np.ascontiguousarray(layer.weights[:, :, ::-1]))


class _Reader:
    """Reads the nodes in order."""

    def __init__(self, model: onnx.ModelProto, name: str, input_size: tuple[int, int] | None):
        self.model, self.name = model, name
        image = image_input(model.graph, name)
        self.own_size = _declared_size(image, name)
        width, height = input_size or self.own_size
        if width < 1 or height < 1:
            raise UserError(
                f'{name} leaves its input size open', 'give an input size, for example 640x480'
            )
        if max(width, height) > MAX_SIDE:
            raise UserError(
                f'{name} cannot be compiled for {width}x{height} pixels',
                f'give sides of at most {MAX_SIDE}',
            )
        self.values: dict[str, Value] = {
            tensor.name: _constant(tensor) for tensor in model.graph.initializer
        }
        self.values[image.name] = IMAGE
        self.shapes = {IMAGE: Shape(height, width, 3)}
        self.input_mean, self.input_scale = 0.0, 1.0
        self.layers: dict[str, Layer] = {}
        self.turned: dict[str, str] = {}
        self.flat: dict[str, str] = {}
        self.dense: set[str] = set()
        self.readers: dict[str, int] = {}
        for node in model.graph.node:
            for value in node.input:
                self.readers[value] = self.readers.get(value, 0) + 1
        for value in model.graph.output:
            self.readers[value.name] = self.readers.get(value.name, 0) + 1

    def read(self) -> Network:
        for node in self.model.graph.node:
            self._read(node)
        outputs = [self._output(value.name) for value in self.model.graph.output]
        return Network(
            list(self.layers.values()), outputs, self.shapes, self.input_mean, self.input_scale
        )

    def _fail(self, node: NodeProto, why: str) -> NoReturn:
        raise UserError(f'{self.name}: {node.op_type} ({node.output[0]}) {why}', OTHER_RUNTIME)

    def _read(self, node: NodeProto) -> None:
        inputs = [self.values.get(name) for name in node.input]
        if all(value is None or isinstance(value, np.ndarray) for value in inputs):
            self._fold(node)
            return
        handler = getattr(self, f'_read_{node.op_type.lower()}', None)
        if handler is None:
            self._fail(node, 'is not a layer that the compiler supports')
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        self.values[node.output[0]] = handler(node, inputs, attributes)

    def _fold(self, node: NodeProto) -> None:
        """Compute a node whose inputs are all constants."""
        feeds = {name: self._array(node, self.values[name]) for name in node.input if name}
        if node.op_type not in FOLDABLE:
            self._fail(node, 'of constants is not supported')
        if _largest_result([np.shape(value) for value in feeds.values()]) > MAX_MAP:
            self._fail(node, 'makes a constant that is too large')
        graph = helper.make_graph(
            [node],
            'constant',
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
                )
                for name, value in feeds.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
        )
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        results = ReferenceEvaluator(model).run(None, feeds)
        self.values.update(zip(node.output, results, strict=True))

    def _add(self, layer: Layer, shape: Shape, node: NodeProto) -> str:
        image = self.shapes[IMAGE]
        if min(shape.height, shape.width) < 1:
            self._fail(node, f'has an empty result at input size {image.width}x{image.height}')
        if shape.channels < 1 or shape.numbers > MAX_MAP:
            self._fail(node, f'has a result of {shape.numbers} numbers')
        if not layer.output or layer.output in self.shapes:
            self._fail(node, 'has the same name as another result, or none')
        self.layers[layer.output] = layer
        self.shapes[layer.output] = shape
        return layer.output

    def _feature(self, node: NodeProto, value: Value | None) -> str:
        if not isinstance(value, str) or value in self.turned or value in self.flat:
            self._fail(node, 'does not read a feature map')
        return value

    def _array(self, node: NodeProto, value: Value | None) -> Array:
        if not isinstance(value, np.ndarray):
            self._fail(node, 'has an input that is not constant')
        return value

    def _optional(self, node: NodeProto, inputs: Inputs, index: int) -> Array | None:
        """Return a constant input, None if it is left out."""
        left_out = len(inputs) <= index or inputs[index] is None
        return None if left_out else self._array(node, inputs[index])

    # Layers that compute feature maps.

    def _read_conv(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        source = self._feature(node, inputs[0])
        if not isinstance(inputs[1], np.ndarray):
            self._fail(node, 'has no constant weights')
        weights = inputs[1].astype(np.float32)
        if weights.ndim != 4:
            self._fail(node, 'is not two-dimensional')
        out, per_group, rows, columns = weights.shape
        groups = attributes.get('group', 1)
        bias = self._optional(node, inputs, 2)
        window = self._window(node, attributes, (rows, columns), self.shapes[source])
        depthwise = per_group == 1 and groups == self.shapes[source].channels == out
        if not depthwise and groups != 1:
            self._fail(node, f'has {groups} groups')
        weights = weights[:, 0].transpose(1, 2, 0) if depthwise else weights.transpose(2, 3, 1, 0)
        layer = Convolution(
            node.output[0],
            (source,),
            window,
            np.ascontiguousarray(weights),
            np.asarray(np.zeros(out) if bias is None else bias, np.float32),
        )
        if not depthwise and per_group != self.shapes[source].channels:
            self._fail(node, f'has weights for {per_group} channels')
        if layer.bias.shape != (out,):
            self._fail(node, f'has {layer.bias.size} biases for {out} channels')
        return self._add(layer, window.output(self.shapes[source], out), node)

    def _window(
        self, node: NodeProto, attributes: Attributes, size: tuple[int, int], shape: Shape
    ) -> Window:
        # Whether these are pairs is checked below.
        stride = cast('tuple[int, int]', tuple(attributes.get('strides', (1, 1))))
        dilation = cast('tuple[int, int]', tuple(attributes.get('dilations', (1, 1))))
        padding = cast('tuple[int, int, int, int]', tuple(attributes.get('pads', (0, 0, 0, 0))))
        auto = attributes.get('auto_pad', b'NOTSET').decode()
        if auto in ('SAME_UPPER', 'SAME_LOWER'):
            begin: list[int] = []
            end: list[int] = []
            for axis, length in enumerate((shape.height, shape.width)):
                reach = (size[axis] - 1) * dilation[axis] + 1
                steps = -(-length // stride[axis])
                missing = max(0, (steps - 1) * stride[axis] + reach - length)
                small, large = missing // 2, missing - missing // 2
                begin.append(small if auto == 'SAME_UPPER' else large)
                end.append(large if auto == 'SAME_UPPER' else small)
            padding = (begin[0], begin[1], end[0], end[1])
        window = Window(size, stride, dilation, padding)
        if (
            {len(size), len(stride), len(dilation), len(padding) // 2} != {2}
            or not min(*size, *stride, *dilation) >= 1
            or max(*size, *stride, *dilation) > MAX_KERNEL
            or not min(padding) >= 0
            or any(pad >= window.reach(axis % 2) for axis, pad in enumerate(padding) if pad)
        ):
            self._fail(node, f'has the window {window}')
        return window

    def _read_batchnormalization(
        self, node: NodeProto, inputs: Inputs, attributes: Attributes
    ) -> str:
        source = self._feature(node, inputs[0])
        layer = self.layers.get(source)
        scale, shift, mean, variance = (
            np.asarray(self._array(node, value), np.float64) for value in inputs[1:5]
        )
        channels = self.shapes[source].channels
        if any(value.shape != (channels,) for value in (scale, shift, mean, variance)):
            self._fail(node, f'does not have a number for each of {channels} channels')
        gain = scale / np.sqrt(variance + attributes.get('epsilon', 1e-5))
        if (
            not isinstance(layer, Convolution)
            or self.readers[node.input[0]] != 1
            or layer.activation != NONE
        ):
            return self._scale_channels(node, source, gain, shift - mean * gain)
        self.layers[source] = replace(
            layer,
            weights=(layer.weights * gain).astype(np.float32),
            bias=((layer.bias - mean) * gain + shift).astype(np.float32),
        )
        return source

    def _scale_channels(
        self, node: NodeProto, source: str, gain: FloatArray, shift: FloatArray
    ) -> str:
        """Multiply and shift each channel, which is a depthwise convolution of one pixel."""
        if source == IMAGE:
            self._fail(node, 'is applied to the image itself')
        weights = gain.astype(np.float32).reshape(1, 1, -1)
        layer = Convolution(node.output[0], (source,), Window(), weights, shift.astype(np.float32))
        return self._add(layer, self.shapes[source], node)

    def _read_sub(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        value = self._input_constant(node, inputs)
        self.input_mean += value / self.input_scale
        return IMAGE

    def _read_mul(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        self.input_scale *= self._input_constant(node, inputs)
        return IMAGE

    def _input_constant(self, node: NodeProto, inputs: Inputs) -> float:
        """Return the number by which a network prepares its input, before all layers."""
        image, value = inputs
        first = isinstance(image, str) and image == IMAGE and not self.layers
        if not first or not isinstance(value, np.ndarray) or value.size != 1:
            self._fail(node, 'is something other than one number applied to the image')
        return float(value.reshape(()))

    def _read_gemm(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        """Read a dense layer behind a flattened map as a convolution as large as the map."""
        source, constant = inputs[:2]
        plain = attributes.get('alpha', 1.0) == 1.0 == attributes.get('beta', 1.0)
        transposed = bool(attributes.get('transA', 0))
        if not isinstance(source, str) or source not in self.flat or not plain or transposed:
            self._fail(node, 'is no dense layer over a whole feature map')
        source = self.flat[source]
        shape = self.shapes[source]
        weights = self._array(node, constant).astype(np.float32)
        weights = weights.T if attributes.get('transB', 0) else weights
        if weights.shape[0] != shape.numbers:
            self._fail(
                node, f'expects {weights.shape[0]} elements, but the input has {shape.numbers}'
            )
        # ONNX flattens channel by channel, the kernels go pixel by pixel.
        weights = weights.reshape(shape.channels, shape.height, shape.width, -1)
        weights = np.ascontiguousarray(weights.transpose(1, 2, 0, 3))
        count = weights.shape[-1]
        bias = self._optional(node, inputs, 2)
        own = np.asarray(0.0 if bias is None else bias, np.float32)
        window = Window((shape.height, shape.width))
        layer = Convolution(
            node.output[0],
            (source,),
            window,
            weights,
            np.broadcast_to(own, (count,)).copy(),
        )
        self.dense.add(layer.output)
        return self._add(layer, Shape(1, 1, count), node)

    def _read_flatten(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        name = node.output[0]
        self.flat[name] = self._feature(node, inputs[0])
        return name

    def _read_maxpool(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        source = self._feature(node, inputs[0])
        shape = self.shapes[source]
        window = self._window(node, attributes, tuple(attributes['kernel_shape']), shape)
        ceil = bool(attributes.get('ceil_mode', 0))
        return self._add(
            MaxPool(node.output[0], (source,), window),
            window.output(shape, shape.channels, ceil),
            node,
        )

    def _read_averagepool(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        source = self._feature(node, inputs[0])
        shape = self.shapes[source]
        window = self._window(node, attributes, tuple(attributes['kernel_shape']), shape)
        if any(window.padding) or attributes.get('ceil_mode', 0):
            self._fail(node, 'averages over padding')
        weights = np.full((*window.size, shape.channels), 1 / np.prod(window.size), np.float32)
        bias = np.zeros(shape.channels, np.float32)
        return self._add(
            Convolution(node.output[0], (source,), window, weights, bias),
            window.output(shape, shape.channels),
            node,
        )

    def _read_resize(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        source = self._feature(node, inputs[0])
        scales = self._optional(node, inputs, 2)
        sizes = self._optional(node, inputs, 3)
        mode = attributes.get('coordinate_transformation_mode', b'half_pixel')
        if scales is None or not scales.size:
            if sizes is None:
                self._fail(node, 'has neither scale nor size')
            own = self._own_shape(source)
            sides = zip(sizes[2:], (own.height, own.width), strict=True)
            scales = np.array([1, 1, *(-(-int(size) // side) for size, side in sides)])
        # Enlarging by whole factors, these modes repeat each pixel.
        floor = mode == b'asymmetric' and attributes.get('nearest_mode') == b'floor'
        return self._upsample(node, source, scales, attributes, floor or mode == b'half_pixel')

    def _own_shape(self, name: str) -> Shape:
        """Return the shape of a map at the input size that the file was exported for.

        A size in the graph was computed for that one, and only its ratio holds for others.
        """
        if (self.shapes[IMAGE].width, self.shapes[IMAGE].height) == self.own_size:
            return self.shapes[name]
        reader = _Reader(self.model, self.name, self.own_size)
        reader.read()
        return reader.shapes[name]

    def _read_upsample(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        scales = self._optional(node, inputs, 1)
        return self._upsample(
            node,
            self._feature(node, inputs[0]),
            attributes['scales'] if scales is None else scales,
            attributes,
            True,
        )

    def _upsample(
        self,
        node: NodeProto,
        source: str,
        scales: Iterable[float],
        attributes: Attributes,
        repeats: bool,
    ) -> str:
        factors = [float(scale) for scale in scales]
        factor = int(factors[-1])
        if (
            attributes.get('mode', b'nearest') != b'nearest'
            or not repeats
            or factors != [1, 1, factor, factor]
            or not 1 <= factor <= MAX_KERNEL
        ):
            self._fail(node, 'does not repeat pixels an integer number of times')
        shape = self.shapes[source]
        return self._add(
            Upsample(node.output[0], (source,), factor),
            Shape(shape.height * factor, shape.width * factor, shape.channels),
            node,
        )

    def _read_add(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        sources = tuple(self._feature(node, value) for value in inputs)
        if len(sources) != 2:
            self._fail(node, f'adds {len(sources)} feature maps')
        for source, other in (sources, sources[::-1]):
            self._crop_enlarged(source, self.shapes[other])
        if self.shapes[sources[0]] != self.shapes[sources[1]]:
            self._fail(node, f'adds {self.shapes[sources[0]]} to {self.shapes[sources[1]]}')
        return self._add(Add(node.output[0], sources), self.shapes[sources[0]], node)

    def _crop_enlarged(self, name: str, wanted: Shape) -> None:
        """Crop the last row or column of a doubled map that is added to one with an odd side."""
        layer, shape = self.layers.get(name), self.shapes[name]
        if isinstance(layer, Upsample) and all(
            0 <= have - want < layer.factor
            for have, want in ((shape.height, wanted.height), (shape.width, wanted.width))
        ):
            self.shapes[name] = replace(wanted, channels=shape.channels)

    def _read_concat(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str | Rows:
        rows = [value for value in inputs if isinstance(value, Rows)]
        if len(rows) == len(inputs):
            return self._concat_rows(node, rows, attributes)
        sources = tuple(self._feature(node, value) for value in inputs)
        if attributes['axis'] not in (1, -3):
            self._fail(node, 'does not join channels')
        shapes = [self.shapes[source] for source in sources]
        if len({(shape.height, shape.width) for shape in shapes}) > 1:
            self._fail(node, 'joins maps of different sizes')
        total = sum(shape.channels for shape in shapes)
        return self._add(
            Concatenate(node.output[0], sources), replace(shapes[0], channels=total), node
        )

    # Activations become part of the layer before them if nothing else reads that.

    def _activate(
        self, node: NodeProto, value: Value | None, activation: Activation
    ) -> str | Rows:
        if isinstance(value, Rows):
            if value.softmax or any(part.activation != NONE for part in value.parts):
                self._fail(node, 'follows another activation')
            return replace(
                value, parts=tuple(replace(part, activation=activation) for part in value.parts)
            )
        source = self._feature(node, value)
        layer = self.layers.get(source)
        if (
            isinstance(layer, Convolution | Add)
            and layer.activation == NONE
            and self.readers[node.input[0]] == 1
        ):
            self.layers[source] = replace(layer, activation=activation)
            return source
        return self._add(
            Activate(node.output[0], (source,), activation), self.shapes[source], node
        )

    def _read_relu(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str | Rows:
        return self._activate(node, inputs[0], RELU)

    def _read_clip(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str | Rows:
        low, high = (self._optional(node, inputs, index) for index in (1, 2))
        low = attributes.get('min') if low is None else low
        high = attributes.get('max') if high is None else high
        return self._activate(
            node,
            inputs[0],
            Activation(
                'clip',
                float('-inf') if low is None else float(low),
                float('inf') if high is None else float(high),
            ),
        )

    def _read_leakyrelu(
        self, node: NodeProto, inputs: Inputs, attributes: Attributes
    ) -> str | Rows:
        return self._activate(node, inputs[0], Activation('leaky', attributes.get('alpha', 0.01)))

    def _read_prelu(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str | Rows:
        slopes = np.asarray(self._array(node, inputs[1]), np.float64).ravel()
        if slopes.size == 1:
            return self._activate(node, inputs[0], Activation('leaky', float(slopes[0])))
        source = self._feature(node, inputs[0])
        layer = self.layers.get(source)
        if not isinstance(layer, Convolution) or slopes.size != self.shapes[source].channels:
            self._fail(node, 'does not follow a convolution with as many channels')
        result = self._activate(
            node, inputs[0], Activation('prelu', slopes=tuple(slopes.tolist()))
        )
        if result != source:
            self._fail(node, 'does not follow a convolution directly')
        return result

    def _read_sigmoid(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str | Rows:
        return self._activate(node, inputs[0], Activation('sigmoid'))

    def _read_softmax(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> Rows:
        rows = inputs[0]
        if not isinstance(rows, Rows) or attributes.get('axis', -1) not in (-1, 2):
            self._fail(node, 'is not along the columns of the result')
        return replace(rows, softmax=True)

    # The outputs: NHWC reshaped to a matrix, which moves no number.

    def _read_identity(
        self, node: NodeProto, inputs: Inputs, attributes: Attributes
    ) -> Value | None:
        return inputs[0]

    _read_dropout = _read_identity

    def _read_transpose(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> str:
        source = self._feature(node, inputs[0])
        if list(attributes['perm']) != [0, 2, 3, 1]:
            self._fail(node, f'permutes the axes to {list(attributes["perm"])[:8]}')
        self.turned[node.output[0]] = source
        return node.output[0]

    def _read_reshape(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> Rows:
        value, constant = inputs
        wanted = self._array(node, constant)
        if not isinstance(value, str) or value not in self.turned or len(wanted) != 3:
            self._fail(node, 'does not turn a transposed feature map into rows')
        columns = int(wanted[2])
        source = self.turned[value]
        shape = self.shapes[source]
        if columns < 1 or shape.numbers % columns:
            self._fail(node, f'has {columns} columns for {shape.numbers} numbers')
        rows = shape.numbers // columns
        return Rows((1, rows, columns), (Part(source, 0, shape.channels),))

    def _concat_rows(self, node: NodeProto, inputs: list[Rows], attributes: Attributes) -> Rows:
        columns = {rows.shape[2] for rows in inputs}
        if (
            attributes['axis'] not in (1, -2)
            or len(columns) > 1
            or any(rows.softmax for rows in inputs)
        ):
            self._fail(node, 'does not concatenate rows')
        parts = tuple(part for rows in inputs for part in rows.parts)
        return Rows((1, sum(rows.shape[1] for rows in inputs), columns.pop()), parts)

    def _read_shape(self, node: NodeProto, inputs: Inputs, attributes: Attributes) -> Array:
        value = inputs[0]
        if isinstance(value, Rows):
            return np.array(value.shape, np.int64)
        if not isinstance(value, str):
            self._fail(node, 'does not read a feature map')
        shape = self.shapes[self.turned.get(value, value)]
        sides = (
            (1, shape.height, shape.width, shape.channels)
            if value in self.turned
            else (1, shape.channels, shape.height, shape.width)
        )
        return np.array(sides, np.int64)

    def _output(self, name: str) -> Output:
        value = self.values.get(name)
        if isinstance(value, Rows):
            return Output(name, value.shape, value.parts, softmax=value.softmax)
        if not isinstance(value, str):
            raise UserError(
                f'{self.name}: output {name} does not depend on the image', OTHER_RUNTIME
            )
        source = self.turned.get(value, value)
        shape = self.shapes[source]
        part = (Part(source, 0, shape.channels),)
        if value in self.dense:
            return Output(name, (1, shape.channels), part)
        if value in self.turned:
            return Output(name, (1, shape.height, shape.width, shape.channels), part)
        return Output(name, (1, shape.channels, shape.height, shape.width), part, planar=True)
