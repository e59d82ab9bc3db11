# SPDX-License-Identifier: Apache-2.0
"""The small vocabulary of the kernels, on top of TVM's IR builder."""

from __future__ import annotations

from typing import Any

import tvm.tirx.script.builder
from tvm import tirx
from tvm.ir import Call, PrimType

from face_tracking.errors import UserError

T: Any = tvm.tirx.script.builder
"""TVM's own name for it. Its annotations have no place for Python numbers, which it accepts."""
serial, parallel, let = T.serial, T.parallel, T.Bind


def load(buffer, index, lanes: int):
    """Return ``lanes`` numbers of ``buffer`` from ``index`` on."""
    return buffer[index if lanes == 1 else tirx.Ramp(index, 1, lanes)]


def load_strided(buffer, index, stride: int, lanes: int):
    """Return every ``stride``-th number of ``buffer`` from ``index`` on, ``lanes`` of them."""
    return buffer[index if lanes == 1 else tirx.Ramp(index, stride, lanes)]


def store(buffer, index, value, lanes: int, stride: int = 1) -> None:
    """Write ``lanes`` numbers into ``buffer`` from ``index`` on."""
    T.buffer_store(buffer, value, [index if lanes == 1 else tirx.Ramp(index, stride, lanes)])


def splat(value, lanes: int):
    """Return a vector with ``value`` in every lane."""
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def constant(value: float, dtype: str, lanes: int = 1):
    """Return a constant in every lane."""
    return splat(tirx.const(value, dtype), lanes)


def call(function, *arguments) -> None:
    """Call another TIR function of the module, which returns nothing."""
    T.evaluate(Call(function, arguments, ret_ty=PrimType('void')))


def lane(vector, index: int):
    """Return one number of a vector."""
    return tirx.Shuffle([vector], [integer(index)])


def integer(value: int):
    """Return a constant of 32 bits."""
    return tirx.const(value, 'int32')


def convert(value, dtype: str, lanes: int):
    """Return ``value`` as another type."""
    return tirx.Cast(dtype if lanes == 1 else f'{dtype}x{lanes}', value)


def vectors(count: int, lanes: int) -> list[tuple[int, int]]:
    """Split ``count`` numbers into (offset, lanes): full registers, then halves of them."""
    found, offset = [], 0
    while offset < count:
        while lanes > count - offset:
            lanes //= 2
        found.append((offset, lanes))
        offset += lanes
    return found


def for_vectors(count: int, lanes: int, body) -> None:
    """Call ``body(index, lanes)`` over ``count`` numbers: a loop, then the remainder."""
    whole = count // lanes
    if whole > 1:
        with serial(whole) as step:
            body(step * lanes, lanes)
    elif whole:
        body(0, lanes)
    for offset, rest in vectors(count - whole * lanes, lanes):
        body(whole * lanes + offset, rest)


def tiled(count: int, tile: int, body) -> None:
    """Call ``body(first, size)`` over ``count`` items: a loop of tiles, then the remainder."""
    whole = count // tile
    if whole > 1:
        with serial(whole) as step:
            body(step * tile, tile)
    elif whole:
        body(0, tile)
    if count % tile:
        body(whole * tile, count % tile)


def wide(index):
    """Return an index as a 64-bit integer."""
    return tirx.Cast('int64', index)


def exponential(value, dtype: str, lanes: int):
    """Return e to the power of ``value``, in arithmetic that can be vectorized.

    exp(x) = 2^n * exp(r) with n = round(x / ln 2); exp(r) by its Taylor polynomial, which on
    |r| <= ln(2) / 2 is exact to float32 at degree 7.
    """

    def number(constant_value):
        return constant(constant_value, 'float32', lanes)

    x = value if dtype == 'float32' else convert(value, 'float32', lanes)
    x = let(tirx.max(tirx.min(x, number(88.0)), number(-87.0)))
    whole = let(tirx.floor(x * number(1.4426950408889634) + number(0.5)))
    rest = let(x - whole * number(0.693359375) - whole * number(-2.12194440e-4))
    result = number(1 / 5040)
    for coefficient in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        result = let(result * rest + number(coefficient))
    exponent = (convert(whole, 'int32', lanes) + splat(integer(127), lanes)) * splat(
        integer(1 << 23), lanes
    )
    power = tirx.reinterpret('float32' if lanes == 1 else f'float32x{lanes}', exponent)
    result = let(result * power)
    return result if dtype == 'float32' else let(convert(result, dtype, lanes))


def activate(value, activation, dtype: str, lanes: int, slopes=None):
    """Return ``value`` after a `graph.Activation`.

    :param slopes: the slopes of these channels, for ``prelu``.
    """
    if activation.kind == 'clip':
        if activation.low != float('-inf'):
            value = tirx.max(value, constant(activation.low, dtype, lanes))
        if activation.high != float('inf'):
            value = tirx.min(value, constant(activation.high, dtype, lanes))
    elif activation.kind == 'leaky':
        value = let(value)
        value = tirx.Select(
            value > constant(0.0, dtype, lanes),
            value,
            value * constant(activation.low, dtype, lanes),
        )
    elif activation.kind == 'prelu':
        if slopes is None:
            raise UserError(
                'the network has a PReLU where the compiler computes none',
                'run it on the CPU, or with runtime onnxruntime',
            )
        value = let(value)
        zero = constant(0.0, dtype, lanes)
        value = tirx.max(value, zero) + tirx.min(value, zero) * slopes
    elif activation.kind == 'sigmoid':
        one = constant(1.0, dtype, lanes)
        value = one / (one + exponential(constant(0.0, dtype, lanes) - value, dtype, lanes))
    return value
