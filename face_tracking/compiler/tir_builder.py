# SPDX-License-Identifier: Apache-2.0
"""The small vocabulary of the kernels, on top of TVM's IR builder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import tvm.tirx.script.builder
from tvm.ir import GlobalVar, PrimType

from face_tracking.compiler.graph import Activation
from face_tracking.errors import UserError

# Their annotations have no place for Python numbers, which they accept.
T: Any = tvm.tirx.script.builder
"""TVM's own name for it."""
tirx: Any = tvm.tirx
_Call: Any = tvm.ir.Call
serial, parallel, let = T.serial, T.parallel, T.Bind


class Expr(Protocol):
    """A number or a vector of the generated code. TVM annotates none of these operators."""

    def __add__(self, other: Number, /) -> Expr: ...
    def __radd__(self, other: Number, /) -> Expr: ...
    def __sub__(self, other: Number, /) -> Expr: ...
    def __rsub__(self, other: Number, /) -> Expr: ...
    def __mul__(self, other: Number, /) -> Expr: ...
    def __rmul__(self, other: Number, /) -> Expr: ...
    def __truediv__(self, other: Number, /) -> Expr: ...
    def __floordiv__(self, other: Number, /) -> Expr: ...
    def __rfloordiv__(self, other: Number, /) -> Expr: ...
    def __mod__(self, other: Number, /) -> Expr: ...
    def __rshift__(self, other: Number, /) -> Expr: ...
    def __lt__(self, other: Number, /) -> Expr: ...
    def __gt__(self, other: Number, /) -> Expr: ...
    def __ge__(self, other: Number, /) -> Expr: ...


Number: TypeAlias = 'Expr | float'
"""An expression, or a Python number that becomes one."""
Index: TypeAlias = 'Expr | int'
"""A place in a buffer, a row or a column."""


class Buffer(Protocol):
    """Numbers in memory that the generated code reads and writes.

    :ivar data: the address of the first one.
    """

    data: Expr

    def __getitem__(self, index: Index, /) -> Expr: ...


def load(buffer: Buffer, index: Index, lanes: int) -> Expr:
    """Return ``lanes`` numbers of ``buffer`` from ``index`` on."""
    return buffer[index if lanes == 1 else tirx.Ramp(index, 1, lanes)]


def load_strided(buffer: Buffer, index: Index, stride: int, lanes: int) -> Expr:
    """Return every ``stride``-th number of ``buffer`` from ``index`` on, ``lanes`` of them."""
    return buffer[index if lanes == 1 else tirx.Ramp(index, stride, lanes)]


def store(buffer: Buffer, index: Index, value: Number, lanes: int, stride: int = 1) -> None:
    """Write ``lanes`` numbers into ``buffer`` from ``index`` on."""
    T.buffer_store(buffer, value, [index if lanes == 1 else tirx.Ramp(index, stride, lanes)])


def splat(value: Expr, lanes: int) -> Expr:
    """Return a vector with ``value`` in every lane."""
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def constant(value: float, dtype: str, lanes: int = 1) -> Expr:
    """Return a constant in every lane."""
    return splat(tirx.const(value, dtype), lanes)


def call(function: GlobalVar, *arguments: Expr) -> None:
    """Call another TIR function of the module, which returns nothing."""
    T.evaluate(_Call(function, arguments, ret_ty=PrimType('void')))


def lane(vector: Expr, index: int) -> Expr:
    """Return one number of a vector."""
    return tirx.Shuffle([vector], [integer(index)])


def integer(value: int) -> Expr:
    """Return a constant of 32 bits."""
    return tirx.const(value, 'int32')


def convert(value: Expr, dtype: str, lanes: int) -> Expr:
    """Return ``value`` as another type."""
    return tirx.Cast(dtype if lanes == 1 else f'{dtype}x{lanes}', value)


def vectors(count: int, lanes: int) -> list[tuple[int, int]]:
    """Split ``count`` numbers into (offset, lanes): full registers, then halves of them."""
    found: list[tuple[int, int]] = []
    offset = 0
    while offset < count:
        while lanes > count - offset:
            lanes //= 2
        found.append((offset, lanes))
        offset += lanes
    return found


def for_vectors(count: int, lanes: int, body: Callable[[Index, int], None]) -> None:
    """Call ``body(index, lanes)`` over ``count`` numbers: a loop, then the remainder."""
    whole = count // lanes
    if whole > 1:
        with serial(whole) as step:
            body(step * lanes, lanes)
    elif whole:
        body(0, lanes)
    for offset, rest in vectors(count - whole * lanes, lanes):
        body(whole * lanes + offset, rest)


def tiled(count: int, tile: int, body: Callable[[Index, int], None]) -> None:
    """Call ``body(first, size)`` over ``count`` items: a loop of tiles, then the remainder."""
    whole = count // tile
    if whole > 1:
        with serial(whole) as step:
            body(step * tile, tile)
    elif whole:
        body(0, tile)
    if count % tile:
        body(whole * tile, count % tile)


def wide(index: Index) -> Expr:
    """Return an index as a 64-bit integer."""
    return tirx.Cast('int64', index)


def exponential(value: Expr, dtype: str, lanes: int) -> Expr:
    """Return e to the power of ``value``, in arithmetic that can be vectorized.

    exp(x) = 2^n * exp(r) with n = round(x / ln 2); exp(r) by its Taylor polynomial, which on
    |r| <= ln(2) / 2 is exact to float32 at degree 7.
    """

    def number(constant_value: float) -> Expr:
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


def activate(
    value: Expr, activation: Activation, dtype: str, lanes: int, slopes: Expr | None = None
) -> Expr:
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
