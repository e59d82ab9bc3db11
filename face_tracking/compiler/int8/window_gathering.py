# SPDX-License-Identifier: Apache-2.0
"""Gathering the bytes under a window of a few channels, so that fewer dot products are needed.

SDOT sums the products of four bytes. A row of a window of 3x3 pixels on an image has nine bytes,
so the window takes three times three products if its rows are multiplied one by one. One after the
other, its 27 bytes take seven. Each register of gathered bytes is made of two rows, by one
instruction that looks up bytes (TBL).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from face_tracking.arrays import IntArray
from face_tracking.compiler import tir_builder
from face_tracking.compiler.graph import Window
from face_tracking.compiler.row_kernels import FeatureMapBuffer
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tir_builder import Buffer, Expr, Index, tirx

BYTES = 16
"""Of a register."""
QUAD = 4
"""Bytes of which one product of SDOT is the sum."""
TOGETHER = 4
"""Windows that are gathered in one turn of the loop."""


class GatheredRegister(NamedTuple):
    """How a register of gathered bytes is made.

    :ivar rows: of the window, from which the bytes come.
    :ivar places: int8 (16,), the place of each byte in these two rows; from 16 on in the second.
    """

    rows: tuple[int, int]
    places: IntArray


def is_gathered(machine: Machine, window: Window, channels: int) -> bool:
    """Return whether the windows of a dense convolution are gathered.

    :param channels: of the map that the window is on.
    """
    run = window.size[1] * channels
    return (
        machine.lane_products
        and window.size[0] > 1
        and window.dilation[1] == 1
        and BYTES // 2 < run < BYTES
        and run % QUAD > 0
        and all(_last_row(window, run, first) - first // run < 2 for first in _begins(window, run))
    )


def gathered_size(window: Window, channels: int) -> int:
    """Return the number of bytes that a gathered window occupies: whole registers."""
    return BYTES * len(_begins(window, window.size[1] * channels))


def gathered_registers(window: Window, channels: int) -> list[GatheredRegister]:
    """Return how each register of a window is made, see :func:`is_gathered`."""
    run = window.size[1] * channels
    found = []
    for first in _begins(window, run):
        rows, places = np.divmod(np.arange(first, first + BYTES), run)
        row = first // run
        # The weights of what follows the window are 0.
        places = np.where(rows < window.size[0], places + BYTES * (rows - row), 0)
        found.append(
            GatheredRegister((row, _last_row(window, run, first)), places.astype(np.int8))
        )
    return found


def _begins(window: Window, run: int) -> range:
    """Return the first byte of each register.

    :param run: bytes of a row of the window.
    """
    return range(0, window.size[0] * run, BYTES)


def _last_row(window: Window, run: int, first: int) -> int:
    """Return the row of the last byte of the window in the register that begins with ``first``."""
    return (min(first + BYTES, window.size[0] * run) - 1) // run


def emit_gathering(
    source: FeatureMapBuffer,
    rows: list[Expr],
    target: FeatureMapBuffer,
    window: Window,
    constants: Buffer,
    place: int,
) -> None:
    """Emit a copy of the bytes of each window of a row, one window after the other.

    :param rows: where each row of the windows begins in ``source``, a line buffer.
    :param target: a line buffer of one row with :func:`gathered_size` channels.
    :param place: where the places of all registers are in ``constants``, int8.
    """
    channels, size = source.shape.channels, target.shape.channels
    start = tir_builder.let(target.row(0))
    registers = gathered_registers(window, channels)
    orders = [
        tir_builder.let(tir_builder.load(constants, place + number * BYTES, BYTES))
        for number in range(len(registers))
    ]

    def tile(first: Index, count: int) -> None:
        begin = (first * window.stride[1] - window.padding[1]) * channels
        for pixel in range(count):
            column = begin + pixel * window.stride[1] * channels
            lines = [
                tir_builder.let(tir_builder.load(source.buffer, row + column, BYTES))
                for row in rows
            ]
            at = start + first * size + pixel * size
            for number, (register, order) in enumerate(zip(registers, orders, strict=True)):
                above, below = (lines[row] for row in register.rows)
                whole = tirx.call_llvm_pure_intrin(
                    'int8x16', 'llvm.aarch64.neon.tbl2.v16i8', above, below, order
                )
                tir_builder.store(target.buffer, at + number * BYTES, whole, BYTES)

    tir_builder.tiled(target.shape.width, TOGETHER, tile)
