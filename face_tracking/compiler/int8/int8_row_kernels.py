# SPDX-License-Identifier: Apache-2.0
"""Kernels that compute one row of a feature map in integers; see `quantization`.

If the processor multiplies two signed bytes (NEON's SDOT), maps of 8 bits are stored lower by 128,
and the difference is part of the bias.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from face_tracking.arrays import Array, IntArray
from face_tracking.compiler import tir_builder
from face_tracking.compiler.graph import Activation, Window
from face_tracking.compiler.int8.quantization import ONE, STEP_BITS, QuantDense, QuantDepthwise
from face_tracking.compiler.int8.window_gathering import QUAD, emit_gathering
from face_tracking.compiler.row_kernels import ChannelGroup, FeatureMapBuffer, RowKernels, Sums
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tir_builder import Buffer, Expr, Index, T, tirx

UNROLLED_BLOCKS = 4
"""Most blocks of inputs in one turn of the loop over them."""
SHIFT = 128
MAX_TILE = 16


class Arithmetic:
    """The instructions of one machine, for vectors of every length that the kernels need."""

    def __init__(self, machine: Machine):
        self.kind = machine.dot
        self.signed = machine.dot == 'sdot'
        self.byte = 'int8' if self.signed else 'uint8'
        """The type in which maps of 8 bits are stored."""

    def dot(self, sums: Expr, inputs: Expr, weights: Expr, lanes: int) -> Expr:
        """Return ``sums``, int32, plus the products of four neighbors each.

        :param inputs: int32, four bytes of a pixel, the same in every lane.
        :param weights: int8, four for each lane.
        """
        data = tirx.reinterpret(f'{"int8" if self.signed else "uint8"}x{QUAD * lanes}', inputs)
        if self.kind == 'sdot':
            return intrinsic(
                f'int32x{lanes}', 'llvm.aarch64.neon.sdot.v4i32.v16i8', sums, weights, data
            )
        bits = 32 * lanes
        if self.kind == 'vnni':
            return intrinsic(
                f'int32x{lanes}', f'llvm.x86.avx512.vpdpbusd.{bits}', sums, data, weights
            )
        pairs, fours = {
            128: ('llvm.x86.ssse3.pmadd.ub.sw.128', 'llvm.x86.sse2.pmadd.wd'),
            256: ('llvm.x86.avx2.pmadd.ub.sw', 'llvm.x86.avx2.pmadd.wd'),
            512: ('llvm.x86.avx512.pmaddubs.w.512', 'llvm.x86.avx512.pmaddw.d.512'),
        }[bits]
        pairs = intrinsic(f'int16x{2 * lanes}', pairs, data, weights)
        ones = tir_builder.constant(1, 'int16', 2 * lanes)
        return sums + intrinsic(f'int32x{lanes}', fours, pairs, ones)

    def product(self, left: Expr, right: Expr, lanes: int) -> Expr:
        """Return the rounded product of 16-bit fractions."""
        name = (
            {8: 'llvm.aarch64.neon.sqrdmulh.v8i16'}
            if self.signed
            else {
                8: 'llvm.x86.ssse3.pmul.hr.sw.128',
                16: 'llvm.x86.avx2.pmul.hr.sw',
                32: 'llvm.x86.avx512.pmul.hr.sw.512',
            }
        ).get(lanes)
        if name:
            return intrinsic(f'int16x{lanes}', name, left, right)
        whole = tir_builder.convert(left, 'int32', lanes) * tir_builder.convert(
            right, 'int32', lanes
        )
        whole = (whole + tir_builder.constant(1 << 14, 'int32', lanes)) >> tir_builder.constant(
            15, 'int32', lanes
        )
        return tir_builder.convert(whole, 'int16', lanes)

    def add(self, left: Expr, right: Expr, lanes: int) -> Expr:
        """Return the sum of 16-bit numbers, saturated."""
        return intrinsic('int16' if lanes == 1 else f'int16x{lanes}', 'llvm.sadd.sat', left, right)

    def multiply_add(self, total: Expr, left: Expr, right: Expr, lanes: int) -> Expr:
        """Return ``total`` plus the rounded product of 16-bit fractions."""
        if self.signed and lanes == 8:
            return intrinsic('int16x8', 'llvm.aarch64.neon.sqrdmlah.v8i16', total, left, right)
        return self.add(total, self.product(left, right, lanes), lanes)

    def rescaled(self, sums: Expr, gain: Expr, lanes: int, positive: bool) -> Expr:
        """Return int32 sums times a gain, rounded.

        :param gain: float32, or on NEON 32-bit fractions.
        :param positive: negative sums may be rounded wrongly, because they are clipped later.
        """
        if self.signed:
            return intrinsic(f'int32x{lanes}', 'llvm.aarch64.neon.sqrdmulh.v4i32', sums, gain)
        number = tir_builder.convert(sums, 'float32', lanes) * gain + tir_builder.constant(
            0.5, 'float32', lanes
        )
        return tir_builder.convert(number if positive else tirx.floor(number), 'int32', lanes)

    def narrowed(self, sums: Expr, shift: int) -> Expr:
        """Return NEON's int32 sums shifted right, rounded, as 16-bit numbers, saturated."""
        if not shift:
            return intrinsic('int16x4', 'llvm.aarch64.neon.sqxtn.v4i16', sums)
        return intrinsic(
            'int16x4', 'llvm.aarch64.neon.sqrshrn.v4i16', sums, tirx.const(shift, 'int32')
        )

    def clipped(self, value: Expr, source: str, dtype: str, lanes: int, low: int) -> Expr:
        """Return integers in a narrower type, clipped to ``low`` and the maximum of the type."""
        high = np.iinfo(dtype).max
        value = tirx.max(
            tirx.min(value, tir_builder.constant(high, source, lanes)),
            tir_builder.constant(low, source, lanes),
        )
        return tir_builder.convert(value, dtype, lanes)

    def stepped(self, value: Expr, lanes: int) -> Expr:
        """Return the 16-bit sums of a depthwise convolution as bytes of a map.

        If these are signed, the bias has already shifted the sums.
        """
        if self.signed and lanes == 8:
            return intrinsic(
                'int8x8', 'llvm.aarch64.neon.sqrshrn.v8i8', value, tirx.const(STEP_BITS, 'int32')
            )
        step = tir_builder.constant(ONE >> STEP_BITS, 'int16', lanes)
        value = self.product(value, step, lanes)
        return self.clipped(value, 'int16', self.byte, lanes, np.iinfo(self.byte).min)

    def byte_of(self, value: Expr, lanes: int) -> Expr:
        """Return 16-bit numbers as bytes of a map, clipped to 0 and 255."""
        value = self.clipped(value, 'int16', 'uint8', lanes, 0)
        return self.shifted(value, lanes)

    def shifted(self, value: Expr, lanes: int) -> Expr:
        """Return unsigned bytes as they are stored in a map of 8 bits."""
        if not self.signed:
            return value
        flipped = tirx.bitwise_xor(value, tir_builder.constant(SHIFT, 'uint8', lanes))
        return tirx.reinterpret('int8' if lanes == 1 else f'int8x{lanes}', flipped)


def intrinsic(dtype: str, name: str, *arguments: Expr) -> Expr:
    """Return what an intrinsic function of LLVM computes."""
    return tirx.call_llvm_pure_intrin(dtype, name, *arguments)


def joined(vectors: list[Expr], lanes: int) -> Expr:
    """Return the concatenation of vectors of ``lanes`` numbers."""
    if len(vectors) == 1:
        return vectors[0]
    places = [tirx.const(index, 'int32') for index in range(lanes * len(vectors))]
    return tirx.Shuffle(vectors, places)


def part_of(vector: Expr, first: int, lanes: int) -> Expr:
    """Return ``lanes`` numbers of a vector."""
    return tirx.Shuffle([vector], [tirx.const(first + lane, 'int32') for lane in range(lanes)])


def tile_of(machine: Machine, channels: int, width: int) -> tuple[int, list[ChannelGroup]]:
    """Return the pixels and the groups of channel vectors of a dense tile."""
    vectors = tir_builder.vectors(channels, machine.vector_bits // 32)
    widest = min(4 if machine.registers >= 32 else 2, len(vectors))
    groups: list[ChannelGroup] = [
        vectors[first : first + widest] for first in range(0, len(vectors), widest)
    ]
    if machine.lane_products:
        most = (machine.registers - widest) // (widest + 1)
    else:
        spare = 2 if machine.dot == 'pmadd' else 0
        most = (machine.registers - widest - 1 - spare) // widest
    tiles = -(-width // max(1, min(most, MAX_TILE, width)))
    return -(-width // tiles), groups


def equal_groups(groups: list[ChannelGroup]) -> list[tuple[ChannelGroup, int]]:
    """Return the groups that differ from the one before in their vectors, and how many follow.

    The number includes the group itself.
    """
    found: list[tuple[ChannelGroup, int]] = []
    for _, equal in itertools.groupby(groups, lambda group: [vector[1] for vector in group]):
        alike = list(equal)
        found.append((alike[0], len(alike)))
    return found


def pack_quant_dense(weights: IntArray, groups: list[ChannelGroup], columns: int) -> IntArray:
    """Return int8 weights (kh, kw, in, out) in the order of `IntegerKernels.quant_dense`.

    :param columns: number of neighboring columns that are read as one run of bytes; each run is
        padded to a multiple of four with weights of 0.
    """
    height, width, inputs, outputs = weights.shape
    runs = weights.reshape(height * width // columns, columns * inputs, outputs)
    quads = -(-runs.shape[1] // QUAD)
    padded = np.zeros((len(runs), quads * QUAD, outputs), np.int8)
    padded[:, : runs.shape[1]] = runs
    fours = padded.reshape(len(runs), quads, QUAD, outputs).transpose(0, 1, 3, 2)
    return np.concatenate([fours[:, :, group[0][0] : sum(group[-1])].ravel() for group in groups])


def copies_of_bias(machine: Machine, pixels: int) -> int:
    """Return how many copies of the bias the constants of a dense tile contain.

    NEON loads two registers at once, which is faster than to copy one register twice.
    """
    return pixels if machine.lane_products else 1


def pack_bias(bias: IntArray, machine: Machine, pixels: int, groups: list[ChannelGroup]) -> Array:
    """Return the bias in the order of `IntegerKernels.quant_dense`, group by group.

    :param bias: int32 (channels,).
    """
    copies = copies_of_bias(machine, pixels)
    parts = [bias[group[0][0] : sum(group[-1])] for group in groups]
    return np.concatenate([np.tile(part, copies) for part in parts])


def run_columns(window: Window) -> int:
    """Return how many columns of a window are adjacent in memory."""
    return window.size[1] if window.dilation[1] == 1 else 1


def quant_dense_constants(layer: QuantDense, dtype: str, signed: bool) -> dict[str, Array]:
    """Return the bias, int32, and the gains of a dense convolution for its kernel by name.

    :param dtype: of the result: ``uint8``, ``int16`` or ``float32``.
    :param signed: maps of 8 bits are stored lower by 128, and gains are 32-bit fractions.
    """
    bias, gain = layer.bias.astype(np.int64), layer.gain
    if signed:
        bias = bias + SHIFT * layer.weights.astype(np.int64).sum((0, 1, 2))
        if dtype == 'uint8':
            bias = bias - np.rint(SHIFT / gain).astype(np.int64)
    elif layer.shift and dtype == 'int16':
        bias = bias + (1 << layer.shift - 1)  # NEON's shift rounds, others do not
    found: dict[str, Array] = {'bias': np.clip(bias, -(1 << 31), (1 << 31) - 1).astype(np.int32)}
    for name, value in (('gain', gain), ('negative_gain', layer.negative_gain)):
        if value is None:
            continue
        if dtype == 'float32' or not signed:
            found[name] = value.astype(np.float32)
        else:
            found[name] = np.minimum(np.rint(value * 2.0**31), 2.0**31 - 1).astype(np.int32)
    return found


@dataclass(frozen=True)
class Views:
    """The bytes of a function's constants as numbers of each type."""

    int8: Buffer
    int16: Buffer
    int32: Buffer
    float16: Buffer
    float32: Buffer

    def of(self, dtype: str) -> Buffer:
        """Return the constants as numbers of one type."""
        return getattr(self, dtype)


class IntegerKernels(RowKernels):
    """Emits row kernels in integers. Places of constants are indices in their own type.

    :param real: the type of floating-point values, ``float16`` or ``float32``.
    """

    middle = 'int16'
    """The type of maps of 16 bits."""

    def __init__(self, machine: Machine, real: str, views: Views, opaque_one: Index):
        super().__init__(machine, real, views.of(real), opaque_one)
        self.views, self.arithmetic, self.real = views, Arithmetic(machine), real

    def fill(self, plane: FeatureMapBuffer, index: Index, count: int, value: float) -> None:
        """Set ``count`` elements, starting at ``index``."""
        lanes = self._lanes(plane.dtype)
        tir_builder.for_vectors(
            count,
            lanes,
            lambda offset, width: tir_builder.store(
                plane.buffer,
                index + offset,
                tir_builder.constant(value, plane.dtype, width),
                width,
            ),
        )

    def _lanes(self, dtype: str) -> int:
        return self.machine.vector_bits // np.dtype(dtype).itemsize // 8

    # Dense convolutions

    def quant_dense(
        self,
        source: FeatureMapBuffer,
        target: FeatureMapBuffer,
        row: Index,
        window: Window,
        places: dict[str, int],
        positive: bool,
        shift: int | None = None,
        inputs: int | None = None,
    ) -> None:
        """Emit a dense convolution, in register tiles of 32-bit sums.

        :param shift: see `QuantDense`; None if each channel has a gain.
        :param inputs: channels of ``source`` that are read; all of them if not given.
        """
        channels, width = target.shape.channels, target.shape.width
        pixels, groups = tile_of(self.machine, channels, width)
        start = tir_builder.let(target.row(row))
        columns = run_columns(window)
        quads = -(-columns * (inputs or source.shape.channels) // QUAD)
        bases = self._rows_of_window(source, row, window, quads, len(groups[0]))
        runs = window.size[0] * window.size[1] // columns
        panel, bias = places['weights'], places['bias']

        def tiles(group: ChannelGroup, panel: Expr, bias: Index) -> None:
            def tile(first: Index, count: int) -> None:
                column = (first * window.stride[1] - window.padding[1]) * source.shape.channels
                sums = self._integer_sums(self._kept_in_loop(bias, first), group, count)
                weights = self._kept_in_loop(panel, first)
                self._dot_runs(source, window, bases, column, weights, quads, group, sums)
                at = start + first * channels
                if shift is None:
                    self._write_sums(sums, group, target, at, places, positive)
                else:
                    self._write_shifted(sums, group, target, at, places, shift, positive)

            tir_builder.tiled(width, pixels, tile)

        for group, count in equal_groups(groups):
            size = sum(lanes for _, lanes in group)
            panel_size = runs * quads * QUAD * size
            bias_size = copies_of_bias(self.machine, pixels) * size
            # A value that LLVM does not know stays in a register. As a constant offset in each
            # address it would be too large for the instructions that load two registers.
            start_of_panel = tir_builder.let(tir_builder.wide(panel * self.opaque_one))
            if count == 1:
                tiles(group, start_of_panel, bias)
            else:
                with tir_builder.serial(count) as turn:
                    number = tir_builder.let(tir_builder.wide(turn))
                    moved = [(number * size + offset, lanes) for offset, lanes in group]
                    tiles(
                        moved,
                        tir_builder.let(start_of_panel + number * panel_size),
                        tir_builder.let(number * bias_size + bias),
                    )
            panel += count * panel_size
            bias += count * bias_size

    def _kept_in_loop(self, place: Index, first: Index) -> Index:
        """Return the place of constants of a tile, which are the same for all tiles.

        LLVM does not know that they are. It would load them before the loop, into more registers
        than the processor has, and keep them on the stack.

        :param first: pixel of the tile.
        """
        if not self.machine.lane_products:
            return place
        one = tir_builder.wide(self.opaque_one)
        return tir_builder.let(tir_builder.wide(first) * (one - 1) + place * one)

    def _integer_sums(self, bias_at: Index, group: ChannelGroup, count: int) -> Sums:
        """Return a register for each pixel of each vector of channels, which contains the bias."""
        size = sum(lanes for _, lanes in group)
        sums: Sums = []
        for offset, lanes in group:
            at = bias_at + offset - group[0][0]
            registers = [T.alloc_buffer((lanes,), 'int32') for _ in range(count)]
            biases = [
                tir_builder.let(tir_builder.load(self.views.int32, at + copy * size, lanes))
                for copy in range(copies_of_bias(self.machine, count))
            ]
            for pixel, register in enumerate(registers):
                tir_builder.store(register, 0, biases[pixel % len(biases)], lanes)
            sums.append(registers)
        return sums

    def _dot_runs(
        self,
        source: FeatureMapBuffer,
        window: Window,
        rows: list[Expr] | Buffer,
        column: Index,
        panel: Expr,
        quads: int,
        group: ChannelGroup,
        sums: Sums,
    ) -> None:
        channels = source.shape.channels
        size = QUAD * sum(lanes for _, lanes in group)
        columns = range(0, window.size[1], run_columns(window))

        def run_row(row: Expr, panel: Expr) -> None:
            for tap in columns:
                starts = [
                    row + column + (tap * window.dilation[1] + pixel * window.stride[1]) * channels
                    for pixel in range(len(sums[0]))
                ]
                self._dot_run(source, starts, quads, panel, size, group, sums)
                panel = panel + quads * size

        if not isinstance(rows, list):
            with tir_builder.serial(T.max(window.size[0] * self.opaque_one, 1)) as tap_row:
                run_row(
                    tir_builder.let(rows[tap_row]),
                    tir_builder.let(
                        tir_builder.wide(tap_row * (len(columns) * quads * size) + panel)
                    ),
                )
            return
        for number, row in enumerate(rows):
            run_row(row, panel + number * len(columns) * quads * size)

    def _rows_of_window(
        self, source: FeatureMapBuffer, row: Index, window: Window, quads: int, vectors: int
    ) -> list[Expr] | Buffer:
        """Return the starts of the rows under a window: a list, or a buffer for a loop.

        A loop is needed if there are more weights than registers; LLVM would load all of them
        before the first product.
        """
        bases = self._window_rows(source, row, window)
        runs = window.size[1] // run_columns(window)
        if len(bases) == 1 or len(bases) * runs * quads * vectors < self.machine.registers:
            return bases
        kept = T.alloc_buffer((len(bases),), 'int64')
        for number, base in enumerate(bases):
            tir_builder.store(kept, number, base, 1)
        return kept

    def _dot_run(
        self,
        source: FeatureMapBuffer,
        starts: list[Expr],
        quads: int,
        panel: Expr,
        size: int,
        group: ChannelGroup,
        sums: Sums,
    ) -> None:
        step = QUAD if self.machine.lane_products else 1
        whole = quads // step
        unrolled = largest_divisor(whole, UNROLLED_BLOCKS if self.machine.lane_products else 1)
        if whole <= UNROLLED_BLOCKS:
            for block in range(whole):
                self._quads(source, starts, block * step, step, panel, size, group, sums)
        else:
            # The maximum removes LLVM's check for a loop of length 0.
            with tir_builder.serial(T.max(whole // unrolled * self.opaque_one, 1)) as turn:
                for block in range(unrolled):
                    # In 64 bits, offsets become part of the address and need no instruction.
                    first = (tir_builder.wide(turn) * unrolled + block) * step
                    self._quads(source, starts, first, step, panel, size, group, sums)
        rest = quads - whole * step
        if rest > 1 and source.slots:  # line buffers have a few more bytes
            self._quads(source, starts, whole * step, rest, panel, size, group, sums)
            return
        for quad in range(whole * step, quads):
            self._quads(source, starts, quad, 1, panel, size, group, sums)

    def _quads(
        self,
        source: FeatureMapBuffer,
        starts: list[Expr],
        first: Index,
        count: int,
        panel: Expr,
        size: int,
        group: ChannelGroup,
        sums: Sums,
    ) -> None:
        """Add the products of ``count`` fours of inputs, of one vector if more than one."""
        words = QUAD if count > 1 else 1
        inputs = [
            tir_builder.let(
                tirx.reinterpret(
                    'int32' if words == 1 else f'int32x{words}',
                    tir_builder.load(source.buffer, start + first * QUAD, QUAD * words),
                )
            )
            for start in starts
        ]
        for quad in range(count):
            at = panel + (first + quad) * size
            for part, registers in self._parts(group, sums):
                weights = self._weights(at, part)
                at = at + QUAD * sum(lanes for _, lanes in part)
                for pixel, word in enumerate(inputs):
                    number = tir_builder.lane(word, quad) if words > 1 else word
                    for by_pixel, weight, (_, lanes) in zip(registers, weights, part, strict=True):
                        register = by_pixel[pixel]
                        value = self.arithmetic.dot(
                            tir_builder.load(register, 0, lanes),
                            tir_builder.splat(number, lanes),
                            weight,
                            lanes,
                        )
                        tir_builder.store(register, 0, value, lanes)

    def _parts(self, group: ChannelGroup, sums: Sums) -> list[tuple[ChannelGroup, Sums]]:
        """Split a group and its sums into the vectors whose weights are in registers together.

        With weights of more vectors, LLVM keeps inputs of a tile on the stack on NEON. On x86,
        weights are read from memory by the product itself.
        """
        most = 2 if self.machine.lane_products else len(group)
        return [
            (group[first : first + most], sums[first : first + most])
            for first in range(0, len(group), most)
        ]

    def _weights(self, at: Expr, group: ChannelGroup) -> list[Expr]:
        """Return the weight vectors of a group; on NEON, one load fills two."""
        vectors: list[Expr] = []
        pairs = 2 if self.machine.lane_products else 1
        for first in range(0, len(group), pairs):
            lanes = [QUAD * count for _, count in group[first : first + pairs]]
            whole = tir_builder.let(tir_builder.load(self.views.int8, at, sum(lanes)))
            begins = [sum(lanes[:number]) for number in range(len(lanes))]
            vectors += [
                whole if len(lanes) == 1 else tir_builder.let(part_of(whole, begin, count))
                for begin, count in zip(begins, lanes, strict=True)
            ]
            at = at + sum(lanes)
        return vectors

    def _write_sums(
        self,
        sums: Sums,
        group: ChannelGroup,
        target: FeatureMapBuffer,
        start: Expr,
        places: dict[str, int],
        positive: bool,
    ) -> None:
        gain_type = 'int32' if self.arithmetic.signed and target.dtype != self.real else 'float32'
        by_sign = [
            [
                tir_builder.let(
                    tir_builder.load(self.views.of(gain_type), places[name] + offset, lanes)
                )
                for offset, lanes in group
            ]
            for name in ('gain', 'negative_gain')
            if name in places
        ]
        for pixel in range(len(sums[0])):
            at = start + pixel * target.shape.channels
            values = [
                tir_builder.load(registers[pixel], 0, lanes)
                for registers, (_, lanes) in zip(sums, group, strict=True)
            ]
            gains = by_sign[0]
            if len(by_sign) > 1:
                values = [tir_builder.let(value) for value in values]
                gains = [
                    tirx.Select(value < tir_builder.constant(0, 'int32', lanes), negative, gain)
                    for value, gain, negative, (_, lanes) in zip(
                        values, *by_sign, group, strict=True
                    )
                ]
            if target.dtype == self.real:
                self._write_reals(values, gains, group, target, at, positive)
            elif self.arithmetic.signed:
                self._write_pairs(values, gains, group, target, at, positive)
            else:
                for value, gain, (offset, lanes) in zip(values, gains, group, strict=True):
                    scaled = tir_builder.let(
                        self.arithmetic.rescaled(value, gain, lanes, positive)
                    )
                    low = 0 if positive else np.iinfo(target.dtype).min
                    tir_builder.store(
                        target.buffer,
                        at + offset,
                        self.arithmetic.clipped(scaled, 'int32', target.dtype, lanes, low),
                        lanes,
                    )

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
        """Write sums to a map of 16 bits."""
        for pixel in range(len(sums[0])):
            at = start + pixel * target.shape.channels
            values = [
                tir_builder.load(registers[pixel], 0, lanes)
                for registers, (_, lanes) in zip(sums, group, strict=True)
            ]
            if self.arithmetic.signed:
                halves = [
                    tir_builder.let(self.arithmetic.narrowed(value, shift)) for value in values
                ]
                self._write_halves(halves, group, target, at, positive)
                continue
            for value, (offset, lanes) in zip(values, group, strict=True):
                shifted = value >> tir_builder.constant(shift, 'int32', lanes)
                low = 0 if positive else np.iinfo('int16').min
                tir_builder.store(
                    target.buffer,
                    at + offset,
                    self.arithmetic.clipped(shifted, 'int32', 'int16', lanes, low),
                    lanes,
                )

    def _write_reals(
        self,
        values: list[Expr],
        gains: list[Expr],
        group: ChannelGroup,
        target: FeatureMapBuffer,
        at: Expr,
        positive: bool,
    ) -> None:
        for value, gain, (offset, lanes) in zip(values, gains, group, strict=True):
            tir_builder.store(
                target.buffer, at + offset, self._real_of(value, gain, lanes, positive), lanes
            )

    def _real_of(self, value: Expr, gain: Expr, lanes: int, positive: bool = False) -> Expr:
        """Return integers times a float32 gain."""
        value = tir_builder.convert(value, 'float32', lanes) * gain
        if positive:
            value = tirx.max(value, tir_builder.constant(0.0, 'float32', lanes))
        return value if self.real == 'float32' else tir_builder.convert(value, self.real, lanes)

    def _write_pairs(
        self,
        values: list[Expr],
        gains: list[Expr],
        group: ChannelGroup,
        target: FeatureMapBuffer,
        at: Expr,
        positive: bool,
    ) -> None:
        """Emit NEON's narrowing: two vectors of 4 become one of 8, two of these one of 16."""
        halves = [
            tir_builder.let(
                intrinsic(
                    'int16x4',
                    'llvm.aarch64.neon.sqxtn.v4i16',
                    self.arithmetic.rescaled(value, gain, 4, positive),
                )
            )
            for value, gain in zip(values, gains, strict=True)
        ]
        self._write_halves(halves, group, target, at, positive)

    def _write_halves(
        self,
        halves: list[Expr],
        group: ChannelGroup,
        target: FeatureMapBuffer,
        at: Expr,
        positive: bool,
    ) -> None:
        """Write vectors of 4 numbers of 16 bits, two or four at a time."""
        pairs = [halves[first : first + 2] for first in range(0, len(halves), 2)]
        vectors = tir_builder.vectors(4 * len(halves), 8)
        wholes = [joined(pair, 4) for pair in pairs]
        at = at + group[0][0]
        if target.dtype == 'int16':
            for whole, (offset, lanes) in zip(wholes, vectors, strict=True):
                zero = tir_builder.constant(0, 'int16', lanes)
                value = tirx.max(whole, zero) if positive else whole
                tir_builder.store(target.buffer, at + offset, value, lanes)
            return
        narrow = [
            self._narrowed(whole, lanes) for whole, (_, lanes) in zip(wholes, vectors, strict=True)
        ]
        self._store_joined(narrow, vectors, target, at)

    @staticmethod
    def _narrowed(value: Expr, lanes: int) -> Expr:
        """Return 4 or 8 numbers of 16 bits as signed bytes."""
        if lanes == 4:
            value = joined([value, value], 4)
        value = tir_builder.let(intrinsic('int8x8', 'llvm.aarch64.neon.sqxtn.v8i8', value))
        if lanes == 4:
            value = part_of(value, 0, 4)
        return value

    def gather(
        self,
        source: FeatureMapBuffer,
        target: FeatureMapBuffer,
        row: Index,
        window: Window,
        place: int,
    ) -> None:
        """Emit the gathering of the windows of a row, see `window_gathering`.

        :param place: where the places of the bytes are among the constants.
        """
        rows = self._window_rows(source, row, window)
        emit_gathering(source, rows, target, window, self.views.int8, place)

    # Depthwise convolutions

    def quant_depthwise(
        self,
        source: FeatureMapBuffer,
        target: FeatureMapBuffer,
        row: Index,
        window: Window,
        places: dict[str, int],
        positive: bool,
    ) -> None:
        """Emit a convolution of each channel separately, in 16 bits."""
        channels = target.shape.channels
        bases = self._window_rows(source, row, window)
        start = tir_builder.let(target.row(row))
        lanes = self._lanes('int16')
        together = 2 if self.machine.lane_products else 1
        count_taps = window.size[0] * window.size[1]
        pixels = max(1, min(8 // together, (self.machine.registers - 2) // together - count_taps))

        def channel(offset: Index, width: int) -> None:
            vectors = tir_builder.vectors(width, lanes)

            def tile(first: Index, count: int) -> None:
                column = (first * window.stride[1] - window.padding[1]) * channels
                self._depthwise_int_tile(
                    source,
                    [base + column + offset for base in bases],
                    window,
                    places,
                    offset,
                    vectors,
                    count,
                    target,
                    start + first * channels + offset,
                    positive,
                )

            tir_builder.tiled(target.shape.width, pixels, tile)

        tir_builder.for_vectors(channels, together * lanes, channel)

    def _depthwise_int_tile(
        self,
        source: FeatureMapBuffer,
        starts: list[Expr],
        window: Window,
        places: dict[str, int],
        offset: Index,
        vectors: ChannelGroup,
        count: int,
        target: FeatureMapBuffer,
        at: Expr,
        positive: bool,
    ) -> None:
        channels, constants = target.shape.channels, self.views.of(self.middle)
        sums: Sums = []
        weights: list[list[Expr]] = []
        for shift, lanes in vectors:
            sums.append(self._depthwise_sums(places['bias'] + offset + shift, lanes, count))
            weights.append(
                [
                    tir_builder.let(
                        tir_builder.load(
                            constants, places['weights'] + tap * channels + offset + shift, lanes
                        )
                    )
                    for tap in range(window.size[0] * window.size[1])
                ]
            )
        last = (count - 1) * window.stride[1] + window.reach(1)
        for tap_row, start in enumerate(starts):
            for column in range(last):
                uses = [
                    (pixel, tap)
                    for tap in range(window.size[1])
                    for pixel in range(count)
                    if pixel * window.stride[1] + tap * window.dilation[1] == column
                ]
                if not uses:
                    continue
                values = [
                    tir_builder.let(
                        tir_builder.load(source.buffer, start + column * channels + shift, lanes)
                    )
                    for shift, lanes in vectors
                ]
                for pixel, tap in uses:
                    for registers, own, value, (_, lanes) in zip(
                        sums, weights, values, vectors, strict=True
                    ):
                        number = tap_row * window.size[1] + tap
                        self._add_product(registers[pixel], value, own[number], lanes, number == 0)
        self._write_depthwise(sums, vectors, places, offset, target, at, positive)

    def _depthwise_sums(self, bias_at: Index, lanes: int, count: int) -> list[Buffer]:
        """Return a register for each pixel, which contains the bias."""
        bias = tir_builder.let(tir_builder.load(self.views.int16, bias_at, lanes))
        registers = [T.alloc_buffer((lanes,), 'int16') for _ in range(count)]
        for register in registers:
            tir_builder.store(register, 0, bias, lanes)
        return registers

    def _add_product(
        self, register: Buffer, value: Expr, weight: Expr, lanes: int, first: bool
    ) -> None:
        """Add a product to a sum.

        :param first: it is the first one of this sum.
        """
        tir_builder.store(
            register,
            0,
            self.arithmetic.multiply_add(
                tir_builder.load(register, 0, lanes), value, weight, lanes
            ),
            lanes,
        )

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
        channels = target.shape.channels
        gains: list[Expr | None] = []
        for shift, lanes in vectors:
            gains.append(
                tir_builder.let(
                    tir_builder.load(self.views.float32, places['gain'] + offset + shift, lanes)
                )
                if target.dtype == self.real
                else None
            )
        extras = {
            name: [
                tir_builder.let(
                    tir_builder.load(self.views.int16, places[name] + offset + shift, lanes)
                )
                for shift, lanes in vectors
            ]
            for name in ('half_slopes', 'zero')
            if name in places
        }
        for pixel in range(len(sums[0])):
            place = at + pixel * channels
            values: list[Expr] = []
            for number, (registers, gain, (_, lanes)) in enumerate(
                zip(sums, gains, vectors, strict=True)
            ):
                value = tir_builder.load(registers[pixel], 0, lanes)
                if 'half_slopes' in extras:
                    value = self._sloped(value, extras['half_slopes'][number], lanes)
                if 'zero' in extras:
                    value = self.arithmetic.add(value, extras['zero'][number], lanes)
                values.append(self._finished(value, gain, target.dtype, lanes, positive))
            self._store_joined(values, vectors, target, place)

    def _sloped(self, value: Expr, half_slope: Expr, lanes: int) -> Expr:
        """Return 16-bit sums after a PReLU."""
        value, zero = tir_builder.let(value), tir_builder.constant(0, 'int16', lanes)
        negative = tir_builder.let(tirx.min(value, zero))
        total = tirx.max(value, zero)
        for _ in range(2):
            total = self.arithmetic.multiply_add(total, negative, half_slope, lanes)
        return total

    def _finished(
        self, value: Expr, gain: Expr | None, dtype: str, lanes: int, positive: bool
    ) -> Expr:
        """Return the 16-bit sums of a depthwise convolution in the type of its map.

        :param gain: if the map is in floating point.
        """
        if gain is not None:
            return self._real_of(value, gain, lanes, positive)
        if dtype == 'int16':
            return tirx.max(value, tir_builder.constant(0, 'int16', lanes)) if positive else value
        return self.arithmetic.stepped(value, lanes)

    @staticmethod
    def _store_joined(
        values: list[Expr], vectors: ChannelGroup, target: FeatureMapBuffer, at: Expr
    ) -> None:
        if len({lanes for _, lanes in vectors}) == 1:
            lanes = vectors[0][1]
            tir_builder.store(
                target.buffer,
                at,
                joined([tir_builder.let(value) for value in values], lanes),
                lanes * len(values),
            )
            return
        for value, (shift, lanes) in zip(values, vectors, strict=True):
            tir_builder.store(target.buffer, at + shift, value, lanes)

    # Other layers

    def sum_of(
        self,
        sources: list[tuple[FeatureMapBuffer, int, int]],
        target: FeatureMapBuffer,
        row: Index,
        positive: bool,
    ) -> None:
        """Emit the sum of maps of 16 bits.

        :param sources: plane, upsampling factor and place of the gain of each map.
        """
        gains = self.views.of(self.middle)
        channels = target.shape.channels
        bases = [
            tir_builder.let(plane.row(row // factor if factor > 1 else row))
            for plane, factor, _ in sources
        ]
        start = tir_builder.let(target.row(row))
        with tir_builder.serial(target.shape.width) as column:
            begins = [
                base + (column // factor if factor > 1 else column) * channels
                for base, (_, factor, _) in zip(bases, sources, strict=True)
            ]

            def write(offset: Index, lanes: int) -> None:
                terms = [
                    (
                        tir_builder.load(plane.buffer, begin + offset, lanes),
                        tir_builder.load(gains, gain_at + offset, lanes),
                    )
                    for begin, (plane, _, gain_at) in zip(begins, sources, strict=True)
                ]
                total = self._sum(terms, target, lanes, positive)
                tir_builder.store(target.buffer, start + column * channels + offset, total, lanes)

            tir_builder.for_vectors(channels, self._lanes('int16'), write)

    def _sum(
        self, terms: list[tuple[Expr, Expr]], target: FeatureMapBuffer, lanes: int, positive: bool
    ) -> Expr:
        """Return the sum of values times gains, as it is stored in ``target``."""
        products = [self.arithmetic.product(value, gain, lanes) for value, gain in terms]
        total = products[0]
        for product in products[1:]:
            total = self.arithmetic.add(total, product, lanes)
        if target.dtype == 'int16' and positive:
            total = tirx.max(total, tir_builder.constant(0, 'int16', lanes))
        if target.dtype != 'int16':
            total = self.arithmetic.byte_of(total, lanes)
        return total

    def bytes_of_image(
        self, source: FeatureMapBuffer, target: FeatureMapBuffer, row: Index
    ) -> None:
        """Emit a copy of the image's bytes."""
        base, start = tir_builder.let(source.row(row)), tir_builder.let(target.row(row))
        tir_builder.for_vectors(
            source.shape.width * source.shape.channels,
            self._lanes('uint8'),
            lambda offset, lanes: tir_builder.store(
                target.buffer,
                start + offset,
                self.arithmetic.shifted(
                    tir_builder.load(source.buffer, base + offset, lanes), lanes
                ),
                lanes,
            ),
        )

    def converted(
        self, source: FeatureMapBuffer, target: FeatureMapBuffer, row: Index, gain_at: int
    ) -> None:
        """Emit the conversion of a map of 16 bits to float32 or 8 bits."""
        channels = target.shape.channels
        base, start = tir_builder.let(source.row(row)), tir_builder.let(target.row(row))

        def write(column: Index, offset: Index, lanes: int) -> None:
            value = tir_builder.load(source.buffer, base + column * channels + offset, lanes)
            if target.dtype == self.real:
                value = self._real_of(
                    value, tir_builder.load(self.views.float32, gain_at + offset, lanes), lanes
                )
            else:
                gain = tir_builder.load(self.views.int16, gain_at + offset, lanes)
                value = self.arithmetic.byte_of(self.arithmetic.product(value, gain, lanes), lanes)
            tir_builder.store(target.buffer, start + column * channels + offset, value, lanes)

        wide = self._lanes('float32' if target.dtype == self.real else 'int16')
        with tir_builder.serial(target.shape.width) as column:
            tir_builder.for_vectors(
                channels, wide, lambda offset, lanes: write(column, offset, lanes)
            )

    def copied(
        self, source: FeatureMapBuffer, target: FeatureMapBuffer, row: Index, factor: int
    ) -> None:
        """Emit a copy of a map with each pixel repeated ``factor`` times."""
        self.dtype, self.lanes = target.dtype, self._lanes(target.dtype)
        try:
            self.add_upsampled([(source, factor)], target, row, Activation())
        finally:
            self.dtype, self.lanes = self.real, self._lanes(self.real)


def largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is not above ``most``."""
    return max(part for part in range(1, most + 1) if number % part == 0)


def pack_quant_depthwise(layer: QuantDepthwise, dtype: str, signed: bool) -> dict[str, Array]:
    """Return the constants of a depthwise convolution by name.

    :param dtype: of the result: ``uint8``, ``int16`` or ``float32``.
    :param signed: maps of 8 bits are stored lower by 128.
    """
    packed: dict[str, Array] = {'weights': layer.weights.ravel(), 'bias': layer.bias}
    lower = SHIFT << STEP_BITS if dtype == 'uint8' and signed else 0
    if layer.half_slopes is not None:
        packed['half_slopes'] = layer.half_slopes
    if dtype == 'float32':
        packed['gain'] = layer.scale.astype(np.float32)
    elif layer.zero is not None:
        packed['zero'] = (layer.zero - lower).astype(np.int16)
    elif lower:
        packed['bias'] = np.maximum(layer.bias.astype(np.int32) - lower, -ONE).astype(np.int16)
    return packed
