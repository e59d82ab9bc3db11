# SPDX-License-Identifier: Apache-2.0
"""Kernels that compute one row of a feature map from rows of others.

Feature maps are NHWC, and vectors extend along the channels. A tile of several pixels keeps its
sums in registers, so that each weight that is loaded is used for all pixels of the tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TypeAlias

import numpy as np

from face_tracking.arrays import FloatArray
from face_tracking.compiler import tir_builder
from face_tracking.compiler.graph import Activation, Shape, Window
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tiling import TilingConfig
from face_tracking.compiler.tir_builder import Buffer, Expr, Index, T

ChannelGroup: TypeAlias = 'Sequence[tuple[Index, int]]'
"""Vectors of channels that a tile computes together: the first channel and the length of each."""
Sums: TypeAlias = list[list[Buffer]]
"""The registers with the sums of a tile, by channel vector and pixel."""
SPARE = 16
"""Elements of a line buffer behind its last row."""
UNROLLED_CHANNELS = 8
"""Up to this number of input channels the sum of a convolution is unrolled completely."""


@dataclass
class FeatureMapBuffer:
    """Where the rows of a feature map are stored.

    :ivar slots: number of rows in a line buffer, which are reused in iteration; 0 for a whole map.
    :ivar left: columns of padding before each row.
    :ivar right: columns of padding after each row.
    """

    buffer: Buffer
    shape: Shape
    dtype: str
    slots: int = 0
    left: int = 0
    right: int = 0

    @property
    def stride(self) -> int:
        """Distance from one row to the next in elements."""
        return (self.left + self.shape.width + self.right) * self.shape.channels

    def row(self, row: Index) -> Expr:
        """Return the index of the first element of ``row``, after the padding."""
        # Rows of padding above the map have negative indices; the remainder must not be negative.
        slot = T.truncmod(row + 64 * self.slots, self.slots) if self.slots else row
        # In 64 bits, offsets become part of the address and need no instruction.
        return tir_builder.wide(slot * self.stride + self.left * self.shape.channels)

    def size(self) -> int:
        """Return the size of the buffer in elements.

        A line buffer has a few more, so that a register may be filled beyond the end of a row.
        """
        if not self.slots:
            return self.shape.height * self.stride
        return self.slots * self.stride + SPARE


def channel_groups(channels: int, lanes: int, vectors: int) -> list[ChannelGroup]:
    """Split channels into vectors, and the vectors into groups that a tile computes together."""
    found = tir_builder.vectors(channels, lanes)
    return [found[first : first + vectors] for first in range(0, len(found), vectors)]


def pack_dense(weights: FloatArray, lanes: int, tiling: TilingConfig) -> FloatArray:
    """Return dense weights (kh, kw, in, out) in the order of `RowKernels.dense`."""
    channels = weights.shape[-1]
    matrix = weights.reshape(-1, channels)
    panels: list[FloatArray] = []
    for group in channel_groups(channels, lanes, tiling.vectors):
        first, last = group[0][0], sum(group[-1])
        panels.append(matrix[:, first:last].ravel())
    return np.concatenate(panels)


class RowKernels:
    """Emits row kernels for one machine and one data type.

    :param weights: the buffer with all packed weights of the function.
    :param opaque_one: the number 1 in a variable whose value LLVM does not know. LLVM does not
        unroll loops whose length is multiplied by it; unrolled, they would need too many
        registers.
    """

    def __init__(self, machine: Machine, dtype: str, weights: Buffer, opaque_one: Index):
        self.machine, self.dtype = machine, dtype
        self.weights, self.opaque_one = weights, opaque_one
        self.lanes = machine.lanes(dtype)

    def fill(self, plane: FeatureMapBuffer, index: Index, count: int, value: float) -> None:
        """Set ``count`` elements, starting at ``index``."""
        tir_builder.for_vectors(
            count,
            self.lanes,
            lambda offset, lanes: tir_builder.store(
                plane.buffer, index + offset, tir_builder.constant(value, self.dtype, lanes), lanes
            ),
        )

    def pad_columns(self, plane: FeatureMapBuffer, value: float) -> None:
        """Set the padding beside all rows of a line buffer."""
        channels = plane.shape.channels
        if not plane.left and not plane.right:
            return
        with tir_builder.serial(plane.slots) as slot:
            start = slot * plane.stride
            if plane.left:
                self.fill(plane, start, plane.left * channels, value)
            if plane.right:
                right = start + (plane.left + plane.shape.width) * channels
                self.fill(plane, right, plane.right * channels, value)

    # Convolutions

    def dense(
        self,
        source: FeatureMapBuffer,
        target: FeatureMapBuffer,
        row: Index,
        window: Window,
        weights_at: int,
        bias_at: int,
        activation: Activation,
        tiling: TilingConfig,
    ) -> None:
        """Emit a convolution over all input channels, as a matrix product in register tiles."""
        channels, width = target.shape.channels, target.shape.width
        by_lane = self._uses_lanes(source, window)
        bases = [] if by_lane else self._window_rows(source, row, window)
        start = tir_builder.let(target.row(row))
        terms = window.size[0] * window.size[1] * source.shape.channels
        panel = weights_at
        slopes_at = bias_at + channels
        for group in channel_groups(channels, self.lanes, tiling.vectors):

            def tile(
                first: Index, count: int, group: ChannelGroup = group, panel: int = panel
            ) -> None:
                column = (first * window.stride[1] - window.padding[1]) * source.shape.channels
                sums = self._sums(bias_at, group, count)
                if by_lane:
                    self._products_by_lane(source, row, window, column, panel, group, sums)
                else:
                    self._products(
                        source,
                        window,
                        [base + column for base in bases],
                        panel,
                        group,
                        sums,
                        tiling.unroll,
                    )
                self._write(
                    sums, group, target, start + first * channels, count, activation, slopes_at
                )

            tir_builder.tiled(width, min(tiling.pixels, 4) if by_lane else tiling.pixels, tile)
            panel += terms * sum(lanes for _, lanes in group)

    def _window_rows(self, source: FeatureMapBuffer, row: Index, window: Window) -> list[Expr]:
        top = row * window.stride[0] - window.padding[0]
        return [
            tir_builder.let(source.row(top + tap * window.dilation[0]))
            for tap in range(window.size[0])
        ]

    def _sums(self, bias_at: Index, group: ChannelGroup, count: int) -> Sums:
        """Return a register for each channel vector and pixel, which contains the bias."""
        sums: Sums = []
        for offset, lanes in group:
            bias = tir_builder.let(tir_builder.load(self.weights, bias_at + offset, lanes))
            registers = [T.alloc_buffer((lanes,), self.dtype) for _ in range(count)]
            for register in registers:
                tir_builder.store(register, 0, bias, lanes)
            sums.append(registers)
        return sums

    def _products(
        self,
        source: FeatureMapBuffer,
        window: Window,
        rows: list[Expr],
        panel: int,
        group: ChannelGroup,
        sums: Sums,
        unroll: int,
    ) -> None:
        """Add all products of a tile: for each term, one weight vector times each pixel."""
        channels = source.shape.channels
        pixel_stride = window.stride[1] * channels
        size = sum(lanes for _, lanes in group)
        # Neighboring columns are adjacent in memory, like further channels.
        joined = window.size[1] if window.dilation[1] == 1 else 1
        terms = joined * channels
        for tap_row, row in enumerate(rows):
            for tap in range(0, window.size[1], joined):
                starts = [
                    row + tap * window.dilation[1] * channels + pixel * pixel_stride
                    for pixel in range(len(sums[0]))
                ]
                first = (tap_row * window.size[1] + tap) * channels
                self._sum_channels(
                    source, starts, terms, panel + first * size, group, sums, unroll
                )

    def _uses_lanes(self, source: FeatureMapBuffer, window: Window) -> bool:
        """Return whether pixels are narrower than a register and lanes can be used instead."""
        return (
            self.machine.lane_products
            and source.shape.channels < 4
            and window.dilation[1] == 1
            and source.slots > 0
        )

    def _products_by_lane(
        self,
        source: FeatureMapBuffer,
        row: Index,
        window: Window,
        column: Index,
        panel: int,
        group: ChannelGroup,
        sums: Sums,
    ) -> None:
        """Add all products of a tile; each input row is loaded once and used lane by lane."""
        channels, pixels = source.shape.channels, len(sums[0])
        pixel_stride = window.stride[1] * channels
        terms = window.size[1] * channels
        size = sum(lanes for _, lanes in group)
        top = row * window.stride[0] - window.padding[0]
        with tir_builder.serial(window.size[0] * self.opaque_one) as tap_row:
            start = tir_builder.let(source.row(top + tap_row * window.dilation[0]) + column)
            weights_at = tir_builder.let(tir_builder.wide(tap_row * (terms * size) + panel))
            values = [
                tir_builder.let(tir_builder.load(source.buffer, start + first, 4))
                for first in range(0, (pixels - 1) * pixel_stride + terms, 4)
            ]
            for term in range(terms):
                inputs = [
                    tir_builder.lane(values[index // 4], index % 4)
                    for index in (pixel * pixel_stride + term for pixel in range(pixels))
                ]
                self._add_term(weights_at + term * size, inputs, group, sums)

    def _sum_channels(
        self,
        source: FeatureMapBuffer,
        starts: list[Expr],
        channels: int,
        panel: int,
        group: ChannelGroup,
        sums: Sums,
        unroll: int,
    ) -> None:
        size = sum(lanes for _, lanes in group)
        step = self.lanes if self.machine.lane_products else 1
        whole = channels // step
        looped = 0 if channels <= UNROLLED_CHANNELS else whole // unroll
        if looped:
            with tir_builder.serial(looped * self.opaque_one) as iteration:
                for block in range(unroll):
                    self._block(
                        source,
                        starts,
                        (iteration * unroll + block) * step,
                        step,
                        panel,
                        size,
                        group,
                        sums,
                    )
        for block in range(looped * unroll, whole):
            self._block(source, starts, block * step, step, panel, size, group, sums)
        for term in range(whole * step, channels):
            self._block(source, starts, term, 1, panel, size, group, sums)

    def _block(
        self,
        source: FeatureMapBuffer,
        starts: list[Expr],
        first: Index,
        step: int,
        panel: int,
        size: int,
        group: ChannelGroup,
        sums: Sums,
    ) -> None:
        """Add ``step`` terms, starting at input channel ``first``."""
        inputs = [
            tir_builder.let(tir_builder.load(source.buffer, start + first, step))
            for start in starts
        ]
        for term in range(step):
            scalars = [tir_builder.lane(value, term) if step > 1 else value for value in inputs]
            self._add_term(panel + (first + term) * size, scalars, group, sums)

    def _add_term(self, at: Index, scalars: list[Expr], group: ChannelGroup, sums: Sums) -> None:
        """Add one term to all sums: the input of each pixel times the weights at ``at``."""
        weights: list[Expr] = []
        for _, lanes in group:
            weights.append(tir_builder.let(tir_builder.load(self.weights, at, lanes)))
            at = at + lanes
        for pixel, scalar in enumerate(scalars):
            for registers, weight, (_, lanes) in zip(sums, weights, group, strict=True):
                self._accumulate(
                    registers[pixel], tir_builder.splat(scalar, lanes) * weight, lanes
                )

    @staticmethod
    def _accumulate(register: Buffer, product: Expr, lanes: int) -> None:
        tir_builder.store(register, 0, tir_builder.load(register, 0, lanes) + product, lanes)

    def _slopes(self, activation: Activation, at: Index, lanes: int) -> Expr | None:
        """Return the slopes of a PReLU, which lie behind the bias; None for all others."""
        if activation.kind != 'prelu':
            return None
        return tir_builder.let(tir_builder.load(self.weights, at, lanes))

    def _write(
        self,
        sums: Sums,
        group: ChannelGroup,
        target: FeatureMapBuffer,
        start: Expr,
        count: int,
        activation: Activation,
        slopes_at: int,
    ) -> None:
        for registers, (offset, lanes) in zip(sums, group, strict=True):
            slopes = self._slopes(activation, slopes_at + offset, lanes)
            for pixel in range(count):
                value = tir_builder.load(registers[pixel], 0, lanes)
                value = tir_builder.activate(value, activation, self.dtype, lanes, slopes)
                if target.dtype != self.dtype:
                    value = tir_builder.convert(value, target.dtype, lanes)
                tir_builder.store(
                    target.buffer, start + pixel * target.shape.channels + offset, value, lanes
                )

    def depthwise(
        self,
        source: FeatureMapBuffer,
        target: FeatureMapBuffer,
        row: Index,
        window: Window,
        weights_at: int,
        bias_at: int,
        activation: Activation,
        tiling: TilingConfig,
    ) -> None:
        """Emit a convolution of each channel separately; an input is loaded once for all taps."""
        channels = target.shape.channels
        bases = self._window_rows(source, row, window)
        start = tir_builder.let(target.row(row))

        def channel(offset: Index, lanes: int) -> None:
            def tile(first: Index, count: int) -> None:
                column = (first * window.stride[1] - window.padding[1]) * channels
                self._depthwise_tile(
                    source,
                    [base + column + offset for base in bases],
                    window,
                    channels,
                    weights_at + offset,
                    bias_at + offset,
                    count,
                    lanes,
                    activation,
                    target,
                    start + first * channels + offset,
                )

            tir_builder.tiled(target.shape.width, tiling.pixels, tile)

        tir_builder.for_vectors(channels, tiling.vectors * self.lanes, channel)

    def _depthwise_tile(
        self,
        source: FeatureMapBuffer,
        starts: list[Expr],
        window: Window,
        channels: int,
        weights_at: Index,
        bias_at: Index,
        count: int,
        lanes: int,
        activation: Activation,
        target: FeatureMapBuffer,
        target_at: Expr,
    ) -> None:
        sums = self._sums(bias_at, [(0, lanes)], count)[0]
        slopes = self._slopes(activation, bias_at + channels, lanes)
        taps = [
            [
                tir_builder.let(
                    tir_builder.load(
                        self.weights, weights_at + (row * window.size[1] + tap) * channels, lanes
                    )
                )
                for tap in range(window.size[1])
            ]
            for row in range(window.size[0])
        ]
        last = (count - 1) * window.stride[1] + window.reach(1)
        for start, weights in zip(starts, taps, strict=True):
            for column in range(last):
                uses = [
                    (pixel, weight)
                    for tap, weight in enumerate(weights)
                    for pixel in range(count)
                    if pixel * window.stride[1] + tap * window.dilation[1] == column
                ]
                if not uses:
                    continue
                value = tir_builder.let(
                    tir_builder.load(source.buffer, start + column * channels, lanes)
                )
                for pixel, weight in uses:
                    self._accumulate(sums[pixel], value * weight, lanes)
        for pixel, register in enumerate(sums):
            value = tir_builder.load(register, 0, lanes)
            tir_builder.store(
                target.buffer,
                target_at + pixel * channels,
                tir_builder.activate(value, activation, self.dtype, lanes, slopes),
                lanes,
            )

    # Other layers

    def max_pool(
        self, source: FeatureMapBuffer, target: FeatureMapBuffer, row: Index, window: Window
    ) -> None:
        """Emit the largest value in each window."""
        channels = target.shape.channels
        bases = self._window_rows(source, row, window)
        start = tir_builder.let(target.row(row))

        def pixel(first: Index, _: int) -> None:
            column = (first * window.stride[1] - window.padding[1]) * channels

            def channel(offset: Index, lanes: int) -> None:
                values = [
                    tir_builder.load(
                        source.buffer,
                        base + column + tap * window.dilation[1] * channels + offset,
                        lanes,
                    )
                    for base in bases
                    for tap in range(window.size[1])
                ]
                tir_builder.store(
                    target.buffer,
                    start + first * channels + offset,
                    reduce(T.max, values),
                    lanes,
                )

            tir_builder.for_vectors(channels, self.lanes, channel)

        tir_builder.tiled(target.shape.width, 1, pixel)

    def add_upsampled(
        self,
        sources: list[tuple[FeatureMapBuffer, int]],
        target: FeatureMapBuffer,
        row: Index,
        activation: Activation,
    ) -> None:
        """Emit the sum of maps, each upsampled by its factor; with one source a copy."""
        channels = target.shape.channels
        bases = [
            tir_builder.let(plane.row(row // factor if factor > 1 else row))
            for plane, factor in sources
        ]
        start = tir_builder.let(target.row(row))

        def write(indices: list[Expr], at: Expr, lanes: int) -> None:
            values = [
                tir_builder.load(plane.buffer, index, lanes)
                for (plane, _), index in zip(sources, indices, strict=True)
            ]
            total = tir_builder.activate(reduce(add, values), activation, self.dtype, lanes)
            tir_builder.store(target.buffer, at, total, lanes)

        if all(factor == 1 for _, factor in sources):
            tir_builder.for_vectors(
                target.shape.width * channels,
                self.lanes,
                lambda offset, lanes: write(
                    [base + offset for base in bases], start + offset, lanes
                ),
            )
            return
        with tir_builder.serial(target.shape.width) as column:
            begins = [
                base + (column // factor) * channels
                for base, (_, factor) in zip(bases, sources, strict=True)
            ]
            tir_builder.for_vectors(
                channels,
                self.lanes,
                lambda offset, lanes: write(
                    [begin + offset for begin in begins], start + column * channels + offset, lanes
                ),
            )

    def concatenate(
        self, sources: list[FeatureMapBuffer], target: FeatureMapBuffer, row: Index
    ) -> None:
        """Emit the concatenation of maps along the channels."""
        start = tir_builder.let(target.row(row))
        done = 0
        for plane in sources:
            base = tir_builder.let(plane.row(row))
            channels = plane.shape.channels
            with tir_builder.serial(target.shape.width) as column:
                at = start + column * target.shape.channels + done
                tir_builder.for_vectors(
                    channels,
                    self.lanes,
                    lambda offset, lanes, plane=plane, at=at, begin=base + column * channels: (
                        tir_builder.store(
                            target.buffer,
                            at + offset,
                            tir_builder.load(plane.buffer, begin + offset, lanes),
                            lanes,
                        )
                    ),
                )
            done += channels

    def normalize_image(
        self,
        source: FeatureMapBuffer,
        target: FeatureMapBuffer,
        row: Index,
        mean: tuple[float, ...],
        scale: float,
    ) -> None:
        """Emit (value - mean) * scale of uint8 values, the means in the image's channel order."""
        base, start = tir_builder.let(source.row(row)), tir_builder.let(target.row(row))

        def write(offset: Index, lanes: int) -> None:
            value = tir_builder.convert(
                tir_builder.load(source.buffer, base + offset, lanes), 'int32', lanes
            )
            value = tir_builder.convert(value, 'float32', lanes)
            if any(mean):
                value = value - tir_builder.constant(mean[0], 'float32', lanes)
            if scale != 1:
                value = value * tir_builder.constant(scale, 'float32', lanes)
            if self.dtype != 'float32':
                value = tir_builder.convert(value, self.dtype, lanes)
            tir_builder.store(target.buffer, start + offset, value, lanes)

        count = source.shape.width * source.shape.channels
        if len(set(mean)) == 1:
            tir_builder.for_vectors(count, self.lanes, write)
            return
        with tir_builder.serial(source.shape.width) as column:
            for channel, value in enumerate(mean):
                pixel = tir_builder.convert(
                    tir_builder.convert(
                        tir_builder.load(source.buffer, base + column * 3 + channel, 1), 'int32', 1
                    ),
                    'float32',
                    1,
                )
                pixel = (pixel - tir_builder.constant(value, 'float32')) * tir_builder.constant(
                    scale, 'float32'
                )
                tir_builder.store(
                    target.buffer,
                    start + column * 3 + channel,
                    tir_builder.convert(pixel, self.dtype, 1),
                    1,
                )
