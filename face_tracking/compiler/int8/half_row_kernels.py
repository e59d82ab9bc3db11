# SPDX-License-Identifier: Apache-2.0
"""Kernels of int8 networks on processors that compute with vectors of float16; see `quantization`.

Dense convolutions multiply bytes as in `int8_row_kernels`; the maps between them and depthwise
convolutions, these and additions are in float16. The Cortex-A76 executes a multiply-add of float16
on both of its vector pipes, a rounding product of 16-bit integers on one, every other cycle. Its
conversions between integers and float16 take four cycles of one pipe, so only the sums of dense
convolutions are converted. Results become bytes without a conversion: an addition rounds them to
quarters of a step, and the bits of what is then between 4 and 8 are those of an integer.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np

from face_tracking.arrays import Array
from face_tracking.compiler import tir_builder
from face_tracking.compiler.int8.int8_row_kernels import (
    SHIFT,
    IntegerKernels,
    intrinsic,
    joined,
    part_of,
)
from face_tracking.compiler.int8.quantization import (
    HALF_BASE,
    HALF_CENTER,
    HALF_ONE,
    HalfDepthwise,
    QuantDense,
)
from face_tracking.compiler.row_kernels import ChannelGroup, FeatureMapBuffer, Sums
from face_tracking.compiler.tir_builder import Buffer, Expr, Index, T, tirx

QUARTERS = 4
LANES = 8
"""Numbers of 16 bits in a register."""


class HalfKernels(IntegerKernels):
    """Emits the kernels with float16 in place of 16-bit integers, for NEON."""

    middle = 'float16'

    # Dense convolutions

    def _write_shifted(
        self,
        sums: Sums,
        group: ChannelGroup,
        target: FeatureMapBuffer,
        start: Expr,
        places: dict[str, int],
        shift: int,
        positive: bool,
    ) -> None:
        vectors = tir_builder.vectors(4 * len(group), LANES)
        first = group[0][0]
        slopes = [
            tir_builder.let(
                tir_builder.load(self.views.float16, places['slopes'] + first + offset, lanes)
            )
            if 'slopes' in places
            else None
            for offset, lanes in vectors
        ]
        for pixel in range(len(sums[0])):
            at = start + pixel * target.shape.channels + first
            values = [tir_builder.load(registers[pixel], 0, 4) for registers in sums]
            halves = [tir_builder.let(_narrowed(value, shift, positive)) for value in values]
            for (offset, lanes), slope in zip(vectors, slopes, strict=True):
                whole = joined(halves[offset // 4 : (offset + lanes) // 4], 4)
                value = _divided(whole, lanes, positive)
                if slope is not None:
                    value = _sloped(value, slope, lanes)
                tir_builder.store(target.buffer, at + offset, value, lanes)

    # Depthwise convolutions

    def _depthwise_sums(self, bias_at: Index, lanes: int, count: int) -> list[Buffer]:
        """Return a register for each pixel; the bias is added at the end."""
        return [T.alloc_buffer((lanes,), 'float16') for _ in range(count)]

    def _add_product(
        self, register: Buffer, value: Expr, weight: Expr, lanes: int, first: bool
    ) -> None:
        product = value * weight
        if not first:
            product = tir_builder.load(register, 0, lanes) + product
        tir_builder.store(register, 0, product, lanes)

    def _write_depthwise(
        self,
        sums: Sums,
        vectors: ChannelGroup,
        places: dict[str, int],
        offset: Index,
        target: FeatureMapBuffer,
        at: Expr,
        positive: bool,
    ) -> None:
        constants = {
            name: [
                tir_builder.let(
                    tir_builder.load(self.views.float16, places[name] + offset + shift, lanes)
                )
                for shift, lanes in vectors
            ]
            for name in ('bias', 'slopes', 'center')
            if name in places
        }
        for pixel in range(len(sums[0])):
            values: list[Expr] = []
            for number, (registers, (_, lanes)) in enumerate(zip(sums, vectors, strict=True)):
                value = tir_builder.load(registers[pixel], 0, lanes) + constants['bias'][number]
                if 'slopes' in constants:
                    value = _sloped(value, constants['slopes'][number], lanes)
                if 'center' in constants:
                    value = value + constants['center'][number]
                values.append(self._result(value, target, lanes, positive))
            self._store_joined(values, vectors, target, at + pixel * target.shape.channels)

    def _result(self, value: Expr, target: FeatureMapBuffer, lanes: int, positive: bool) -> Expr:
        """Return numbers of float16 as they are stored in a map; as bytes they have a base."""
        if target.dtype == self.arithmetic.byte:
            return _bytes(value, lanes)
        return tirx.max(value, _half(0.0, lanes)) if positive else value

    # Other layers

    def _sum(
        self, terms: list[tuple[Expr, Expr]], target: FeatureMapBuffer, lanes: int, positive: bool
    ) -> Expr:
        total = reduce(add, [value * gain for value, gain in terms])
        if target.dtype == self.arithmetic.byte:
            total = total + _half(HALF_CENTER, lanes)
        return self._result(total, target, lanes, positive)

    def converted(
        self, source: FeatureMapBuffer, target: FeatureMapBuffer, row: Index, gain_at: int
    ) -> None:
        """Emit the conversion of a map of float16 with scales to one without, or to 8 bits."""
        self.sum_of([(source, 1, gain_at)], target, row, False)


def _half(value: float, lanes: int) -> Expr:
    return tir_builder.constant(value, 'float16', lanes)


def _narrowed(sums: Expr, shift: int, positive: bool) -> Expr:
    """Return 4 sums of 32 bits shifted right, rounded, in 16 bits, saturated.

    :param positive: negative ones become 0, and the results have no sign.
    """
    sign = 'u' if positive else ''
    if not shift:
        return intrinsic('int16x4', f'llvm.aarch64.neon.sqxt{sign}n.v4i16', sums)
    name = f'llvm.aarch64.neon.sqrshr{sign}n.v4i16'
    return intrinsic('int16x4', name, sums, tirx.const(shift, 'int32'))


def _divided(whole: Expr, lanes: int, positive: bool) -> Expr:
    """Return numbers of 16 bits divided by `HALF_ONE`, as float16."""
    kind = 'u' if positive else 's'
    return intrinsic(
        f'float16x{lanes}',
        f'llvm.aarch64.neon.vcvtfx{kind}2fp.v{lanes}f16.v{lanes}i16',
        whole,
        tirx.const(HALF_ONE.bit_length() - 1, 'int32'),
    )


def _sloped(value: Expr, slopes: Expr, lanes: int) -> Expr:
    """Return numbers of float16 after a PReLU."""
    value, zero = tir_builder.let(value), _half(0.0, lanes)
    return tirx.max(value, zero) + tirx.min(value, zero) * slopes


def _bytes(value: Expr, lanes: int) -> Expr:
    """Return numbers of float16 around `HALF_CENTER` as signed bytes, lower by 128."""
    bits = tirx.reinterpret(f'int16x{lanes}', value)
    zero = int(np.float16(HALF_BASE).view(np.int16)) + SHIFT * QUARTERS
    base = tir_builder.constant(zero, 'int16', lanes)
    quarters = intrinsic(f'int16x{lanes}', f'llvm.aarch64.neon.sqsub.v{lanes}i16', bits, base)
    if lanes == 4:
        quarters = joined([tir_builder.let(quarters)] * 2, 4)
    found = intrinsic(
        'int8x8',
        'llvm.aarch64.neon.sqrshrn.v8i8',
        quarters,
        tirx.const(QUARTERS.bit_length() - 1, 'int32'),
    )
    return part_of(tir_builder.let(found), 0, 4) if lanes == 4 else found


def pack_half_depthwise(layer: HalfDepthwise) -> dict[str, Array]:
    """Return the constants of a depthwise convolution by name."""
    packed = {'weights': layer.weights.ravel(), 'bias': layer.bias}
    packed |= {'slopes': layer.slopes, 'center': layer.center}
    return {name: array for name, array in packed.items() if array is not None}


def half_slopes(layer: QuantDense, dtype: str) -> dict[str, Array]:
    """Return the slopes of the PReLU of a dense convolution whose result is float16, if any.

    :param dtype: of the result, as in `quantization`.
    """
    if layer.negative_gain is None or dtype != 'float16':
        return {}
    return {'slopes': (layer.negative_gain / layer.gain).astype(np.float16)}
