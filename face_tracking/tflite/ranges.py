# SPDX-License-Identifier: Apache-2.0
"""What values a network's feature maps take on pictures: the basis of its quantisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from face_tracking.compiler.network import (
    IMAGE,
    Activation,
    Add,
    Convolution,
    Layer,
    MaxPool,
    Network,
    Upsample,
)
from face_tracking.errors import UserError


class Range(NamedTuple):
    """The least and the greatest value of each channel, float32 (channels,)."""

    low: np.ndarray
    high: np.ndarray


def observed(network: Network, pictures: Iterable[np.ndarray]) -> dict[str, Range]:
    """Return the range of each feature map, the picture itself included.

    :param pictures: float32 (H, W, 3) of the network's input size, normalised, in the order of
        its channels; at least one.
    :raises UserError: there is no picture, or a layer is not one of those of `feature_maps`.
    """
    ranges: dict[str, Range] = {}
    for picture in pictures:
        for name, values in feature_maps(network, picture).items():
            seen = Range(values.min(axis=(0, 1)), values.max(axis=(0, 1)))
            known = ranges.get(name, seen)
            ranges[name] = Range(np.minimum(known.low, seen.low),
                                 np.maximum(known.high, seen.high))
    if not ranges:
        raise UserError('there is no picture to calibrate on', 'give some with faces')
    return ranges


def feature_maps(network: Network, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return every feature map, float32 (height, width, channels), of one picture.

    :param image: float32 (H, W, 3), normalised, in the order of the network's channels.
    :raises UserError: a layer is of another kind than convolution, pooling, enlargement and
        addition.
    """
    maps = {IMAGE: image}
    for layer in network.layers:
        maps[layer.output] = _computed(layer, [maps[name] for name in layer.sources],
                                       network.shapes[layer.output])
    return maps


def _computed(layer: Layer, inputs: list[np.ndarray], shape) -> np.ndarray:
    if isinstance(layer, Convolution):
        return _activated(_convolved(layer, inputs[0], shape), layer.activation)
    if isinstance(layer, MaxPool):
        return _pooled(layer, inputs[0], shape)
    if isinstance(layer, Upsample):
        large = inputs[0].repeat(layer.factor, axis=0).repeat(layer.factor, axis=1)
        return large[:shape.height, :shape.width]
    if isinstance(layer, Add):
        return _activated(inputs[0] + inputs[1], layer.activation)
    raise UserError(f'{type(layer).__name__} ({layer.output}) cannot be quantised',
                    'use a model of convolutions, pooling, enlargement and additions')


def _activated(values: np.ndarray, activation: Activation) -> np.ndarray:
    if activation.kind == 'none':
        return values
    if activation.kind == 'clip':
        return values.clip(activation.low, activation.high)
    raise UserError(f'the activation {activation.kind} cannot be quantised',
                    'use a model whose inner layers end in ReLU')


def _taps(layer: Convolution | MaxPool, values: np.ndarray, shape, fill: float):
    """Yield, for each tap of the window, its place and the inputs that it meets."""
    window = layer.window
    top, left, bottom, right = window.padding
    # Rounded up, pooling may reach beyond the padding.
    padded = np.pad(values, ((top, bottom + window.stride[0]), (left, right + window.stride[1]),
                             (0, 0)), constant_values=fill)
    for row in range(window.size[0]):
        for column in range(window.size[1]):
            first, left = row * window.dilation[0], column * window.dilation[1]
            yield (row, column), padded[
                first:first + shape.height * window.stride[0]:window.stride[0],
                left:left + shape.width * window.stride[1]:window.stride[1]]


def _convolved(layer: Convolution, values: np.ndarray, shape) -> np.ndarray:
    result = np.broadcast_to(layer.bias, (shape.height, shape.width, shape.channels)).copy()
    for place, inputs in _taps(layer, values, shape, 0):
        weights = layer.weights[place]
        result += inputs * weights if layer.depthwise else inputs @ weights
    return result


def _pooled(layer: MaxPool, values: np.ndarray, shape) -> np.ndarray:
    result = np.full((shape.height, shape.width, shape.channels), -np.inf, np.float32)
    for _, inputs in _taps(layer, values, shape, -np.inf):
        np.maximum(result, inputs, out=result)
    return result
