# SPDX-License-Identifier: Apache-2.0
"""A network's feature maps in plain NumPy, to hold against what is faster."""

from __future__ import annotations

import numpy as np

from face_tracking.compiler.graph import (
    IMAGE,
    Activation,
    Add,
    Convolution,
    Layer,
    MaxPool,
    Network,
    Upsample,
)


def feature_maps(network: Network, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return every feature map, float32 (height, width, channels), of one image.

    :param image: float32 (H, W, 3), normalized, in the order of the network's channels.
    """
    maps = {IMAGE: image}
    for layer in network.layers:
        maps[layer.output] = _computed(
            layer, [maps[name] for name in layer.sources], network.shapes[layer.output]
        )
    return maps


def _computed(layer: Layer, inputs: list[np.ndarray], shape) -> np.ndarray:
    if isinstance(layer, Convolution):
        return _activated(_convolved(layer, inputs[0], shape), layer.activation)
    if isinstance(layer, MaxPool):
        return _pooled(layer, inputs[0], shape)
    if isinstance(layer, Upsample):
        large = inputs[0].repeat(layer.factor, axis=0).repeat(layer.factor, axis=1)
        return large[: shape.height, : shape.width]
    if isinstance(layer, Add):
        return _activated(inputs[0] + inputs[1], layer.activation)
    raise NotImplementedError(type(layer).__name__)


def _activated(values: np.ndarray, activation: Activation) -> np.ndarray:
    if activation.kind == 'none':
        return values
    if activation.kind == 'clip':
        return values.clip(activation.low, activation.high)
    raise NotImplementedError(activation.kind)


def _taps(layer: Convolution | MaxPool, values: np.ndarray, shape, fill: float):
    """Yield, for each tap of the window, its place and the inputs that it meets."""
    window = layer.window
    top, left, bottom, right = window.padding
    # Rounded up, pooling may reach beyond the padding.
    padded = np.pad(
        values,
        ((top, bottom + window.stride[0]), (left, right + window.stride[1]), (0, 0)),
        constant_values=fill,
    )
    for row in range(window.size[0]):
        for column in range(window.size[1]):
            first, left = row * window.dilation[0], column * window.dilation[1]
            yield (
                (row, column),
                padded[
                    first : first + shape.height * window.stride[0] : window.stride[0],
                    left : left + shape.width * window.stride[1] : window.stride[1],
                ],
            )


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
