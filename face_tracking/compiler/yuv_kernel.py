# SPDX-License-Identifier: Apache-2.0
"""Small images made of a camera's YUV, as compiled functions beside the network in its library.

Half the size in color is what the detector takes of an image of twice its input's size: a pixel of
it has four numbers of luma, and two each of U and V (YUYV) or one (NV12). A quarter of the size in
gray is what the tracker takes. Each is made in one pass over the image, in integers of 16 bits, of
images of any size that can be divided so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tvm.script.ir_builder import IRBuilder
from tvm.tirx import PrimFunc

from face_tracking.compiler import tir_builder
from face_tracking.compiler.artifact import PACKED_GRAY, PACKED_HALF, SEMI_PLANAR_HALF
from face_tracking.compiler.tir_builder import Buffer, Expr, Index, T, tirx

LANES = 16
"""Pixels that are written at once."""
PAIR = 4
"""Bytes of two pixels of YUYV side by side, which share U and V."""
CHANNELS = 3

# BT.601 at video levels: luma of 16 to 235 becomes 0 to 255.
_BLACK, _WHITE = 16, 235
_BITS = 6  # binary places of colors before they are rounded
_ROUND = 1 << (_BITS - 1)
# Four numbers of luma times 37.25 are the gain 255 / 219 with one binary place more than _BITS.
_LUMA = 37
_ZERO = _BLACK * 4 * (4 * _LUMA + 1) // 8
# What U and V add, with _BITS binary places.
_BLUE_U, _GREEN_U, _GREEN_V, _RED_V = 129, 25, 52, 102
_MIDDLE = 128.0
_MIDDLE_OF_MEANS = 128.25  # two numbers' means are rounded up, which adds a quarter
# Twice the luma times 149 / 256 is that gain, too.
_HALF_GAIN, _HALF_BITS = 149, 8

Body = Callable[[Index, Index, int], None]


def yuv_functions() -> dict[str, PrimFunc]:
    """Return the TIR functions by name.

    Each is called with its source, its result, and the width and the height of the result in
    pixels. Sources and results are uint8, row by row. ``yuyv_half`` and ``uyvy_half`` read two
    bytes for each pixel, ``nv12_half`` and ``nv21_half`` luma and, as a second source, two bytes
    of chroma for each four of them; all write BGR. ``yuyv_gray`` and ``uyvy_gray`` write gray.
    """
    found = {}
    for first, name in enumerate(PACKED_HALF):
        found[name] = _packed_half(name, first)
    for first, name in enumerate(SEMI_PLANAR_HALF):
        found[name] = _semi_planar_half(name, first)
    for first, name in enumerate(PACKED_GRAY):
        found[name] = _packed_gray(name, first)
    return found


def _packed_half(name: str, luma: int) -> PrimFunc:
    """Return the function that halves YUYV or UYVY.

    :param luma: the first byte that is luma.
    """
    with IRBuilder() as builder, T.prim_func():
        (pixels,), half, width, height = _arguments(name, 'pixels')
        row = tir_builder.let(width * PAIR)

        def body(y: Index, x: Index, lanes: int) -> None:
            begin = 2 * y * row + x * PAIR
            upper, lower = (_split(pixels, place, PAIR, lanes) for place in (begin, begin + row))
            four = upper[luma] + upper[luma + 2] + lower[luma] + lower[luma + 2]
            u, v = (
                _shifted(upper[place] + lower[place] + _splat(1, lanes), 1, lanes)
                for place in (1 - luma, 3 - luma)
            )
            colors = _bgr(four, u, v, _MIDDLE_OF_MEANS, lanes)
            _store(half, (y * width + x) * CHANNELS, colors, lanes)

        _for_pixels(width, height, body)
    return cast('PrimFunc', builder.get())


def _semi_planar_half(name: str, u_place: int) -> PrimFunc:
    """Return the function that halves NV12 or NV21.

    :param u_place: which of the two bytes of chroma is U.
    """
    with IRBuilder() as builder, T.prim_func():
        (luma, chroma), half, width, height = _arguments(name, 'luma', 'chroma')

        def body(y: Index, x: Index, lanes: int) -> None:
            begin = 4 * y * width + 2 * x
            upper, lower = (
                _sums_of_two_bytes(luma, place, lanes) for place in (begin, begin + 2 * width)
            )
            both = _split(chroma, 2 * (y * width + x), 2, lanes)
            colors = _bgr(upper + lower, both[u_place], both[1 - u_place], _MIDDLE, lanes)
            _store(half, (y * width + x) * CHANNELS, colors, lanes)

        _for_pixels(width, height, body)
    return cast('PrimFunc', builder.get())


def _packed_gray(name: str, luma: int) -> PrimFunc:
    """Return the function that makes a quarter of the size in gray of YUYV or UYVY.

    Of four rows the first and the third are averaged.

    :param luma: the first byte that is luma.
    """
    with IRBuilder() as builder, T.prim_func():
        (pixels,), result, width, height = _arguments(name, 'pixels')
        row = tir_builder.let(width * 2 * PAIR)

        def body(y: Index, x: Index, lanes: int) -> None:
            begin = 4 * y * row + x * 2 * PAIR
            upper, lower = (
                _luma_of_pixels(pixels, place, luma, 4 * lanes)
                for place in (begin, begin + 2 * row)
            )
            four = _sums_of_neighbors(upper + lower, 2 * lanes)
            means = _shifted(four + _splat(2, 2 * lanes), 2, 2 * lanes)
            gray = _stretched(_sums_of_neighbors(means, lanes), lanes)
            tir_builder.store(result, y * width + x, gray, lanes)

        _for_pixels(width, height, body)
    return cast('PrimFunc', builder.get())


def _arguments(name: str, *sources: str) -> tuple[list[Buffer], Buffer, Index, Index]:
    """Declare a function's arguments: its sources, its result, the result's width and height."""
    T.func_name(name)
    T.func_attr({'tirx.noalias': True, 'global_symbol': name})
    *read, written = (
        T.arg(word, T.buffer((T.int32(),), 'uint8', align=1)) for word in (*sources, 'result')
    )
    return read, written, T.arg('width', T.int32()), T.arg('height', T.int32())


def _for_pixels(width: Index, height: Index, body: Body) -> None:
    """Call ``body(y, x, lanes)`` over an image whose size is known only to the caller."""
    whole = tir_builder.let(tirx.floordiv(width, tir_builder.integer(LANES)))
    with tir_builder.serial(height) as y:
        with tir_builder.serial(whole) as step:
            body(y, step * LANES, LANES)
        with tir_builder.serial(width - whole * LANES) as rest:
            body(y, whole * LANES + rest, 1)


def _split(source: Buffer, begin: Index, parts: int, lanes: int) -> list[Expr]:
    """Return ``parts`` vectors of the bytes that alternate, uint16."""
    loaded = tir_builder.let(tir_builder.load(source, begin, parts * lanes))
    return [
        tir_builder.let(tir_builder.convert(_every(loaded, part, parts, lanes), 'uint16', lanes))
        for part in range(parts)
    ]


def _as_pairs(source: Buffer, begin: Index, lanes: int) -> Expr:
    """Return two bytes each as one number of 16 bits, the first one in its lower half."""
    loaded = tir_builder.load(source, begin, 2 * lanes)
    dtype = 'uint16' if lanes == 1 else f'uint16x{lanes}'
    return tir_builder.let(tirx.reinterpret(dtype, loaded))


def _luma_of_pixels(pixels: Buffer, begin: Index, luma: int, lanes: int) -> Expr:
    """Return luma of pixels of two bytes, uint16."""
    pairs = _as_pairs(pixels, begin, lanes)
    return _shifted(pairs, 8, lanes) if luma else tirx.bitwise_and(pairs, _splat(255, lanes))


def _sums_of_two_bytes(source: Buffer, begin: Index, lanes: int) -> Expr:
    """Return the sums of two bytes side by side, uint16."""
    pairs = _as_pairs(source, begin, lanes)
    return tirx.bitwise_and(pairs, _splat(255, lanes)) + _shifted(pairs, 8, lanes)


def _sums_of_neighbors(vector: Expr, lanes: int) -> Expr:
    """Return the sums of two numbers of a vector each, ``lanes`` of them."""
    vector = tir_builder.let(vector)
    return tir_builder.let(_every(vector, 0, 2, lanes) + _every(vector, 1, 2, lanes))


def _every(vector: Expr, first: int, step: int, lanes: int) -> Expr:
    """Return every ``step``-th number of a vector, ``lanes`` of them."""
    places = range(first, first + step * lanes, step)
    return tirx.Shuffle([vector], [tir_builder.integer(place) for place in places])


def _bgr(four: Expr, u: Expr, v: Expr, middle: float, lanes: int) -> list[Expr]:
    """Return blue, green and red of pixels, uint8.

    :param four: the sum of four numbers of luma, uint16; so ``u`` and ``v``, one each.
    :param middle: the value of ``u`` and ``v`` without color.
    """
    four, u, v = (tir_builder.let(part) for part in (four, u, v))
    gray = tir_builder.let(four * _splat(_LUMA, lanes) + _shifted(four, 2, lanes))
    gray = tir_builder.let(_shifted(gray, 1, lanes))

    def offset(factor: int) -> int:
        """Return what exceeds the color, for the sum of the factors of U and V."""
        return _ZERO + round(middle * factor) - _ROUND

    blue = gray + u * _splat(_BLUE_U, lanes)
    green = gray - u * _splat(_GREEN_U, lanes) - v * _splat(_GREEN_V, lanes)
    red = gray + v * _splat(_RED_V, lanes)
    return [
        _positive(blue, offset(_BLUE_U), lanes),
        _signed(green, offset(-_GREEN_U - _GREEN_V), lanes),
        _signed(red, offset(_RED_V), lanes),
    ]


def _positive(value: Expr, offset: int, lanes: int) -> Expr:
    """Return a color of a value that may exceed int16; negative ones are cut off first."""
    least = _splat(offset, lanes)
    value = _shifted(tirx.max(tir_builder.let(value), least) - least, _BITS, lanes)
    return tir_builder.let(
        tir_builder.convert(tirx.min(value, _splat(255, lanes)), 'uint8', lanes)
    )


def _signed(value: Expr, offset: int, lanes: int) -> Expr:
    """Return a color that fits into int16; until then the value may have overflowed."""
    value = tir_builder.let(
        tir_builder.convert(value - _splat(offset % (1 << 16), lanes), 'int16', lanes)
    )
    value = T.shift_right(value, tir_builder.constant(_BITS, 'int16', lanes))
    value = tirx.max(value, tir_builder.constant(0, 'int16', lanes))
    value = tirx.min(value, tir_builder.constant(255, 'int16', lanes))
    return tir_builder.let(tir_builder.convert(value, 'uint8', lanes))


def _stretched(twice: Expr, lanes: int) -> Expr:
    """Return gray of twice the luma: video levels become 0 to 255."""
    black, white = (_splat(2 * level, lanes) for level in (_BLACK, _WHITE))
    value = tirx.min(tirx.max(tir_builder.let(twice), black), white) - black
    value = value * _splat(_HALF_GAIN, lanes) + _splat(1 << (_HALF_BITS - 1), lanes)
    return tir_builder.let(tir_builder.convert(_shifted(value, _HALF_BITS, lanes), 'uint8', lanes))


def _store(target: Buffer, begin: Index, colors: list[Expr], lanes: int) -> None:
    """Write pixels in which the colors alternate."""
    if lanes == 1:
        for channel, color in enumerate(colors):
            tir_builder.store(target, begin + channel, color, 1)
        return
    order = [lanes * channel + pixel for pixel in range(lanes) for channel in range(CHANNELS)]
    pixels = tirx.Shuffle(colors, [tir_builder.integer(place) for place in order])
    tir_builder.store(target, begin, pixels, CHANNELS * lanes)


def _splat(value: int, lanes: int) -> Expr:
    return tir_builder.constant(value, 'uint16', lanes)


def _shifted(value: Expr, places: int, lanes: int) -> Expr:
    return T.shift_right(value, _splat(places, lanes))
