# SPDX-License-Identifier: Apache-2.0
"""From a network and the ranges of its feature maps to whole numbers.

Dense convolutions multiply 8-bit numbers into 32-bit sums, which is what the processors' dot
product instructions do. Depthwise convolutions and additions, for which no such instruction
exists, compute with 16 bits; what goes from a dense convolution to one of them is never rounded
to 8 bits. The last convolutions, those that the outputs are read from, stay in float32.

Every channel of every map has a scale of its own: a number ``q`` stands for ``q * scale``. It
costs nothing, because the scales of a layer's inputs go into its weights (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019, where they are shared
between layers instead). Weights of dense convolutions are symmetric, with a scale for each output
channel (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018).
"""

from __future__ import annotations

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
"""What stands for 1 in a 16-bit factor."""
WEIGHT = 127
"""The largest 8-bit weight."""
PEAK_ROOM = 1.5
"""So much more than was seen in calibration still fits into a map of 16 bits."""
SUM_ROOM = 8.0
"""So many times the largest result fits into the 16-bit sum of a depthwise convolution."""
STEP_BITS = 4
"""A map of 8 bits is the 16-bit sum of a depthwise convolution without so many bits."""
LEAST = 1 / 128
"""A channel's range is taken as at least this fraction of the widest channel's."""
OTHER_PRECISION = 'choose precision float32 or float16'


@dataclass(frozen=True)
class QuantFormat:
    """How a feature map's numbers are kept.

    :ivar dtype: ``uint8``, ``int16`` or ``float32``.
    :ivar scale: float64 (channels,), what a difference of 1 stands for.
    """

    dtype: str
    scale: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class QuantDense:
    """A dense convolution: number out = (sum of number in * weight, plus bias) * gain.

    :ivar weights: int8 (kernel height, kernel width, in, out).
    :ivar bias: int32 (out,).
    :ivar gain: float64 (out,), below 1 unless the result is float32.
    """

    weights: np.ndarray = field(repr=False)
    bias: np.ndarray = field(repr=False)
    gain: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class QuantDepthwise:
    """A depthwise convolution, in 16-bit fractions: a product is (a * b + ONE / 2) // ONE.

    :ivar weights: int16 (kernel height, kernel width, channels).
    :ivar bias: int16 (channels,).
    :ivar scale: float64 (channels,), what 1 in the sum stands for.
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
    """What calibration found of a network's maps, by name; each array is float64 (channels,).

    :ivar peaks: the largest magnitudes, of maps that are kept in 16 bits.
    :ivar clips: beyond which numbers are cut off, of maps that are kept in 8 bits.
    :ivar steps: by convolution, int8 (in, out): by how much its weights, with 127 for the
        largest, had better differ from the nearest whole numbers.
    """

    peaks: Mapping[str, np.ndarray]
    clips: Mapping[str, np.ndarray]
    steps: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Quantized:
    """A network in whole numbers.

    :ivar network: with its layers in float.
    :ivar stored: the type in which each map is kept.
    :ivar forms: by map and type, of every type in which it is read.
    :ivar layers: what each layer computes with; layers missing here stay in float32.
    :ivar image_zero: the pixel value that stands for 0.
    """

    network: Network
    stored: dict[str, str]
    forms: dict[tuple[str, str], QuantFormat]
    layers: dict[str, QuantDense | QuantDepthwise | Sum]
    image_zero: int = 0

    def wanted(self, layer: Layer | None, source: str) -> str:
        """Return the type in which a layer reads a map."""
        return wanted_type(layer, self.stored, self.stored[source])


def float_layers(network: Network) -> set[str]:
    """Return the convolutions that stay in float32: those that the outputs are read from.

    Where such a one is depthwise, the pointwise one before it does too.
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
    """Return the type in which a layer reads, given those in which maps are stored.

    :param own: what a layer gets that takes everything as it is.
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
    """Return the type in which each map is stored: what its readers want, else 16 bits.

    Beside them it says ``'NAME in float'`` of each layer that stays in float32.

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
    """Return the types in which each map is kept or read, here or behind pooling."""
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
        raise UserError(f'int8 knows no {type(layer).__name__.lower()} ({name})', OTHER_PRECISION)
    if f'{name} in float' in types:
        return
    activation = getattr(layer, 'activation', None)
    if activation not in (None, NONE, RELU):
        raise UserError(
            f'int8 knows no activation but ReLU ({name} has {activation.kind} '
            f'{activation.low:g} {activation.high:g})',
            OTHER_PRECISION,
        )
    if IMAGE in layer.sources and (not isinstance(layer, Convolution) or layer.depthwise):
        raise UserError(f'int8 begins with a dense convolution, not with {name}', OTHER_PRECISION)
    if channels % 4:
        raise UserError(f'int8 takes channels by fours, {name} has {channels}', OTHER_PRECISION)


def scaled_weights(
    layer: Convolution, source: np.ndarray, limit: int = WEIGHT
) -> tuple[np.ndarray, np.ndarray]:
    """Return a dense convolution's weights in units that are still to be rounded, and the units.

    :param source: float64 (in,), the scales of the numbers that it reads.
    :param limit: what the largest weight of each output channel becomes.
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
    """Turn a network into whole numbers.

    :param weight_limit: the largest 8-bit weight; 64 where products of two neighbors are added
        in 16 bits.
    :param mean: subtracted from each pixel value; the same whole number for all colors.
    :param scale: then multiplied.
    :raises UserError: a layer has no integer form, or a range is missing.
    """
    return _Quantizer(network, ranges, weight_limit, mean, scale).run()


class _Quantizer:
    """Goes through the layers in their order; each one's result has a form before it is read."""

    def __init__(self, network, ranges, weight_limit, mean, scale):
        self.network, self.ranges, self.weight_limit = network, ranges, weight_limit
        if len(set(mean)) > 1 or mean[0] != round(mean[0]) or not 0 <= mean[0] <= 255:
            raise UserError(f'int8 cannot subtract {mean} from pixels', OTHER_PRECISION)
        stored = map_types(network)
        self.needs = needed_types(network, stored)
        colors = network.shapes[IMAGE].channels
        self.result = Quantized(network, stored, {}, {}, int(mean[0]))
        self.result.forms[IMAGE, 'uint8'] = QuantFormat('uint8', np.full(colors, float(scale)))
        self.positive = {IMAGE}
        if mean[0]:
            self.positive.discard(IMAGE)

    def run(self) -> Quantized:
        for layer in self.network.layers:
            if isinstance(layer, MaxPool | Upsample):
                self._pass_on(layer)
            elif f'{layer.output} in float' in self.result.stored:
                self._float(layer.output)
            elif isinstance(layer, Add):
                self._add(layer)
            elif layer.depthwise:
                self._taps(layer)
            else:
                self._dot(layer)
        return self.result

    def _float(self, name: str) -> None:
        ones = np.ones(self.network.shapes[name].channels)
        self.result.forms[name, 'float32'] = QuantFormat('float32', ones)

    def _range(self, kind: str, name: str) -> np.ndarray:
        """Return a map's ranges, none of them next to nothing."""
        found = getattr(self.ranges, kind).get(name)
        if found is None or len(found) != self.network.shapes[name].channels:
            raise UserError(
                f'the calibration says nothing of the feature map {name}',
                'calibrate again (face_tracking compile --calibration FOLDER)',
            )
        found = np.asarray(found, np.float64)
        return np.maximum(found, max(LEAST * float(found.max()), 1e-6))

    def _give(
        self,
        name: str,
        positive: bool,
        scale16: np.ndarray | None,
        scale8: np.ndarray | None = None,
    ) -> QuantFormat:
        """Give a layer's result its forms and return the one that it is stored in.

        :param scale8: of its 8 bits, if not what calibration says.
        """
        stored, forms = self.result.stored[name], self.result.forms
        if positive:
            self.positive.add(name)
        if stored == 'float32':
            self._float(name)
        if stored == 'int16':
            forms[name, 'int16'] = QuantFormat('int16', scale16)
            forms[name, 'float32'] = QuantFormat('float32', np.ones(len(scale16)))
        if 'uint8' in self.needs[name]:
            if not positive:
                raise UserError(
                    f'{name} has numbers below zero, which int8 does not multiply', OTHER_PRECISION
                )
            forms[name, 'uint8'] = QuantFormat(
                'uint8', self._range('clips', name) / 255 if scale8 is None else scale8
            )
        return forms[name, stored]

    def _pass_on(self, layer) -> None:
        """Let a layer that makes no new numbers hand on its source's scales."""
        source, forms = layer.sources[0], self.result.forms
        for dtype in ('uint8', 'int16', 'float32'):
            if (source, dtype) in forms:
                forms[layer.output, dtype] = forms[source, dtype]
        if source in self.positive:
            self.positive.add(layer.output)

    def _dot(self, layer: Convolution) -> None:
        source = self.result.forms[layer.sources[0], 'uint8'].scale
        weights, unit = scaled_weights(layer, source, self.weight_limit)
        bias = layer.bias.astype(np.float64)
        name, positive = layer.output, layer.activation.kind == 'clip'
        scale16 = None
        if self.result.stored[name] == 'int16':
            # Steps finer than those of the sum would say nothing.
            scale16 = np.maximum(PEAK_ROOM * self._range('peaks', name) / INT16, unit * 1.001)
        form = self._give(name, positive, scale16)
        whole = np.rint(weights)
        steps = self.ranges.steps.get(name)
        if steps is not None and self.weight_limit == WEIGHT:
            whole = np.clip(whole + steps, -WEIGHT, WEIGHT)
        if layer.sources[0] == IMAGE:
            bias = bias - self.result.image_zero * (whole * unit).sum((0, 1, 2))
        self.result.layers[name] = QuantDense(
            whole.astype(np.int8),
            np.rint(bias / unit).astype(np.int32),
            np.minimum(unit / form.scale, 1 - 1e-9) if form.dtype != 'float32' else unit,
        )

    def _taps(self, layer: Convolution) -> None:
        source = self.result.forms[layer.sources[0], 'int16'].scale
        weights, bias = layer.weights.astype(np.float64), layer.bias.astype(np.float64)
        name = layer.output
        # Finer than these, neither the weights nor the bias would fit into 16 bits.
        finest = np.maximum(np.abs(bias), np.abs(weights).max((0, 1)) * source * ONE) / INT16
        wanted = self._sum_scale(name, weights, bias, source)
        unit = np.maximum.reduce([wanted, finest, np.full(len(bias), 1e-12)])
        scale8 = unit * (1 << STEP_BITS) if self.result.stored[name] == 'uint8' else None
        self._give(name, layer.activation.kind == 'clip', unit, scale8)
        self.result.layers[name] = QuantDepthwise(
            _fraction(weights * source / unit), np.rint(bias / unit).astype(np.int16), unit
        )

    def _sum_scale(self, name: str, weights, bias, source) -> np.ndarray:
        """Return what 1 in the sum of a depthwise convolution should stand for."""
        stored = self.result.stored[name]
        if stored == 'uint8':
            return self._range('clips', name) / (255 << STEP_BITS)
        worst = (np.abs(bias) + np.abs(weights).sum((0, 1)) * source * INT16) / INT16
        if stored == 'float32':
            return worst
        return np.minimum(worst, SUM_ROOM * self._range('peaks', name) / INT16)

    def _add(self, layer: Add) -> None:
        forms = [self.result.forms[source, 'int16'] for source in layer.sources]
        positive = layer.activation.kind == 'clip' or all(
            source in self.positive for source in layer.sources
        )
        scale16 = None
        if self.result.stored[layer.output] == 'int16':
            scale16 = np.maximum.reduce(
                [
                    PEAK_ROOM * self._range('peaks', layer.output) / INT16,
                    *(form.scale * (ONE / INT16) for form in forms),
                ]
            )
        form = self._give(layer.output, positive, scale16)
        self.result.layers[layer.output] = Sum(
            tuple(_fraction(source.scale / form.scale) for source in forms)
        )


def _fraction(values: np.ndarray) -> np.ndarray:
    """Return numbers from -1 to 1 as 16-bit fractions."""
    return np.clip(np.rint(values * ONE), -INT16, INT16).astype(np.int16)


def conversion_gain(source: QuantFormat, target: QuantFormat) -> np.ndarray:
    """Return the int16 factors by which a 16-bit map becomes one of 8 bits."""
    return _fraction(source.scale / target.scale)
