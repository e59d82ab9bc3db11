# SPDX-License-Identifier: Apache-2.0
"""From a network in floating point to one in 8-bit integers, after training, without training.

Integers q stand for real numbers (q - zero point) scale: one scale for a feature map, one for
each output channel of a kernel (Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", 2018). Two things make eight bits go further:

- ReLU lets a channel be scaled by any positive number if the next kernel takes it back, so that
  all channels of a map use its whole range (Nagel et al., "Data-Free Quantization Through Weight
  Equalization and Bias Correction", 2019).
- A detector's last convolution puts logits, offsets and log sizes side by side. Each of its
  channels is moved and scaled to -1 .. 1, and `Output` says how it is turned back in float.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from face_tracking.compiler.network import (
    IMAGE,
    RELU,
    Convolution,
    Layer,
    MaxPool,
    Network,
    Output,
    Upsample,
)
from face_tracking.tflite.ranges import Range

LARGEST = 127
LARGEST_BIAS = 2 ** 30
LEAST_SHARE = 1e-3
"""A channel that reaches less than this share of the map's range counts as reaching this."""


class Grid(NamedTuple):
    """Real numbers of which int8 q stands for ``(q - zero_point) * scale``."""

    scale: float
    zero_point: int


class Affine(NamedTuple):
    """``value * gain + offset``, float32 (channels,) each."""

    gain: np.ndarray
    offset: np.ndarray


class Kernel(NamedTuple):
    """A convolution's numbers as integers.

    weights int8, shaped as `network.Convolution` has them; scales float32 (out,); bias int32
    (out,), in units of the input's scale times the kernel's.
    """

    weights: np.ndarray
    scales: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class IntegerNetwork:
    """A network and how its numbers become integers.

    :ivar network: equalised; its maps are those that the integers stand for.
    :ivar grids: of each feature map, the picture included.
    :ivar kernels: of each convolution, by its output.
    :ivar ends: what turns a map that is handed out back into the original one, by its name.
    """

    network: Network
    grids: dict[str, Grid]
    kernels: dict[str, Kernel]
    ends: dict[str, Affine]


def quantised(network: Network, ranges: dict[str, Range], mean: float = 0,
              scale: float = 1) -> IntegerNetwork:
    """Quantise a network of convolutions, pooling, enlargement and additions.

    :param ranges: of all its feature maps, from `ranges.observed`.
    :param mean: subtracted from each pixel value (0 to 255), a whole number.
    :param scale: then multiplied.
    """
    network, ranges = _equalised(network, ranges)
    network, ranges, ends = _with_even_ends(network, ranges)
    grids = {IMAGE: Grid(scale, round(mean) - 128)}
    for layer in network.layers:
        # These hand values on, and the kernels that do want them on the same grid.
        grids[layer.output] = (grids[layer.sources[0]] if isinstance(layer, MaxPool | Upsample)
                               else _grid(ranges[layer.output]))
    kernels = {layer.output: _kernel(layer, grids[layer.sources[0]].scale)
               for layer in network.layers if isinstance(layer, Convolution)}
    return IntegerNetwork(network, grids, kernels, ends)


def _grid(seen: Range) -> Grid:
    low, high = min(float(seen.low.min()), 0.0), max(float(seen.high.max()), 0.0)
    scale = max(high - low, 1e-6) / 255
    return Grid(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def _kernel(layer: Convolution, input_scale: float) -> Kernel:
    bound = np.abs(layer.weights).reshape(-1, layer.weights.shape[-1]).max(axis=0) / LARGEST
    scales = np.maximum(bound, np.abs(layer.bias) / (input_scale * LARGEST_BIAS))
    scales = np.maximum(scales, np.finfo(np.float32).tiny * 2 ** 20).astype(np.float32)
    weights = np.clip(np.round(layer.weights / scales), -LARGEST, LARGEST).astype(np.int8)
    bias = np.round(layer.bias / (np.float64(input_scale) * scales)).astype(np.int32)
    return Kernel(weights, scales, bias)


def _equalised(network: Network, ranges: dict[str, Range]) -> tuple[Network, dict[str, Range]]:
    """Scale the channels of maps that only convolutions read, so that each uses the range.

    A depthwise kernel has a scale for each channel, and all may reach the same. A dense kernel's
    inputs share one, so there the factor is shared between map and kernel.
    """
    layers = {layer.output: layer for layer in network.layers}
    ranges = dict(ranges)
    for name, users in network.uses().items():
        producer = layers.get(name)
        if not _may_be_scaled(producer, users):
            continue
        users = [layers[user.output] for user in users]
        reach = np.maximum(np.abs(ranges[name].low), np.abs(ranges[name].high))
        reach = np.maximum(reach, max(float(reach.max()), 1e-6) * LEAST_SHARE)
        factors = reach / reach.max()
        dense = [np.abs(user.weights).max(axis=(0, 1, 3)) for user in users if not user.depthwise]
        if dense:
            weight = np.max(dense, axis=0)
            weight = np.maximum(weight, max(float(weight.max()), 1e-6) * LEAST_SHARE)
            factors = np.sqrt(reach / weight)
        layers[name] = replace(producer, weights=producer.weights / factors,
                               bias=producer.bias / factors)
        for user in users:
            taken_back = factors if user.depthwise else factors[:, None]
            layers[user.output] = replace(user, weights=user.weights * taken_back)
        ranges[name] = Range(ranges[name].low / factors, ranges[name].high / factors)
    return replace(network, layers=list(layers.values())), ranges


def _may_be_scaled(producer: Layer | None, users: list[Layer | Output]) -> bool:
    return (isinstance(producer, Convolution)
            and (producer.activation.kind == 'none' or producer.activation == RELU)
            and bool(users) and all(isinstance(user, Convolution) for user in users))


def _with_even_ends(network: Network, ranges: dict[str, Range]
                    ) -> tuple[Network, dict[str, Range], dict[str, Affine]]:
    """Move and scale each channel of maps that only outputs read to -1 .. 1."""
    uses, ranges, ends, layers = network.uses(), dict(ranges), {}, []
    for layer in network.layers:
        if (isinstance(layer, Convolution) and layer.activation.kind == 'none'
                and all(isinstance(user, Output) for user in uses[layer.output])):
            low, high = ranges[layer.output]
            gain = np.maximum((high - low) / 2, 1e-3).astype(np.float32)
            offset = ((high + low) / 2).astype(np.float32)
            ends[layer.output] = Affine(gain, offset)
            layer = replace(layer, weights=layer.weights / gain,
                            bias=(layer.bias - offset) / gain)
            ranges[layer.output] = Range(-np.ones_like(low), np.ones_like(high))
        layers.append(layer)
    return replace(network, layers=layers), ranges, ends
