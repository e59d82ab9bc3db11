# SPDX-License-Identifier: Apache-2.0
"""From a network and the ranges of its feature maps to a network in integers.

Dense convolutions multiply 8-bit numbers and sum the products in 32 bits, as the dot product
instructions of the processors do. Depthwise convolutions and additions, for which no such
instruction exists, compute with 16 bits; the values between a dense convolution and one of them
are never rounded to 8 bits. The last convolutions, from which the outputs are read, stay in
float32.

Every channel of every map has its own scale: a number ``q`` represents ``q * scale``. That costs
nothing, because the scales of a layer's inputs become part of its weights (Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, where they are
shared between layers instead). Weights of dense convolutions are symmetric, with a scale for
each output channel (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from face_tracking.compiler.graph import (
    IMAGE,
    NONE,
    RELU,
    Add,
    Convolution,
    Layer,
    MaxPool,
    Network,
    Output,
    Upsample,
)
from face_tracking.errors import UserError

INT16 = 32767
ONE = 1 << 15
"""The number that represents 1 in a 16-bit factor."""
WEIGHT = 127
"""The largest 8-bit weight."""
PEAK_ROOM = 1.5
"""A map of 16 bits holds values up to this multiple of the largest one in calibration."""
SUM_ROOM = 8.0
"""The 16-bit sum of a depthwise convolution holds this multiple of its largest result."""
STEP_BITS = 4
"""A map of 8 bits is the 16-bit sum of a depthwise convolution shifted right by this."""
LEAST = 1 / 128
"""The range of a channel is at least this fraction of that of the widest channel."""
OTHER_PRECISION = 'choose precision float32 or float16'


@dataclass(frozen=True)
class QuantFormat:
    """How the values of a feature map are represented.

    :ivar dtype: ``uint8``, ``int16`` or ``float32``.
    :ivar scale: float64 (channels,), the value that the number 1 represents.
    """

    dtype: str
    scale: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class QuantDense:
    """A dense convolution: output = (sum of input * weight, plus bias) * gain.

    :ivar weights: int8 (kernel height, kernel width, in, out).
    :ivar bias: int32 (out,).
    :ivar gain: float64 (out,), below 1 unless the result is float32.
    :ivar shift: if the result has 16 bits, the bits by which each sum is shifted right: that is
        the gain.
    """

    weights: np.ndarray = field(repr=False)
    bias: np.ndarray = field(repr=False)
    gain: np.ndarray = field(repr=False)
    shift: int | None = None


@dataclass(frozen=True)
class QuantDepthwise:
    """A depthwise convolution, in 16-bit fractions: a product is (a * b + ONE / 2) // ONE.

    :ivar weights: int16 (kernel height, kernel width, channels).
    :ivar bias: int16 (channels,).
    :ivar scale: float64 (channels,), the value that 1 in the sum represents.
    """

    weights: np.ndarray = field(repr=False)
    bias: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Sum:
    """An addition: the factor of each source, int16 (channels,), ONE for 1."""

    gains: tuple[np.ndarray, ...] = field(repr=False)


@dataclass(frozen=True)
class Ranges:
    """The result of a calibration by feature map; each array is float64 (channels,).

    :ivar peaks: the largest magnitudes, for maps of 16 bits.
    :ivar clips: the values at which maps of 8 bits are clipped.
    :ivar steps: by convolution, int8 (in, out): by how much its weights, with 127 for the
        largest, should differ from the nearest integers.
    """

    peaks: Mapping[str, np.ndarray]
    clips: Mapping[str, np.ndarray]
    steps: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Quantized:
    """A network in integers.

    :ivar network: the network in floating point.
    :ivar stored: the type in which each map is stored.
    :ivar formats: by map and type, for every type in which the map is read.
    :ivar layers: the integers of each layer; layers that are missing here stay in float32.
    :ivar image_zero: the pixel value that represents 0.
    """

    network: Network
    stored: dict[str, str]
    formats: dict[tuple[str, str], QuantFormat]
    layers: dict[str, QuantDense | QuantDepthwise | Sum]
    image_zero: int = 0

    def wanted(self, layer: Layer | None, source: str) -> str:
        """Return the type in which a layer reads a map."""
        return wanted_type(layer, self.stored, self.stored[source])


def float_layers(network: Network) -> set[str]:
    """Return the convolutions that stay in float32: those from which the outputs are read.

    If one of them is depthwise, the pointwise convolution before it stays in float32 as well.
    """
    uses = network.uses()
    found = {
        layer.output
        for layer in network.layers
        if isinstance(layer, Convolution)
        and any(isinstance(user, Output) for user in uses[layer.output])
    }
    before = {
        layer.sources[0] for layer in network.layers if layer.output in found and layer.depthwise
    }
    return found | {
        layer.output
        for layer in network.layers
        if isinstance(layer, Convolution)
        and layer.output in before
        and all(getattr(user, 'output', None) in found for user in uses[layer.output])
    }


def wanted_type(layer: Layer | Output | None, stored: Mapping[str, str], own: str) -> str:
    """Return the type in which a layer reads, given the types in which maps are stored.

    :param own: the type for layers that read every type.
    """
    if isinstance(layer, Output):
        return 'float32'
    if isinstance(layer, Convolution):
        if stored.get(f'{layer.output} in float'):
            return 'float32'
        return 'int16' if layer.depthwise else 'uint8'
    if isinstance(layer, Add):
        return 'int16'
    if isinstance(layer, MaxPool | Upsample):
        return stored[layer.output]
    return own


def map_types(network: Network) -> dict[str, str]:
    """Return the type in which each map is stored: that of its readers, or 16 bits if they differ.

    The result also has an entry ``'NAME in float'`` for each layer that stays in float32.

    :raises UserError: a layer has no integer form.
    """
    types = {f'{name} in float': 'float32' for name in float_layers(network)}
    uses = network.uses()
    for layer in reversed(network.layers):
        _check(layer, network, types)
        wishes = {wanted_type(user, types, '') for user in uses[layer.output]}
        types[layer.output] = wishes.pop() if len(wishes) == 1 else 'int16'
    types[IMAGE] = 'uint8'
    return types


def needed_types(network: Network, stored: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the types in which each map is stored or read, also after pooling."""
    uses, needs = network.uses(), {}
    for layer in reversed(network.layers):
        name = layer.output
        needs[name] = {stored[name], *(wanted_type(user, stored, '') for user in uses[name])}
        for user in uses[name]:
            if isinstance(user, MaxPool | Upsample):
                needs[name] |= needs[user.output]
    return needs


def _check(layer: Layer, network: Network, types) -> None:
    name, channels = layer.output, network.shapes[layer.output].channels
    if not isinstance(layer, Convolution | Add | MaxPool | Upsample):
        raise UserError(
            f'int8 does not support {type(layer).__name__.lower()} ({name})', OTHER_PRECISION
        )
    if f'{name} in float' in types:
        return
    activation = getattr(layer, 'activation', None)
    if activation not in (None, NONE, RELU):
        raise UserError(
            f'int8 supports no activation except ReLU ({name} has {activation.kind} '
            f'{activation.low:g} {activation.high:g})',
            OTHER_PRECISION,
        )
    if IMAGE in layer.sources and (not isinstance(layer, Convolution) or layer.depthwise):
        raise UserError(
            f'int8 needs a dense convolution as the first layer, not {name}', OTHER_PRECISION
        )
    if channels % 4:
        raise UserError(
            f'int8 needs a multiple of 4 channels, {name} has {channels}', OTHER_PRECISION
        )


def scaled_weights(
    layer: Convolution, source: np.ndarray, limit: int = WEIGHT
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of a dense convolution before rounding, and their units.

    :param source: float64 (in,), the scales of its inputs.
    :param limit: the value of the largest weight of each output channel.
    """
    weights = layer.weights.astype(np.float64) * source[:, None]
    bias = np.abs(layer.bias.astype(np.float64))
    unit = np.maximum(np.abs(weights).max((0, 1, 2)) / limit, np.maximum(bias / (1 << 23), 1e-12))
    return weights / unit, unit


def quantize(
    network: Network,
    ranges: Ranges,
    weight_limit: int = WEIGHT,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    scale: float = 1.0,
) -> Quantized:
    """Convert a network to integers.

    :param weight_limit: the largest 8-bit weight; 64 if the products of two neighbors are added
        in 16 bits.
    :param mean: subtracted from each pixel value; the same integer for all channels.
    :param scale: factor applied after the subtraction.
    :raises UserError: a layer has no integer form, or a range is missing.
    """
    return _Quantizer(network, ranges, weight_limit, mean, scale).run()


class _Quantizer:
    """Converts the layers in their order; a map has its formats before it is read."""

    def __init__(self, network, ranges, weight_limit, mean, scale):
        self.network, self.ranges, self.weight_limit = network, ranges, weight_limit
        if len(set(mean)) > 1 or mean[0] != round(mean[0]) or not 0 <= mean[0] <= 255:
            raise UserError(f'int8 cannot subtract {mean} from pixels', OTHER_PRECISION)
        stored = map_types(network)
        self.needs = needed_types(network, stored)
        colors = network.shapes[IMAGE].channels
        self.result = Quantized(network, stored, {}, {}, int(mean[0]))
        self.result.formats[IMAGE, 'uint8'] = QuantFormat('uint8', np.full(colors, float(scale)))
        self.positive = {IMAGE}
        if mean[0]:
            self.positive.discard(IMAGE)

    def run(self) -> Quantized:
        """Convert all layers."""
        for layer in self.network.layers:
            if isinstance(layer, MaxPool | Upsample):
                self._pass_on(layer)
            elif f'{layer.output} in float' in self.result.stored:
                self._float(layer.output)
            elif isinstance(layer, Add):
                self._add(layer)
            elif layer.depthwise:
                self._depthwise(layer)
            else:
                self._dense(layer)
        return self.result

    def _float(self, name: str) -> None:
        ones = np.ones(self.network.shapes[name].channels)
        self.result.formats[name, 'float32'] = QuantFormat('float32', ones)

    def _range(self, kind: str, name: str) -> np.ndarray:
        """Return the ranges of a map, none of them almost 0."""
        found = getattr(self.ranges, kind).get(name)
        if found is None or len(found) != self.network.shapes[name].channels:
            raise UserError(
                f'the calibration does not contain the feature map {name}',
                'calibrate again (face_tracking compile --calibration FOLDER)',
            )
        found = np.asarray(found, np.float64)
        return np.maximum(found, max(LEAST * float(found.max()), 1e-6))

    def _set_formats(
        self,
        name: str,
        positive: bool,
        scale16: np.ndarray | None,
        scale8: np.ndarray | None = None,
    ) -> QuantFormat:
        """Set the formats of a layer's result and return the one in which it is stored.

        :param scale8: its scale in 8 bits, if not that of the calibration.
        """
        stored, formats = self.result.stored[name], self.result.formats
        if positive:
            self.positive.add(name)
        if stored == 'float32':
            self._float(name)
        if stored == 'int16':
            formats[name, 'int16'] = QuantFormat('int16', scale16)
            formats[name, 'float32'] = QuantFormat('float32', np.ones(len(scale16)))
        if 'uint8' in self.needs[name]:
            if not positive:
                raise UserError(
                    f'{name} has negative values, which int8 does not multiply', OTHER_PRECISION
                )
            formats[name, 'uint8'] = QuantFormat(
                'uint8', self._range('clips', name) / 255 if scale8 is None else scale8
            )
        return formats[name, stored]

    def _pass_on(self, layer) -> None:
        """Copy the formats of a layer's source if the layer computes no new values."""
        source, formats = layer.sources[0], self.result.formats
        for dtype in ('uint8', 'int16', 'float32'):
            if (source, dtype) in formats:
                formats[layer.output, dtype] = formats[source, dtype]
        if source in self.positive:
            self.positive.add(layer.output)

    def _dense(self, layer: Convolution) -> None:
        source = self.result.formats[layer.sources[0], 'uint8'].scale
        weights, unit = scaled_weights(layer, source, self.weight_limit)
        bias = layer.bias.astype(np.float64)
        name, positive = layer.output, layer.activation.kind == 'clip'
        scale16 = shift = None
        if self.result.stored[name] == 'int16':
            # One shift for all channels takes one instruction on NEON where gains of their own
            # take two, and finer steps than those of the sum would contain no information.
            possible = 255 * np.abs(weights).sum((0, 1, 2)) + np.abs(bias / unit)
            largest = np.minimum(PEAK_ROOM * self._range('peaks', name) / unit, possible).max()
            shift = math.ceil(math.log2(max(largest / INT16, 1.0)))
            scale16 = unit * 2.0**shift
        result = self._set_formats(name, positive, scale16)
        whole = np.rint(weights)
        steps = self.ranges.steps.get(name)
        if steps is not None and self.weight_limit == WEIGHT:
            whole = np.clip(whole + steps, -WEIGHT, WEIGHT)
        if layer.sources[0] == IMAGE:
            bias = bias - self.result.image_zero * (whole * unit).sum((0, 1, 2))
        self.result.layers[name] = QuantDense(
            whole.astype(np.int8),
            np.rint(bias / unit).astype(np.int32),
            np.minimum(unit / result.scale, 1 - 1e-9) if result.dtype != 'float32' else unit,
            shift,
        )

    def _depthwise(self, layer: Convolution) -> None:
        source = self.result.formats[layer.sources[0], 'int16'].scale
        weights, bias = layer.weights.astype(np.float64), layer.bias.astype(np.float64)
        name = layer.output
        # Finer than these, neither the weights nor the bias would fit into 16 bits.
        finest = np.maximum(np.abs(bias), np.abs(weights).max((0, 1)) * source * ONE) / INT16
        wanted = self._sum_scale(name, weights, bias, source)
        unit = np.maximum.reduce([wanted, finest, np.full(len(bias), 1e-12)])
        scale8 = unit * (1 << STEP_BITS) if self.result.stored[name] == 'uint8' else None
        self._set_formats(name, layer.activation.kind == 'clip', unit, scale8)
        self.result.layers[name] = QuantDepthwise(
            _fraction(weights * source / unit), np.rint(bias / unit).astype(np.int16), unit
        )

    def _sum_scale(self, name: str, weights, bias, source) -> np.ndarray:
        """Return the value that 1 in the sum of a depthwise convolution should represent."""
        stored = self.result.stored[name]
        if stored == 'uint8':
            return self._range('clips', name) / (255 << STEP_BITS)
        worst = (np.abs(bias) + np.abs(weights).sum((0, 1)) * source * INT16) / INT16
        if stored == 'float32':
            return worst
        return np.minimum(worst, SUM_ROOM * self._range('peaks', name) / INT16)

    def _add(self, layer: Add) -> None:
        operands = [self.result.formats[source, 'int16'] for source in layer.sources]
        positive = layer.activation.kind == 'clip' or all(
            source in self.positive for source in layer.sources
        )
        scale16 = None
        if self.result.stored[layer.output] == 'int16':
            scale16 = np.maximum.reduce(
                [
                    PEAK_ROOM * self._range('peaks', layer.output) / INT16,
                    *(operand.scale * (ONE / INT16) for operand in operands),
                ]
            )
        result = self._set_formats(layer.output, positive, scale16)
        self.result.layers[layer.output] = Sum(
            tuple(_fraction(source.scale / result.scale) for source in operands)
        )


def _fraction(values: np.ndarray) -> np.ndarray:
    """Return numbers from -1 to 1 as 16-bit fractions."""
    return np.clip(np.rint(values * ONE), -INT16, INT16).astype(np.int16)


def conversion_gain(source: QuantFormat, target: QuantFormat) -> np.ndarray:
    """Return the int16 factors that convert a map of 16 bits to one of 8 bits."""
    return _fraction(source.scale / target.scale)
