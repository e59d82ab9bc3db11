# SPDX-License-Identifier: Apache-2.0
"""From a network in floating point to one in 8-bit integers alone, after training.

An integer q represents the real number (q - zero point) * scale. A feature map has one scale, a
kernel one for each output channel (Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", 2018). `int8.quantization` uses a scale for each
channel of a map, and 16 bits for some maps. Accelerators support neither. Two other methods make
better use of eight bits here:

- With ReLU a channel can be scaled by any positive number if the next kernel is divided by it, so
  that all channels of a map use its whole range (Nagel et al., "Data-Free Quantization Through
  Weight Equalization and Bias Correction", 2019).
- The channels of a detector's last convolution are logits, offsets and log sizes. Each of them is
  scaled to -1 .. 1, and `IntegerNetwork.ends` contains the factors that undo it in float.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np

from face_tracking.arrays import Array
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
from face_tracking.compiler.int8.calibration_file import CALIBRATE
from face_tracking.compiler.int8.quantization import Ranges
from face_tracking.errors import UserError

LARGEST = 127
MAX_BIAS = 2**30
MIN_SHARE = 1e-3
"""The range of a channel is at least this fraction of the map's range."""


class Grid(NamedTuple):
    """The int8 number q represents ``(q - zero_point) * scale``."""

    scale: float
    zero_point: int


class Kernel(NamedTuple):
    """The numbers of a convolution as integers.

    weights int8 in the shape of `graph.Convolution`; scales float32 (out,); bias int32
    (out,), in units of the input's scale times the kernel's.
    """

    weights: Array
    scales: Array
    bias: Array


@dataclass(frozen=True)
class IntegerNetwork:
    """A network and its representation in integers.

    :ivar network: equalized; the integers represent the values of its maps.
    :ivar grids: of each feature map and of the image, by name.
    :ivar kernels: of each convolution, by its output.
    :ivar ends: float32 (channels,), by which an output map was divided, by its name.
    """

    network: Network
    grids: dict[str, Grid]
    kernels: dict[str, Kernel]
    ends: dict[str, Array]


Reach = dict[str, Array]
"""The largest magnitude of each channel, float32 (channels,), by map."""


def quantized(
    network: Network, ranges: Ranges, mean: float = 0, scale: float = 1
) -> IntegerNetwork:
    """Quantize a network of convolutions, pooling, enlargement and additions.

    :param ranges: from calibration.
    :param mean: subtracted from each pixel value (0 to 255), an integer.
    :param scale: factor applied after the subtraction.
    :raises UserError: there is a layer of another kind, or a range is missing.
    """
    reach = _reach(network, ranges)
    network, reach = _equalized(network, reach)
    network, reach, ends = _with_even_ends(network, reach)
    grids = {IMAGE: Grid(scale, round(mean) - 128)}
    positive: set[str] = set()
    for layer in network.layers:
        name, source = layer.output, layer.sources[0]
        if _is_positive(layer, positive):
            positive.add(name)
        # Pooling and upsampling keep the grid of their source, as their kernels require.
        grids[name] = (
            grids[source]
            if isinstance(layer, MaxPool | Upsample)
            else _grid(float(reach[name].max()), name in positive)
        )
    kernels = {
        layer.output: _kernel(layer, grids[layer.sources[0]].scale)
        for layer in network.layers
        if isinstance(layer, Convolution)
    }
    return IntegerNetwork(network, grids, kernels, ends)


def _reach(network: Network, ranges: Ranges) -> Reach:
    reach: Reach = {}
    for layer in network.layers:
        name, channels = layer.output, network.shapes[layer.output].channels
        if not isinstance(layer, Convolution | MaxPool | Upsample | Add):
            raise UserError(
                f'{type(layer).__name__} ({name}) has no integer form', 'choose another runtime'
            )
        if isinstance(layer, MaxPool | Upsample):
            continue
        found = ranges.clips.get(name, ranges.peaks.get(name))
        if found is None or len(found) != channels:
            raise UserError(f'the calibration does not contain the feature map {name}', CALIBRATE)
        found = np.asarray(found, np.float32)
        reach[name] = np.maximum(found, max(float(found.max()) * MIN_SHARE, 1e-6))
    return reach


def _is_positive(layer: Layer, positive: set[str]) -> bool:
    activation = getattr(layer, 'activation', NONE)
    if activation != NONE:
        return activation.low >= 0
    return not isinstance(layer, Convolution) and set(layer.sources) <= positive


def _grid(reach: float, positive: bool) -> Grid:
    return Grid(reach / 255, -128) if positive else Grid(reach / 127, 0)


def _kernel(layer: Convolution, input_scale: float) -> Kernel:
    bound = np.abs(layer.weights).reshape(-1, layer.weights.shape[-1]).max(axis=0) / LARGEST
    scales = np.maximum(bound, np.abs(layer.bias) / (input_scale * MAX_BIAS))
    scales = np.maximum(scales, 1e-30).astype(np.float32)
    weights = np.clip(np.round(layer.weights / scales), -LARGEST, LARGEST).astype(np.int8)
    bias = np.round(layer.bias / (np.float64(input_scale) * scales)).astype(np.int32)
    return Kernel(weights, scales, bias)


def _equalized(network: Network, reach: Reach) -> tuple[Network, Reach]:
    """Scale the channels of maps that only convolutions read, so that each uses the range.

    A depthwise kernel has a scale for each channel, so all channels can have the same range. The
    inputs of a dense kernel share a scale, so there the factor is divided between map and kernel.
    """
    layers = {layer.output: layer for layer in network.layers}
    reach = dict(reach)
    for name, users in network.uses().items():
        producer = layers.get(name)
        convolutions = [user for user in users if isinstance(user, Convolution)]
        if not isinstance(producer, Convolution) or not _may_be_scaled(producer, users):
            continue
        # As they are now: an earlier map may have changed their weights.
        readers = [cast('Convolution', layers[user.output]) for user in convolutions]
        factors = reach[name] / reach[name].max()
        dense = [
            np.abs(user.weights).max(axis=(0, 1, 3)) for user in readers if not user.depthwise
        ]
        if dense:
            weight = np.max(dense, axis=0)
            weight = np.maximum(weight, max(float(weight.max()), 1e-6) * MIN_SHARE)
            factors = np.sqrt(reach[name] / weight)
        layers[name] = replace(
            producer, weights=producer.weights / factors, bias=producer.bias / factors
        )
        for user in readers:
            inverse = factors if user.depthwise else factors[:, None]
            layers[user.output] = replace(user, weights=user.weights * inverse)
        reach[name] = reach[name] / factors
    return replace(network, layers=list(layers.values())), reach


def _may_be_scaled(producer: Convolution, users: list[Layer | Output]) -> bool:
    return (
        producer.activation in (NONE, RELU)
        and bool(users)
        and all(isinstance(user, Convolution) for user in users)
    )


def _with_even_ends(network: Network, reach: Reach) -> tuple[Network, Reach, Reach]:
    """Scale each channel of maps that only outputs read to -1 .. 1."""
    uses, reach, ends, layers = network.uses(), dict(reach), {}, []
    for layer in network.layers:
        name = layer.output
        if (
            isinstance(layer, Convolution)
            and layer.activation == NONE
            and all(isinstance(user, Output) for user in uses[name])
        ):
            ends[name] = reach[name]
            reach[name] = np.ones_like(ends[name])
            layers.append(
                replace(layer, weights=layer.weights / ends[name], bias=layer.bias / ends[name])
            )
        else:
            layers.append(layer)
    return replace(network, layers=layers), reach, ends
