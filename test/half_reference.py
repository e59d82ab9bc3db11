# SPDX-License-Identifier: Apache-2.0
"""A quantized network with maps of float16 in NumPy, as it is compiled for the Cortex-A76.

Each step is rounded to float16 as one instruction there rounds it: a multiply-add once. The bits
can still differ where LLVM is free to choose the product that it rounds first, in additions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from integer_reference import IntegerReference, saturated, windows


def half(values):
    """Return numbers rounded to float16, as float64."""
    with np.errstate(over='ignore'):
        return np.asarray(values, np.float64).astype(np.float16).astype(np.float64)


def sloped(values, slopes):
    """Return numbers after a PReLU."""
    return half(np.maximum(values, 0) + np.minimum(values, 0) * slopes)


def as_bytes(values):
    """Return numbers whose bits count quarters from that of 4 on, rounded, as bytes."""
    bits = values.astype(np.float16).view(np.int16).astype(np.int64)
    zero = int(np.float16(4).view(np.int16))
    return saturated((bits - zero + 2) >> 2, 0, 255)


class HalfReference(IntegerReference):
    """A network whose maps of 16 bits are float16; ``run`` returns them as float64."""

    CENTER = 4 - 1 / 512

    def __init__(self, quantized):
        super().__init__(quantized, fractions=True)

    def _read(self, layer, source, maps):
        formats, stored = self.quantized.formats, self.quantized.stored[source]
        wanted = self.quantized.wanted(layer, source)
        if wanted == stored:
            return maps[source]
        gain = formats[source, stored].scale / formats[source, wanted].scale
        if wanted == 'float32':
            return half(maps[source] * half(gain))
        return as_bytes(half(maps[source] * half(gain / 64) + half(self.CENTER)))

    def _float(self, layer, values):
        numbers = self.quantized.layers.get(layer.output)
        if numbers is not None:
            layer = replace(layer, weights=numbers.weights)
        return super()._float(layer, values)

    def _sum(self, layer, numbers, stored, maps):
        (first, gain), (second, other) = (
            (maps[source], gain.astype(np.float64))
            for source, gain in zip(layer.sources, numbers.gains, strict=True)
        )
        total = half(first * gain + half(second * other))
        if stored == 'uint8':
            return as_bytes(half(total + half(self.CENTER)))
        return np.maximum(total, 0) if layer.activation.kind == 'clip' else total

    def _taps(self, layer, numbers, values, stored, positive):
        total = None
        for row, column, under in windows(values, layer.window, 0):
            product = under * numbers.weights[row, column].astype(np.float64)
            total = half(product if total is None else total + product)
        total = half(total + numbers.bias.astype(np.float64))
        if numbers.slopes is not None:
            total = sloped(total, numbers.slopes.astype(np.float64))
        if numbers.center is not None:
            total = half(total + numbers.center.astype(np.float64))
        if stored == 'uint8':
            return as_bytes(total)
        return np.maximum(total, 0) if positive else total

    def _dot(self, layer, numbers, values, stored, positive):
        if stored != 'float16':
            return super()._dot(layer, numbers, values, stored, positive)
        total = self._dot_sums(layer, numbers, values).astype(np.int64)
        rounding = (1 << numbers.shift) >> 1
        low, high = (0, 65535) if positive else (-32768, 32767)
        found = half(saturated((total + rounding) >> numbers.shift, low, high) / 32768)
        if numbers.negative_gain is None:
            return found
        return sloped(found, half(numbers.negative_gain / numbers.gain))
