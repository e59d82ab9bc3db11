# SPDX-License-Identifier: Apache-2.0
"""A quantized network computed in NumPy, number by number as the compiled one does."""

from __future__ import annotations

import numpy as np

from face_tracking.compiler.graph import IMAGE, Add, Convolution, MaxPool, Upsample

HALF = 1 << 14


def product(left, right):
    """Return the rounded product of 16-bit fractions."""
    return (np.asarray(left, np.int64) * np.asarray(right, np.int64) + HALF) >> 15


def saturated(values, low=-32768, high=32767):
    return np.clip(values, low, high)


def windows(source, window, outside):
    """Yield (tap row, tap column, the numbers under that tap) for all output pixels."""
    top, left, bottom, right = window.padding
    padded = np.pad(source, ((top, bottom), (left, right), (0, 0)), constant_values=outside)
    height = (padded.shape[0] - window.reach(0)) // window.stride[0] + 1
    width = (padded.shape[1] - window.reach(1)) // window.stride[1] + 1
    for row in range(window.size[0]):
        for column in range(window.size[1]):
            y, x = row * window.dilation[0], column * window.dilation[1]
            yield (
                row,
                column,
                padded[
                    y : y + (height - 1) * window.stride[0] + 1 : window.stride[0],
                    x : x + (width - 1) * window.stride[1] + 1 : window.stride[1],
                ],
            )


class IntegerReference:
    """A network in whole numbers.

    :param fractions: gains of 32-bit sums are 32-bit fractions, as NEON multiplies; otherwise
        float32.
    """

    def __init__(self, quantized, fractions: bool):
        self.quantized, self.fractions = quantized, fractions

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return all maps by name, (H, W, C), as they are stored; uint8 and int16 as int64."""
        maps = {IMAGE: image.astype(np.int64)}
        for layer in self.quantized.network.layers:
            maps[layer.output] = self._layer(layer, maps)
        return maps

    def _read(self, layer, source, maps):
        """Return a map in the type that a layer wants."""
        formats, stored = self.quantized.formats, self.quantized.stored[source]
        wanted = self.quantized.wanted(layer, source)
        values = maps[source]
        if wanted == stored:
            return values
        if wanted == 'float32':
            return values * formats[source, stored].scale.astype(np.float32)
        gain = np.clip(
            np.rint(formats[source, stored].scale / formats[source, wanted].scale * (1 << 15)),
            -32767,
            32767,
        )
        return saturated(product(values, gain), 0, 255)

    def _layer(self, layer, maps):
        numbers = self.quantized.layers.get(layer.output)
        stored = self.quantized.stored[layer.output]
        if isinstance(layer, Upsample):
            source, factor = maps[layer.sources[0]], layer.factor
            height, width = self._own_size(layer)
            return source.repeat(factor, 0).repeat(factor, 1)[:height, :width]
        if isinstance(layer, MaxPool):
            return self._pool(layer, maps[layer.sources[0]])
        if isinstance(layer, Add):
            return self._sum(layer, numbers, stored, maps)
        values = self._read(layer, layer.sources[0], maps)
        assert isinstance(layer, Convolution)
        if self.quantized.stored.get(f'{layer.output} in float'):
            return self._float(layer, values)
        positive = layer.activation.kind == 'clip'
        if layer.depthwise:
            return self._taps(layer, numbers, values, stored, positive)
        return self._dot(layer, numbers, values, stored, positive)

    def _own_size(self, layer):
        shape = self.quantized.network.shapes[layer.output]
        return shape.height, shape.width

    def _pool(self, layer, source):
        found = None
        for _, _, under in windows(source, layer.window, -32768):
            found = under if found is None else np.maximum(found, under)
        return found

    def _float(self, layer, values):
        total = layer.bias.astype(np.float64)
        for row, column, under in windows(values, layer.window, 0):
            weights = layer.weights[row, column].astype(np.float64)
            total = total + (under * weights if layer.depthwise else under @ weights)
        return np.maximum(total, 0) if layer.activation.kind == 'clip' else total

    def _sum(self, layer, numbers, stored, maps):
        first, second = (
            product(maps[source], gain)
            for source, gain in zip(layer.sources, numbers.gains, strict=True)
        )
        total = saturated(first + second)
        if stored == 'uint8':
            return saturated(total, 0, 255)
        return np.maximum(total, 0) if layer.activation.kind == 'clip' else total

    def _taps(self, layer, numbers, values, stored, positive):
        total = numbers.bias.astype(np.int64)
        for row, column, under in windows(values, layer.window, 0):
            total = saturated(total + product(under, numbers.weights[row, column]))
        if numbers.half_slopes is not None:
            negative, total = np.minimum(total, 0), np.maximum(total, 0)
            for _ in range(2):
                total = saturated(total + product(negative, numbers.half_slopes))
        if numbers.zero is not None:
            total = saturated(total + numbers.zero)
        if stored == 'float32':
            real = total * numbers.scale.astype(np.float32)
            return np.maximum(real, 0) if positive else real
        if stored == 'int16':
            return np.maximum(total, 0) if positive else total
        return saturated((total + 8) >> 4, 0, 255)

    def _dot_sums(self, layer, numbers, values):
        total = numbers.bias.astype(np.float64)
        outside = self.quantized.image_zero if layer.sources[0] == IMAGE else 0
        for row, column, under in windows(values, layer.window, outside):
            total = total + under.astype(np.float64) @ numbers.weights[row, column].astype(
                np.float64
            )
        return total

    def _dot(self, layer, numbers, values, stored, positive):
        total, gain = self._dot_sums(layer, numbers, values), numbers.gain
        if numbers.negative_gain is not None:
            gain = np.where(total < 0, numbers.negative_gain, gain)
        if stored == 'float32':
            real = total * gain.astype(np.float32)
            return np.maximum(real, 0) if positive else real
        if self.fractions:
            gain = np.minimum(np.rint(gain * 2.0**31), 2.0**31 - 1).astype(np.int64)
            whole = (total.astype(np.int64) * gain + (1 << 30)) >> 31
        else:
            whole = np.floor((total * gain.astype(np.float32) + 0.5).astype(np.float32))
        low, high = {'uint8': (0, 255), 'int16': (0 if positive else -32768, 32767)}[stored]
        return saturated(whole, low, high).astype(np.int64)

    def named_outputs(self, image) -> dict[str, np.ndarray]:
        """Return the outputs by name, (H, W, C)."""
        maps = self.run(image)
        return {
            output.name: maps[output.parts[0].source] for output in self.quantized.network.outputs
        }

    def outputs(self, image) -> np.ndarray:
        """Return all outputs one behind another, as the compiled program does."""
        return np.concatenate([value.ravel() for value in self.named_outputs(image).values()])
