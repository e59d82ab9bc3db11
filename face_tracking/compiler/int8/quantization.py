# SPDX-License-Identifier: Apache-2.0
"""From a network and the ranges of its feature maps to a network in integers.

Dense convolutions multiply 8-bit numbers and sum the products in 32 bits, as the dot product
instructions of the processors do. Depthwise convolutions and additions, for which no such
instruction exists, compute with 16 bits; the values between a dense convolution and one of them
are never rounded to 8 bits. On processors that compute with vectors of float16 these maps hold
float16 in place of 16-bit integers. The last convolutions, from which the outputs are read, stay
in float32, on such processors in float16.

Every channel of every map has its own scale: a number ``q`` represents ``q * scale``. That costs
nothing, because the scales of a layer's inputs become part of its weights (Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, where they are
shared between layers instead). Weights of dense convolutions are symmetric, with a scale for
each output channel (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018).

A PReLU (He et al., "Delving Deep into Rectifiers", ICCV 2015) multiplies a negative sum by the
slope of its channel: behind a dense convolution by another gain, behind a depthwise one in 16
bits. Its negative results are kept in 8 bits by a zero point for each channel, whose part in the
next sums is subtracted from their bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from face_tracking.arrays import Array, FloatArray, IntArray
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
HALF_ONE = 1 << 15
"""A map of float16 holds the 16-bit sums of a dense convolution divided by this."""
HALF_STEP = 2.0**-6
"""A map of 8 bits is computed in float16 in units of this."""
HALF_BASE = 4.0
"""Added to numbers of float16 that become 8 bits: from 4 to 8 the distance of two numbers of
float16 is a quarter of `HALF_STEP`, so their bits are those of an integer that counts quarters."""
HALF_CENTER = HALF_BASE - HALF_STEP / 8
"""The number that represents 0. Quarters are rounded up at two of four, which is an eighth of a
step too early on average."""
MAX_HALF = 6e4
"""The magnitude that sums in float16 do not exceed."""
STEEPEST = 2.0
"""Slopes of a PReLU are smaller than this."""
LEAST = 1 / 128
"""The range of a channel is at least this fraction of that of the widest channel."""
OTHER_PRECISION = 'choose precision float32 or float16'


@dataclass(frozen=True)
class QuantFormat:
    """How the values of a feature map are represented.

    :ivar dtype: ``uint8``, ``int16``, ``float16`` or ``float32``.
    :ivar scale: float64 (channels,), the value that 1 represents.
    :ivar zero: float64 (channels,), the numbers that represent 0, of a map of 8 bits with
        negative values; None if 0 does.
    """

    dtype: str
    scale: FloatArray = field(repr=False)
    zero: FloatArray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class QuantDense:
    """A dense convolution: output = (sum of input * weight, plus bias) * gain.

    :ivar weights: int8 (kernel height, kernel width, in, out).
    :ivar bias: int32 (out,).
    :ivar gain: float64 (out,), below 1 unless the result is float32.
    :ivar shift: if the result has 16 bits and no PReLU, or is float16, the bits by which each sum
        is shifted right: that is the gain. For float16 the result is divided by `HALF_ONE`.
    :ivar negative_gain: float64 (out,), the gain of negative sums, of a PReLU.
    """

    weights: IntArray = field(repr=False)
    bias: IntArray = field(repr=False)
    gain: FloatArray = field(repr=False)
    shift: int | None = None
    negative_gain: FloatArray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class QuantDepthwise:
    """A depthwise convolution, in 16-bit fractions: a product is (a * b + ONE / 2) // ONE.

    :ivar weights: int16 (kernel height, kernel width, channels).
    :ivar bias: int16 (channels,).
    :ivar scale: float64 (channels,), the value that 1 in the sum represents.
    :ivar half_slopes: int16 (channels,), half the slopes of a PReLU; their product with a negative
        sum is added twice, because a slope may be 1.
    :ivar zero: int16 (channels,), added to the results before they become numbers of 8 bits.
    """

    weights: IntArray = field(repr=False)
    bias: IntArray = field(repr=False)
    scale: FloatArray = field(repr=False)
    half_slopes: IntArray | None = field(default=None, repr=False)
    zero: IntArray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class HalfDepthwise:
    """A depthwise convolution in float16.

    :ivar weights: float16 (kernel height, kernel width, channels).
    :ivar bias: float16 (channels,), added to the sum of the products. If the result has 8 bits and
        no PReLU, it contains what represents 0, see `HALF_CENTER`.
    :ivar slopes: float16 (channels,), the slopes of a PReLU.
    :ivar center: float16 (channels,), what represents 0, of a result of 8 bits with a PReLU.
    """

    weights: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)
    slopes: FloatArray | None = field(default=None, repr=False)
    center: FloatArray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class HalfDense:
    """A dense convolution in floating point that reads a map of float16.

    :ivar weights: float64 (kernel height, kernel width, in, out), times the scales of the inputs.
    """

    weights: FloatArray = field(repr=False)


@dataclass(frozen=True)
class Sum:
    """An addition: the factor of each source, (channels,): int16, ONE for 1, or float16."""

    gains: tuple[Array, ...] = field(repr=False)


@dataclass(frozen=True)
class Ranges:
    """The result of a calibration by feature map; each array is float64 (channels,).

    :ivar peaks: the largest magnitudes, for maps of 16 bits.
    :ivar clips: the values at which maps of 8 bits are clipped.
    :ivar lows: the magnitudes at which their negative values are clipped, of maps that have some.
    :ivar steps: by convolution, int8 (in, out): by how much its weights, with 127 for the
        largest, should differ from the nearest integers.
    """

    peaks: Mapping[str, FloatArray]
    clips: Mapping[str, FloatArray]
    steps: Mapping[str, IntArray] = field(default_factory=dict)
    lows: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass
class Quantized:
    """A network in integers.

    :ivar network: the network in floating point.
    :ivar stored: the type in which each map is stored.
    :ivar formats: by map and type, for every type in which the map is read.
    :ivar layers: the integers of each layer; layers that are missing here stay in float32.
    :ivar image_zero: the pixel value outside the image, the nearest to the one that is 0.
    :ivar middle: the type of maps of 16 bits, ``int16`` or ``float16``.
    """

    network: Network
    stored: dict[str, str]
    formats: dict[tuple[str, str], QuantFormat]
    layers: dict[str, QuantDense | QuantDepthwise | HalfDepthwise | HalfDense | Sum]
    image_zero: int = 0
    middle: str = 'int16'

    def wanted(self, layer: Layer | None, source: str) -> str:
        """Return the type in which a layer reads a map."""
        return wanted_type(layer, self.stored, self.stored[source], self.middle)


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
        layer.sources[0]
        for layer in network.layers
        if isinstance(layer, Convolution) and layer.output in found and layer.depthwise
    }
    return found | {
        layer.output
        for layer in network.layers
        if isinstance(layer, Convolution)
        and layer.output in before
        and all(getattr(user, 'output', None) in found for user in uses[layer.output])
    }


def wanted_type(
    layer: Layer | Output | None, stored: Mapping[str, str], own: str, middle: str
) -> str:
    """Return the type in which a layer reads, given the types in which maps are stored.

    :param own: the type for layers that read every type.
    :param middle: the type of maps of 16 bits.
    """
    if isinstance(layer, Output):
        return 'float32'
    if isinstance(layer, Convolution):
        if stored.get(f'{layer.output} in float'):
            # The scales of a map of float16 become part of the weights.
            first = not layer.depthwise and not stored.get(f'{layer.sources[0]} in float')
            return middle if first and middle == 'float16' else 'float32'
        return middle if layer.depthwise else 'uint8'
    if isinstance(layer, Add):
        return middle
    if isinstance(layer, MaxPool | Upsample):
        return stored[layer.output]
    return own


def map_types(network: Network, middle: str = 'int16') -> dict[str, str]:
    """Return the type in which each map is stored: that of its readers, or 16 bits if they differ.

    The result also has an entry ``'NAME in float'`` for each layer that stays in float32.

    :param middle: the type of maps of 16 bits.
    :raises UserError: a layer has no integer form.
    """
    types = {f'{name} in float': 'float32' for name in float_layers(network)}
    uses = network.uses()
    for layer in reversed(network.layers):
        _check(layer, network, types)
        wishes = {wanted_type(user, types, '', middle) for user in uses[layer.output]}
        types[layer.output] = wishes.pop() if len(wishes) == 1 else middle
    types[IMAGE] = 'uint8'
    return types


def needed_types(
    network: Network, stored: Mapping[str, str], middle: str = 'int16'
) -> dict[str, set[str]]:
    """Return the types in which each map is stored or read, also after pooling."""
    uses = network.uses()
    needs: dict[str, set[str]] = {}
    for layer in reversed(network.layers):
        name = layer.output
        needs[name] = {
            stored[name],
            *(wanted_type(user, stored, '', middle) for user in uses[name]),
        }
        for user in uses[name]:
            if isinstance(user, MaxPool | Upsample):
                needs[name] |= needs[user.output]
    return needs


def _check(layer: Layer, network: Network, types: Mapping[str, str]) -> None:
    name, channels = layer.output, network.shapes[layer.output].channels
    if not isinstance(layer, Convolution | Add | MaxPool | Upsample):
        raise UserError(
            f'int8 does not support {type(layer).__name__.lower()} ({name})', OTHER_PRECISION
        )
    if f'{name} in float' in types:
        return
    activation = layer.activation if isinstance(layer, Convolution | Add) else NONE
    sloped = activation.kind == 'prelu'
    if activation not in (NONE, RELU) and not (sloped and isinstance(layer, Convolution)):
        raise UserError(
            f'int8 supports no activation except ReLU and PReLU ({name} has {activation.kind} '
            f'{activation.low:g} {activation.high:g})',
            OTHER_PRECISION,
        )
    if sloped and np.abs(activation.slopes).max() >= STEEPEST:
        raise UserError(
            f'int8 supports slopes of PReLU below {STEEPEST:g} ({name} has '
            f'{np.abs(activation.slopes).max():g})',
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
    layer: Convolution, source: FloatArray, limit: int = WEIGHT
) -> tuple[FloatArray, FloatArray]:
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
    half: bool = False,
) -> Quantized:
    """Convert a network to integers.

    :param weight_limit: the largest 8-bit weight; 64 if the products of two neighbors are added
        in 16 bits.
    :param mean: subtracted from each pixel value; the same for all channels.
    :param scale: factor applied after the subtraction.
    :param half: maps of 16 bits, depthwise convolutions and additions are in float16; those of 8
        bits are as without.
    :raises UserError: a layer has no integer form, or a range is missing.
    """
    return _Quantizer(network, ranges, weight_limit, mean, scale, half).run()


class _Quantizer:
    """Converts the layers in their order; a map has its formats before it is read."""

    def __init__(
        self,
        network: Network,
        ranges: Ranges,
        weight_limit: int,
        mean: tuple[float, ...],
        scale: float,
        half: bool,
    ):
        self.network, self.ranges, self.weight_limit = network, ranges, weight_limit
        if len(set(mean)) > 1 or not 0 <= mean[0] <= 255:
            raise UserError(f'int8 cannot subtract {mean} from pixels', OTHER_PRECISION)
        self.middle = 'float16' if half else 'int16'
        # The calibration rounded the weights for these scales.
        self.bytes = quantize(network, ranges, weight_limit, mean, scale).formats if half else {}
        stored = map_types(network, self.middle)
        self.needs = needed_types(network, stored, self.middle)
        colors = network.shapes[IMAGE].channels
        self.result = Quantized(network, stored, {}, {}, round(mean[0]), self.middle)
        self.result.formats[IMAGE, 'uint8'] = QuantFormat(
            'uint8', np.full(colors, float(scale)), np.full(colors, mean[0]) if mean[0] else None
        )
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
                self._half_dense(layer)
            elif isinstance(layer, Add):
                self._add(layer)
            elif isinstance(layer, Convolution) and layer.depthwise and self.middle == 'float16':
                self._half_depthwise(layer)
            elif isinstance(layer, Convolution) and layer.depthwise:
                self._depthwise(layer)
            elif isinstance(layer, Convolution):
                self._dense(layer)
        return self.result

    def _float(self, name: str) -> None:
        ones = np.ones(self.network.shapes[name].channels)
        self.result.formats[name, 'float32'] = QuantFormat('float32', ones)

    def _half_dense(self, layer: Layer) -> None:
        """Multiply the weights of a layer in floating point by the scales of the map it reads."""
        source = layer.sources[0]
        if isinstance(layer, Convolution) and self.result.wanted(layer, source) == 'float16':
            scale = self.result.formats[source, 'float16'].scale
            weights = layer.weights.astype(np.float64) * scale[:, None]
            self.result.layers[layer.output] = HalfDense(weights)

    def _range(self, kind: str, name: str) -> FloatArray:
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
        scale16: FloatArray | None,
        scale8: FloatArray | None = None,
        zero8: FloatArray | None = None,
    ) -> QuantFormat:
        """Set the formats of a layer's result and return the one in which it is stored.

        :param scale8: its scale in 8 bits, if not that of the calibration.
        :param zero8: the numbers of 8 bits that represent 0, if not 0.
        """
        stored, formats = self.result.stored[name], self.result.formats
        if positive:
            self.positive.add(name)
        if stored == 'float32':
            self._float(name)
        if stored == self.middle and scale16 is not None:
            formats[name, stored] = QuantFormat(stored, scale16)
            formats[name, 'float32'] = QuantFormat('float32', np.ones(len(scale16)))
        if 'uint8' in self.needs[name]:
            if self.bytes:
                formats[name, 'uint8'] = self.bytes[name, 'uint8']
                return formats[name, stored]
            if not positive and zero8 is None:
                raise UserError(
                    f'{name} has negative values, which int8 does not multiply', OTHER_PRECISION
                )
            formats[name, 'uint8'] = QuantFormat(
                'uint8', self._range('clips', name) / 255 if scale8 is None else scale8, zero8
            )
        return formats[name, stored]

    def _pass_on(self, layer: Layer) -> None:
        """Copy the formats of a layer's source if the layer computes no new values."""
        source, formats = layer.sources[0], self.result.formats
        for dtype in ('uint8', self.middle, 'float32'):
            if (source, dtype) in formats:
                formats[layer.output, dtype] = formats[source, dtype]
        if source in self.positive:
            self.positive.add(layer.output)

    def _dense(self, layer: Convolution) -> None:
        source = self.result.formats[layer.sources[0], 'uint8']
        weights, unit = scaled_weights(layer, source.scale, self.weight_limit)
        bias = layer.bias.astype(np.float64)
        name, positive = layer.output, layer.activation.kind == 'clip'
        slopes: FloatArray | None = None
        if layer.activation.slopes:
            slopes = np.array(layer.activation.slopes)
        scale16 = shift = None
        half = self.middle == 'float16'
        if self.result.stored[name] == self.middle and (half or slopes is None):
            # One shift for all channels takes one instruction on NEON where gains of their own
            # take two, and finer steps than those of the sum would contain no information.
            possible = 255 * np.abs(weights).sum((0, 1, 2)) + np.abs(bias / unit)
            largest = np.minimum(PEAK_ROOM * self._range('peaks', name) / unit, possible).max()
            shift = math.ceil(math.log2(max(largest / INT16, 1.0)))
            scale16 = unit * 2.0**shift * (HALF_ONE if half else 1)
        elif self.result.stored[name] == self.middle and slopes is not None:
            steepest = np.maximum(np.abs(slopes), 1)
            scale16 = np.maximum(
                PEAK_ROOM * self._range('peaks', name) / INT16, unit * steepest * 1.001
            )
        result = self._set_formats(name, positive, scale16)
        whole = np.rint(weights)
        steps = self.ranges.steps.get(name)
        if steps is not None and self.weight_limit == WEIGHT:
            whole = np.clip(whole + steps, -WEIGHT, WEIGHT)
        if source.zero is not None:
            bias = bias - unit * (whole.sum((0, 1)) * source.zero[:, None]).sum(0)
        gain = np.minimum(unit / result.scale, 1 - 1e-9) if result.dtype != 'float32' else unit
        self.result.layers[name] = QuantDense(
            whole.astype(np.int8),
            np.rint(bias / unit).astype(np.int32),
            gain,
            shift,
            None if slopes is None else gain * slopes,
        )

    def _depthwise(self, layer: Convolution) -> None:
        source = self.result.formats[layer.sources[0], 'int16'].scale
        weights, bias = layer.weights.astype(np.float64), layer.bias.astype(np.float64)
        name = layer.output
        # Finer than these, neither the weights nor the bias would fit into 16 bits.
        finest = np.maximum(np.abs(bias), np.abs(weights).max((0, 1)) * source * ONE) / INT16
        wanted = self._sum_scale(name, weights, bias, source)
        unit = np.maximum.reduce([wanted, finest, np.full(len(bias), 1e-12)])
        scale8 = zero8 = None
        positive = layer.activation.kind == 'clip'
        if self.result.stored[name] == 'uint8':
            scale8 = unit * (1 << STEP_BITS)
            zero8 = None if positive else self._zero(name, scale8)
        self._set_formats(name, positive, unit, scale8, zero8)
        slopes = layer.activation.slopes
        self.result.layers[name] = QuantDepthwise(
            _fraction(weights * source / unit),
            np.rint(bias / unit).astype(np.int16),
            unit,
            _fraction(np.array(slopes) / 2) if slopes else None,
            None if zero8 is None else (zero8 * (1 << STEP_BITS)).astype(np.int16),
        )

    def _half_depthwise(self, layer: Convolution) -> None:
        source = self.result.formats[layer.sources[0], self.middle].scale
        weights, bias = layer.weights.astype(np.float64) * source, layer.bias.astype(np.float64)
        name, stored = layer.output, self.result.stored[layer.output]
        slopes: FloatArray | None = None
        center: FloatArray | None = None
        unit = np.ones(len(bias))
        if stored == self.middle:
            worst = np.abs(bias) + 2 * np.abs(weights).sum((0, 1))  # sums without a sign go to 2
            unit = np.maximum(self._range('peaks', name), worst / MAX_HALF)
        self._set_formats(name, layer.activation.kind == 'clip', unit)
        if stored == 'uint8':
            result = self.result.formats[name, stored]
            unit = result.scale / HALF_STEP
            center = HALF_CENTER + HALF_STEP * (0 * unit if result.zero is None else result.zero)
        bias = bias / unit
        if layer.activation.slopes:
            slopes = np.array(layer.activation.slopes, np.float16)
        elif center is not None:
            bias, center = bias + center, None
        self.result.layers[name] = HalfDepthwise(
            (weights / unit).astype(np.float16),
            bias.astype(np.float16),
            slopes,
            None if center is None else center.astype(np.float16),
        )

    def _lows(self, name: str) -> FloatArray:
        """Return the magnitudes at which the negative values of a map are clipped."""
        found = self.ranges.lows.get(name)
        return np.zeros(self.network.shapes[name].channels) if found is None else found

    def _zero(self, name: str, scale: FloatArray) -> FloatArray:
        """Return the numbers of 8 bits that represent 0 in a map with negative values.

        :raises UserError: a layer reads the map beyond its border, where all channels are alike.
        """
        for user in self.network.uses()[name]:
            if isinstance(user, Convolution) and any(user.window.padding):
                raise UserError(
                    f'{name} has negative values, which int8 cannot pad for {user.output}',
                    OTHER_PRECISION,
                )
        return np.clip(np.rint(self._lows(name) / scale), 0, 255)

    def _sum_scale(
        self, name: str, weights: FloatArray, bias: FloatArray, source: FloatArray
    ) -> FloatArray:
        """Return the value that 1 in the sum of a depthwise convolution should represent."""
        stored = self.result.stored[name]
        if stored == 'uint8':
            return (self._range('clips', name) + self._lows(name)) / (255 << STEP_BITS)
        worst = (np.abs(bias) + np.abs(weights).sum((0, 1)) * source * INT16) / INT16
        if stored == 'float32':
            return worst
        return np.minimum(worst, SUM_ROOM * self._range('peaks', name) / INT16)

    def _add(self, layer: Add) -> None:
        operands = [self.result.formats[source, self.middle] for source in layer.sources]
        positive = layer.activation.kind == 'clip' or all(
            source in self.positive for source in layer.sources
        )
        scale16 = None
        if self.middle == 'float16':
            scale16 = self._range('peaks', layer.output)
        elif self.result.stored[layer.output] == 'int16':
            scale16 = np.maximum.reduce(
                [
                    PEAK_ROOM * self._range('peaks', layer.output) / INT16,
                    *(operand.scale * (ONE / INT16) for operand in operands),
                ]
            )
        result = self._set_formats(layer.output, positive, scale16)
        self.result.layers[layer.output] = Sum(
            tuple(conversion_gain(source, result) for source in operands)
        )


def _fraction(values: FloatArray) -> IntArray:
    """Return numbers from -1 to 1 as 16-bit fractions."""
    return np.clip(np.rint(values * ONE), -INT16, INT16).astype(np.int16)


def conversion_gain(source: QuantFormat, target: QuantFormat) -> Array:
    """Return the factors that convert a map of 16 bits to another type; int16 or float16."""
    if source.dtype == 'float16':
        step = HALF_STEP if target.dtype == 'uint8' else 1.0
        return (source.scale / target.scale * step).astype(np.float16)
    return _fraction(source.scale / target.scale)
