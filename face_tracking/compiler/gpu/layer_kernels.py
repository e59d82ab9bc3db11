# SPDX-License-Identifier: Apache-2.0
"""Kernels for GPUs: a TIR function for each layer, bound to blocks and threads.

Feature maps are NHWC in float32, as on the processor, but each layer writes its whole map: a GPU
hides memory latency with threads, not with a cache. A thread computes a tile of a few pixels by a
few channels. Neighboring threads compute neighboring channels, so that their weights are read in
one transfer and all of them read the same input.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.tirx import PrimFunc

from face_tracking.arrays import Array
from face_tracking.compiler import tir_builder
from face_tracking.compiler.fusion import readers
from face_tracking.compiler.graph import (
    IMAGE,
    Activate,
    Add,
    Concatenate,
    Convolution,
    Layer,
    MaxPool,
    Network,
    Output,
    Part,
    Shape,
    Upsample,
)
from face_tracking.compiler.lowering import Pixels, output_sizes
from face_tracking.compiler.tir_builder import Buffer, Expr, Index, T, tirx

BLOCK = 64
"""Threads of a work group; all supported GPUs allow at least 256."""
TILE_PIXELS, TILE_CHANNELS = 4, 4
FLOAT = 'float32'


def weights_of(layer: Layer) -> Array | None:
    """Return a layer's weights followed by its biases, None if it has none."""
    if not isinstance(layer, Convolution):
        return None
    return np.concatenate([layer.weights.ravel(), layer.bias]).astype(np.float32)


def layer_function(layer: Layer, network: Network, pixels: Pixels, name: str) -> PrimFunc:
    """Return the TIR function (sources..., weights if there are any, result) of a layer."""
    sizes = [
        (network.shapes[source].numbers, 'uint8' if source == IMAGE else FLOAT)
        for source in layer.sources
    ]
    weights = weights_of(layer)
    if weights is not None:
        sizes.append((weights.size, FLOAT))
    sizes.append((network.shapes[layer.output].numbers, FLOAT))
    with IRBuilder() as builder, T.prim_func():
        T.func_name(name)
        T.func_attr({'tirx.noalias': True, 'global_symbol': name})
        *buffers, target = [
            T.arg(f'tensor{number}', T.buffer((size,), dtype))
            for number, (size, dtype) in enumerate(sizes)
        ]
        kernel = _Kernel(network, pixels, dict(zip(layer.sources, buffers, strict=False)))
        kernel.emit(layer, buffers[-1], target)
    return cast('PrimFunc', builder.get())


class _Kernel:
    """Emits the body of the function of one layer."""

    def __init__(self, network: Network, pixels: Pixels, buffers: Mapping[str, Buffer]):
        self.network, self.pixels, self.buffers = network, pixels, buffers

    def emit(self, layer: Layer, weights: Buffer, target: Buffer) -> None:
        """Emit the body of the function of ``layer``."""
        if isinstance(layer, Convolution):
            convolve = self._depthwise if layer.depthwise else self._dense
            convolve(layer, weights, target)
        elif isinstance(layer, MaxPool):
            self._max_pool(layer, target)
        else:
            self._each(layer, target)

    def _read(
        self,
        source: str,
        row: Index,
        column: Index,
        channel: Index,
        inside: Expr | None = None,
        outside: float = 0.0,
    ) -> Expr:
        """Return a number of a map, or ``outside`` where the condition ``inside`` is false.

        :param channel: a Python number where the source is the image.
        """
        shape = self.network.shapes[source]
        value = self.buffers[source][(row * shape.width + column) * shape.channels + channel]
        if source == IMAGE:
            mean, scale = self.pixels.mean[cast('int', channel)], self.pixels.scale
            value = tirx.Cast(FLOAT, value)
            value = value - tir_builder.constant(mean, FLOAT) if mean else value
            value = value * tir_builder.constant(scale, FLOAT) if scale != 1 else value
        if inside is None:
            return value
        return T.if_then_else(inside, value, tir_builder.constant(outside, FLOAT))

    @contextlib.contextmanager
    def _taps(
        self, layer: Convolution | MaxPool, row: Expr, columns: list[Expr]
    ) -> Iterator[tuple[Index, Expr, list[tuple[Expr, Expr | None]]]]:
        """Repeat what is emitted for each tap of a window.

        Yields the tap's number, its row in the source, and for each column of the result the
        source's column and whether that is inside the map (None: always).
        """
        window, shape = layer.window, self.network.shapes[layer.sources[0]]
        padded = any(window.padding) or isinstance(layer, MaxPool)
        with contextlib.ExitStack() as loops:
            # Drivers compile a loop faster than the unrolled code.
            vertical, horizontal = (
                loops.enter_context(tir_builder.serial(size)) if size > 1 else 0
                for size in window.size
            )
            source_row = tir_builder.let(
                row * window.stride[0] - window.padding[0] + vertical * window.dilation[0]
            )
            found: list[tuple[Expr, Expr | None]] = []
            for column in columns:
                at = tir_builder.let(
                    column * window.stride[1] - window.padding[1] + horizontal * window.dilation[1]
                )
                inside = (
                    T.And(
                        T.And(source_row >= 0, source_row < shape.height),
                        T.And(at >= 0, at < shape.width),
                    )
                    if padded
                    else None
                )
                found.append((at, inside))
            yield vertical * window.size[1] + horizontal, source_row, found

    def _dense(self, layer: Convolution, weights: Buffer, target: Buffer) -> None:
        shape, source = self.network.shapes[layer.output], layer.sources[0]
        inputs = self.network.shapes[source].channels
        count = next(size for size in (TILE_CHANNELS, 2, 1) if shape.channels % size == 0)
        channel_stride = shape.channels // count
        wide = min(TILE_PIXELS, shape.width)
        tiles = -(-shape.width // wide)

        def thread(index: Expr) -> None:
            channel = tir_builder.let(index % channel_stride)
            row = tir_builder.let(index // channel_stride // tiles)
            first = tir_builder.let(index // channel_stride % tiles * wide)
            # The last tile computes the last pixel several times, and stores it once.
            columns = [
                tir_builder.let(T.min(first + pixel, shape.width - 1)) for pixel in range(wide)
            ]
            sums = T.alloc_buffer((wide * count,), FLOAT, scope='local')
            for lane in range(count):
                bias = tir_builder.let(
                    weights[layer.weights.size + channel + lane * channel_stride]
                )
                for pixel in range(wide):
                    T.buffer_store(sums, bias, [pixel * count + lane])

            def term(
                tap: Index,
                source_row: Expr,
                places: list[tuple[Expr, Expr | None]],
                number: Index,
            ) -> None:
                values = [
                    tir_builder.let(self._read(source, source_row, column, number, inside))
                    for column, inside in places
                ]
                begin = tir_builder.let((tap * inputs + number) * shape.channels + channel)
                for lane in range(count):
                    weight = tir_builder.let(weights[begin + lane * channel_stride])
                    for pixel, value in enumerate(values):
                        at = pixel * count + lane
                        T.buffer_store(sums, sums[at] + value * weight, [at])

            with self._taps(layer, row, columns) as (tap, source_row, places):
                if source == IMAGE:
                    for number in range(inputs):
                        term(tap, source_row, places, number)
                else:
                    with tir_builder.serial(inputs) as number:
                        term(tap, source_row, places, number)
            for pixel in range(wide):
                with T.If(first + pixel < shape.width), T.Then():
                    for lane in range(count):
                        begin = (row * shape.width + first + pixel) * shape.channels + channel
                        T.buffer_store(
                            target,
                            tir_builder.activate(
                                sums[pixel * count + lane], layer.activation, FLOAT, 1
                            ),
                            [begin + lane * channel_stride],
                        )

        _launch(shape.height * tiles * channel_stride, thread)

    def _depthwise(self, layer: Convolution, weights: Buffer, target: Buffer) -> None:
        shape, source = self.network.shapes[layer.output], layer.sources[0]

        def thread(index: Expr) -> None:
            channel, column, row = _place(index, shape)
            total = T.alloc_buffer((1,), FLOAT, scope='local')
            T.buffer_store(total, weights[layer.weights.size + channel], [0])
            with self._taps(layer, row, [column]) as (tap, source_row, [(at, inside)]):
                value = self._read(source, source_row, at, channel, inside)
                T.buffer_store(
                    total, total[0] + value * weights[tap * shape.channels + channel], [0]
                )
            T.buffer_store(
                target, tir_builder.activate(total[0], layer.activation, FLOAT, 1), [index]
            )

        _launch(shape.numbers, thread)

    def _max_pool(self, layer: MaxPool, target: Buffer) -> None:
        shape, source = self.network.shapes[layer.output], layer.sources[0]

        def thread(index: Expr) -> None:
            channel, column, row = _place(index, shape)
            greatest = T.alloc_buffer((1,), FLOAT, scope='local')
            least = float(np.finfo(np.float32).min)
            T.buffer_store(greatest, tir_builder.constant(least, FLOAT), [0])
            with self._taps(layer, row, [column]) as (_, source_row, [(at, inside)]):
                value = self._read(source, source_row, at, channel, inside, least)
                T.buffer_store(greatest, T.max(greatest[0], value), [0])
            T.buffer_store(target, greatest[0], [index])

        _launch(shape.numbers, thread)

    def _each(self, layer: Layer, target: Buffer) -> None:
        """Emit a layer that computes each number of the result separately."""
        shape = self.network.shapes[layer.output]

        def value(channel: Expr, column: Expr, row: Expr) -> Expr:
            if isinstance(layer, Upsample):
                return self._read(
                    layer.sources[0], row // layer.factor, column // layer.factor, channel
                )
            if isinstance(layer, Add):
                left, right = (
                    self._read(source, row, column, channel) for source in layer.sources
                )
                return tir_builder.activate(left + right, layer.activation, FLOAT, 1)
            if isinstance(layer, Activate):
                return tir_builder.activate(
                    self._read(layer.sources[0], row, column, channel), layer.activation, FLOAT, 1
                )
            raise TypeError(f'there is no kernel for {type(layer).__name__}')

        def thread(index: Expr) -> None:
            channel, column, row = _place(index, shape)
            if not isinstance(layer, Concatenate):
                T.buffer_store(target, value(channel, column, row), [index])
                return
            first = 0
            for source in layer.sources:
                channels = self.network.shapes[source].channels
                inside = T.And(channel >= first, channel < first + channels)
                with T.If(inside), T.Then():
                    T.buffer_store(
                        target, self._read(source, row, column, channel - first), [index]
                    )
                first += channels

        _launch(shape.numbers, thread)


def results_function(network: Network, name: str) -> PrimFunc:
    """Return the TIR function (stored maps..., target), which writes all outputs in order."""
    sizes = output_sizes(network.outputs)
    with IRBuilder() as builder, T.prim_func():
        T.func_name(name)
        T.func_attr({'tirx.noalias': True, 'global_symbol': name})
        buffers = {
            source: T.arg(f'input{number}', T.buffer((network.shapes[source].numbers,), FLOAT))
            for number, source in enumerate(readers(network.outputs))
        }
        target = T.arg('output', T.buffer((sum(sizes),), FLOAT))
        begin = 0
        for output, size in zip(network.outputs, sizes, strict=True):
            _write_output(output, network, buffers, target, begin)
            begin += size
    return cast('PrimFunc', builder.get())


def _write_output(
    output: Output, network: Network, buffers: Mapping[str, Buffer], target: Buffer, begin: int
) -> None:
    at = begin
    for part in output.parts:
        shape = network.shapes[part.source]

        def thread(index: Expr, part: Part = part, shape: Shape = shape, at: int = at) -> None:
            pixel, channel = index // part.channels, index % part.channels
            value = buffers[part.source][pixel * shape.channels + part.first + channel]
            T.buffer_store(
                target, tir_builder.activate(value, part.activation, FLOAT, 1), [at + index]
            )

        _launch(shape.height * shape.width * part.channels, thread)
        at += shape.height * shape.width * part.channels
    if output.softmax:
        _softmax(target, begin, output.shape[1], output.shape[2])


def _softmax(target: Buffer, begin: int, rows: int, columns: int) -> None:
    def thread(row: Expr) -> None:
        first = tir_builder.let(begin + row * columns)
        values = [tir_builder.let(target[first + column]) for column in range(columns)]
        greatest = values[0]
        for value in values[1:]:
            greatest = T.max(greatest, value)
        greatest = tir_builder.let(greatest)
        powers = [tir_builder.exponential(value - greatest, FLOAT, 1) for value in values]
        total = powers[0]
        for power in powers[1:]:
            total = total + power
        total = tir_builder.let(total)
        for column, power in enumerate(powers):
            T.buffer_store(target, power / total, [first + column])

    _launch(rows, thread)


def _place(index: Expr, shape: Shape) -> tuple[Expr, Expr, Expr]:
    """Return channel, column and row of the number at ``index`` of a map."""
    pixel = tir_builder.let(index // shape.channels)
    return (
        tir_builder.let(index % shape.channels),
        tir_builder.let(pixel % shape.width),
        tir_builder.let(pixel // shape.width),
    )


def _launch(count: int, thread: Callable[[Expr], None]) -> None:
    """Run ``thread(index)`` for each index below ``count``, one thread each."""
    with (
        T.launch_thread('blockIdx.x', -(-count // BLOCK)) as block,
        T.launch_thread('threadIdx.x', BLOCK) as number,
    ):
        index = tir_builder.let(block * BLOCK + number)
        if count % BLOCK:
            with T.If(index < count), T.Then():
                thread(index)
        else:
            thread(index)
