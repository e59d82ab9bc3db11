# SPDX-License-Identifier: Apache-2.0
"""Halving an image, as a compiled function beside the network in its library.

Camera images of 640x480 pixels are halved for an input of 320x240, which takes OpenCV a sixth of
the network's time. Each pixel becomes the rounded mean of four, bit by bit the same as OpenCV's.
"""

from __future__ import annotations

from typing import cast

from tvm.script.ir_builder import IRBuilder
from tvm.tirx import PrimFunc

from face_tracking.compiler import tir_builder
from face_tracking.compiler.artifact import DOWNSCALE
from face_tracking.compiler.tir_builder import Buffer, Index, T, tirx

CHANNELS = 3
STEP = 48
"""Numbers of the large image that become one vector of half as many; a multiple of 6."""


def downscale_function(width: int, height: int) -> PrimFunc:
    """Return the TIR function ``downscale(image, half)``.

    Both images are uint8 with three numbers for each pixel, row by row.

    :param width: of the half in pixels, like ``height``.
    """
    row = 2 * width * CHANNELS
    with IRBuilder() as builder, T.prim_func():
        T.func_name(DOWNSCALE)
        T.func_attr({'tirx.noalias': True, 'global_symbol': DOWNSCALE})
        image = T.arg('image', T.buffer((2 * height * row,), 'uint8', align=1))
        half = T.arg('half', T.buffer((height * row // 2,), 'uint8', align=1))
        with tir_builder.serial(height) as y:
            source, target = tir_builder.let(2 * y * row), tir_builder.let(y * (row // 2))
            # The last vector would read three numbers beyond the image.
            whole = max((row - 1) // STEP, 0)
            with tir_builder.serial(whole) as step:
                _mean(image, half, source + step * STEP, target + step * (STEP // 2), row, STEP)
            with tir_builder.serial((row - whole * STEP) // (2 * CHANNELS)) as pixel:
                for channel in range(CHANNELS):
                    _mean(
                        image,
                        half,
                        source + whole * STEP + pixel * 2 * CHANNELS + channel,
                        target + whole * STEP // 2 + pixel * CHANNELS + channel,
                        row,
                        1,
                    )
    return cast('PrimFunc', builder.get())


def _mean(image: Buffer, half: Buffer, source: Index, target: Index, row: int, lanes: int) -> None:
    """Write the means of ``lanes`` numbers, of which those of every other pixel are kept."""
    total = tir_builder.splat(tirx.const(2, 'uint16'), lanes)
    for offset in (0, CHANNELS, row, row + CHANNELS):
        total = total + tir_builder.convert(
            tir_builder.load(image, source + offset, lanes), 'uint16', lanes
        )
    shift = tir_builder.splat(tirx.const(2, 'uint16'), lanes)
    mean = tir_builder.let(tir_builder.convert(T.shift_right(total, shift), 'uint8', lanes))
    if lanes == 1:
        tir_builder.store(half, target, mean, 1)
        return
    kept = [
        first + channel for first in range(0, lanes, 2 * CHANNELS) for channel in range(CHANNELS)
    ]
    tir_builder.store(
        half,
        target,
        tirx.Shuffle([mean], [tir_builder.integer(place) for place in kept]),
        lanes // 2,
    )
