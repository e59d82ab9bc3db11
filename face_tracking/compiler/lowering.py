# SPDX-License-Identifier: Apache-2.0
"""TIR functions: one for each fused group, and one that writes the remaining outputs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from tvm.ir import GlobalVar
from tvm.script.ir_builder import IRBuilder
from tvm.tirx import PrimFunc

from face_tracking.arrays import Array
from face_tracking.compiler import tir_builder
from face_tracking.compiler.fusion import FusedGroup, Stage, edge_work, readers, row_ranges_of
from face_tracking.compiler.graph import (
    IMAGE,
    NONE,
    Concatenate,
    Convolution,
    MaxPool,
    Network,
    Output,
    Part,
    Shape,
)
from face_tracking.compiler.row_kernels import FeatureMapBuffer, RowKernels, pack_dense
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tiling import ConvShape, TilingChooser, TilingConfig
from face_tracking.compiler.tir_builder import Buffer, Expr, Index, T

PARTS = 64
"""Fractions of a row in the integer arithmetic that divides rows among threads."""


@dataclass(frozen=True)
class Pixels:
    """Normalization of the image: (value - mean) * scale, means in the image's channel order."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    def before(self, network: Network) -> Pixels:
        """Return this together with what a network does to its input first."""
        mean = tuple(mean + network.mean / self.scale for mean in self.mean)
        return Pixels(mean, self.scale * network.scale)


class GroupFunction:
    """The function of one fused group.

    :param dtype: of the arithmetic and of stored maps.
    :param pixels: normalization of the image.
    :param choose: returns the tiling of a convolution.
    :param result_dtype: of the map that the last layer writes, if that is an output.
    :ivar weights: all packed weights and biases of the group.
    """

    def __init__(
        self,
        group: FusedGroup,
        network: Network,
        machine: Machine,
        dtype: str,
        pixels: Pixels,
        choose: TilingChooser,
        result_dtype: str | None = None,
    ):
        self.group, self.network, self.machine = group, network, machine
        self.dtype, self.pixels, self._choose = dtype, pixels, choose
        self.result_dtype = result_dtype or dtype
        self._row_ranges = row_ranges_of(group.stages)
        self._line_buffers = self._find_line_buffers()
        self._places: dict[str, tuple[int, int]] = {}
        self.weights = self._pack()

    def _pack(self) -> Array:
        packed: list[Array] = [np.zeros(0, self.dtype)]
        size = 0
        for stage in self.group.stages:
            layer = stage.layer
            if not isinstance(layer, Convolution):
                continue
            weights = (
                layer.weights.ravel()
                if layer.depthwise
                else pack_dense(
                    layer.weights, self.machine.lanes(self.dtype), self._choice(layer, stage.shape)
                )
            )
            self._places[stage.name] = size, size + weights.size
            slopes = np.array(layer.activation.slopes, self.dtype)
            packed += [weights.astype(self.dtype), layer.bias.astype(self.dtype), slopes]
            size += weights.size + layer.bias.size + slopes.size
        return np.concatenate(packed) if size else np.zeros(1, self.dtype)

    def _choice(self, layer: Convolution, shape: Shape) -> TilingConfig:
        return self._choose(ConvShape.of(layer, shape, self.dtype))

    def band(self, name: str) -> PrimFunc:
        """Return the TIR function of one row band.

        Its arguments are the inputs, the weights, the output, the line buffers, the first row, the
        end of the rows, and the number 1. It is a separate function because LLVM is informed that
        the arguments of a function do not overlap; inside the loop over the threads that
        information would be lost.
        """
        sizes = [
            *self._sizes(),
            *(
                (line_buffer.size(), line_buffer.dtype)
                for line_buffer in self._line_buffers.values()
            ),
        ]
        with IRBuilder() as builder, T.prim_func(private=True):
            T.func_name(name)
            T.func_attr({'tirx.noalias': True})
            pointers = [T.arg('pointer', T.ptr(dtype)) for _, dtype in sizes]
            begin, end, one = (T.arg(word, T.int32()) for word in ('begin', 'end', 'one'))
            buffers = [
                T.decl_buffer((size,), dtype, data=pointer, align=alignment)
                for pointer, (size, dtype), alignment in zip(
                    pointers, sizes, self._alignments(len(sizes)), strict=True
                )
            ]
            inputs = self.group.inputs()
            weights = buffers.pop(len(inputs))
            names = [*inputs, self.group.output]
            planes = {
                source: FeatureMapBuffer(buffer, self.network.shapes[source], self._dtype(source))
                for source, buffer in zip(names, buffers, strict=False)
            }
            for (stage, line_buffer), buffer in zip(
                self._line_buffers.items(), buffers[len(names) :], strict=True
            ):
                planes[stage] = replace(line_buffer, buffer=buffer)
            self._kernels = self._make_kernels(weights, one)
            # TVM needs the device on which a called function keeps its variables: 1 is the CPU.
            with T.attr({'device_id': 0, 'device_type': 1}):
                self._steps(planes, begin, end)
        return cast('PrimFunc', builder.get())

    def _make_kernels(self, weights: Buffer, one: Index) -> RowKernels:
        return RowKernels(self.machine, self.dtype, weights, one)

    @property
    def output_dtype(self) -> str:
        """The type of the map that the group writes."""
        return self._dtype(self.group.output)

    def entry(self, name: str, band: GlobalVar) -> PrimFunc:
        """Return the TIR function (inputs..., weights, number of threads, output).

        Each thread computes a row band, and the rows above and below it on which it depends. Inner
        bands depend on both, so they have fewer rows.

        :param band: the global variable of the function that :meth:`band` returned.
        """
        height = self.group.stages[-1].shape.height
        above, below = edge_work(self.group.stages)
        share, lead = round((height - above - below) * PARTS), round(above * PARTS + PARTS / 2)

        def first_row(index: Index, bands: Expr) -> Expr:
            inner = (index * share // bands + lead) // PARTS
            return T.Select(index == 0, 0, T.Select(index == bands, height, inner))

        sizes = [*self._sizes()[:-1], (1, 'int32'), self._sizes()[-1]]
        with IRBuilder() as builder, T.prim_func():
            T.func_name(name)
            T.func_attr({'tirx.noalias': True, 'global_symbol': name})
            *tensors, threads, output = [
                T.arg('tensor', T.buffer((size,), dtype, align=alignment))
                for (size, dtype), alignment in zip(
                    sizes, self._alignments(len(sizes)), strict=True
                )
            ]
            bands = tir_builder.let(T.min(threads[0], height))
            with tir_builder.parallel(bands) as index:
                line_buffers = [
                    T.alloc_buffer((line_buffer.size(),), line_buffer.dtype)
                    for line_buffer in self._line_buffers.values()
                ]
                tir_builder.call(
                    band,
                    *(buffer.data for buffer in [*tensors, output, *line_buffers]),
                    first_row(index, bands),
                    first_row(index + 1, bands),
                    T.min(bands, 1),
                )
        return cast('PrimFunc', builder.get())

    def _sizes(self) -> list[tuple[int, str]]:
        """Return length and type of the function's tensors: inputs, weights, output."""
        inputs = [(self._length(name), self._dtype(name)) for name in self.group.inputs()]
        output = self._length(self.group.output), self.result_dtype
        return [*inputs, (self.weights.size, self.dtype), output]

    def _alignments(self, count: int) -> list[int]:
        """Return the alignment of the tensors in bytes; an image may start at any address."""
        found = [1 if name == IMAGE else 64 for name in self.group.inputs()]
        return found + [64] * (count - len(found))

    def _length(self, name: str) -> int:
        return self.network.shapes[name].numbers

    def _dtype(self, name: str) -> str:
        if name == self.group.output:
            return self.result_dtype
        return 'uint8' if name == IMAGE else self.dtype

    def _find_line_buffers(self) -> dict[str, FeatureMapBuffer]:
        """Return the line buffers of all stages but the last."""
        stages = self.group.stages
        line_buffers: dict[str, FeatureMapBuffer] = {}
        for stage, reader, row_range in zip(
            stages, stages[1:], self._row_ranges[1:], strict=False
        ):
            window, shape = reader.window, stage.shape
            slots = window.reach(0) + window.stride[0] * (row_range.ratio - 1)
            left = window.padding[1]
            reached = (reader.shape.width - 1) * window.stride[1] + window.reach(1)
            right = max(0, reached - left - shape.width)
            none_yet = cast('Buffer', None)  # each function has its own
            line_buffers[stage.name] = FeatureMapBuffer(
                none_yet, shape, self.dtype, slots, left, right
            )
        return line_buffers

    def _steps(self, planes: dict[str, FeatureMapBuffer], begin: Expr, end: Expr) -> None:
        """Compute rows ``begin`` to ``end`` of the last stage, each stage ahead of the next."""
        stages, row_ranges = self.group.stages, self._row_ranges
        for stage, reader in itertools.pairwise(stages):
            self._kernels.pad_columns(planes[stage.name], self._border(reader))
        # The first stages begin this many steps earlier, so that each row is ready in time.
        lead = max(
            -(-(row_range.last - row_range.first + 1) // row_range.ratio) - 1
            for row_range in row_ranges
        )
        with tir_builder.serial(end - begin + lead) as step:
            final = tir_builder.let(begin + step - lead)
            for stage, row_range in zip(stages, row_ranges, strict=True):
                first = tir_builder.let(
                    T.max(
                        row_range.ratio * (final - 1) + row_range.last + 1,
                        row_range.ratio * begin + row_range.first,
                    )
                )
                with tir_builder.serial(
                    T.max(row_range.ratio * final + row_range.last + 1 - first, 0)
                ) as offset:
                    self._row(stage, planes, tir_builder.let(first + offset))

    def _border(self, reader: Stage) -> float:
        """Return the value outside a map: the neutral one of a sum or of a maximum."""
        return float(np.finfo(self.dtype).min) if isinstance(reader.layer, MaxPool) else 0.0

    def _row(self, stage: Stage, planes: dict[str, FeatureMapBuffer], row: Index) -> None:
        """Compute one row of a stage, or a row of padding if it is outside the map."""
        plane = planes[stage.name]
        position = self.group.stages.index(stage)
        if plane.slots == 0:
            self._compute(stage, planes, row)
            return
        reader = self.group.stages[position + 1]
        with T.If(T.And(row >= 0, row < stage.shape.height)):
            with T.Then():
                self._compute(stage, planes, row)
            with T.Else():
                self._kernels.fill(
                    plane,
                    tir_builder.let(plane.row(row)),
                    stage.shape.width * stage.shape.channels,
                    self._border(reader),
                )

    def _compute(self, stage: Stage, planes: dict[str, FeatureMapBuffer], row: Index) -> None:
        layer, target = stage.layer, planes[stage.name]
        sources = [(planes[operand.name], operand.factor) for operand in stage.operands]
        source = sources[0][0]
        if isinstance(layer, Convolution):
            kernel = self._kernels.depthwise if layer.depthwise else self._kernels.dense
            weights_at, bias_at = self._places[stage.name]
            kernel(
                source,
                target,
                row,
                layer.window,
                weights_at,
                bias_at,
                stage.activation,
                self._choice(layer, stage.shape),
            )
        elif isinstance(layer, MaxPool):
            self._kernels.max_pool(source, target, row, layer.window)
        elif isinstance(layer, Concatenate):
            order = {
                operand.name: plane
                for operand, (plane, _) in zip(stage.operands, sources, strict=True)
            }
            self._kernels.concatenate([order[name] for name in layer.sources], target, row)
        elif source.dtype == 'uint8':
            self._kernels.normalize_image(source, target, row, self.pixels.mean, self.pixels.scale)
        else:
            self._kernels.add_upsampled(sources, target, row, stage.activation)


def is_stored(output: Output, network: Network, dtype: str, quantized: bool) -> bool:
    """Return whether an output is a feature map that is stored as float32 anyway.

    :param dtype: of floating-point maps.
    :param quantized: whether the network is computed in integers.
    """
    part = output.parts[0]
    whole = replace(part, first=0, channels=network.shapes[part.source].channels)
    if len(output.parts) > 1 or part != whole or output.softmax or part.activation != NONE:
        return False
    if dtype != 'float16':
        return True
    if quantized:
        return False
    # Then its layer must convert what it stores, and nothing else may read that.
    maker = next(layer for layer in network.layers if layer.output == part.source)
    return (
        network.uses()[part.source] == [output]
        and isinstance(maker, Convolution)
        and not maker.depthwise
    )


def output_sizes(outputs: list[Output]) -> list[int]:
    """Return the number of values in each output."""
    return [int(np.prod(output.shape)) for output in outputs]


def results_function(
    network: Network, outputs: list[Output], machine: Machine, dtype: str, name: str
) -> PrimFunc:
    """Return the TIR function (stored maps..., target), which writes these outputs in order."""
    sizes = output_sizes(outputs)
    with IRBuilder() as builder, T.prim_func():
        T.func_name(name)
        T.func_attr({'tirx.noalias': True, 'global_symbol': name})
        planes: dict[str, FeatureMapBuffer] = {}
        for number, source in enumerate(readers(outputs)):
            shape = network.shapes[source]
            buffer = T.arg(f'input{number}', T.buffer((shape.numbers,), dtype))
            planes[source] = FeatureMapBuffer(buffer, shape, dtype)
        target = T.arg('output', T.buffer((sum(sizes),), 'float32'))
        at = 0
        for output, size in zip(outputs, sizes, strict=True):
            _write_output(output, planes, target, at, machine.lanes('float32'))
            at += size
    return cast('PrimFunc', builder.get())


def _write_output(
    output: Output, planes: dict[str, FeatureMapBuffer], target: Buffer, at: int, lanes: int
) -> None:
    begin = at
    for part in output.parts:
        plane = planes[part.source]
        pixels = plane.shape.height * plane.shape.width
        count = pixels * part.channels
        _copy_channels(plane, part, target, at, pixels, lanes)
        if part.activation.kind != 'none':
            tir_builder.for_vectors(
                count,
                lanes,
                lambda offset, width, at=at, part=part: tir_builder.store(
                    target,
                    at + offset,
                    tir_builder.activate(
                        tir_builder.load(target, at + offset, width),
                        part.activation,
                        'float32',
                        width,
                    ),
                    width,
                ),
            )
        at += count
    if output.softmax:
        _softmax(target, begin, output.shape[1], output.shape[2], lanes)


def _copy_channels(
    plane: FeatureMapBuffer, part: Part, target: Buffer, at: int, pixels: int, lanes: int
) -> None:
    """Copy a range of channels of all pixels, one pixel after another, as float32."""

    def copy(source_index: Index, target_index: Index, width: int) -> None:
        value = tir_builder.load(plane.buffer, source_index, width)
        if plane.dtype != 'float32':
            value = tir_builder.convert(value, 'float32', width)
        tir_builder.store(target, target_index, value, width)

    if part.channels == plane.shape.channels:
        tir_builder.for_vectors(
            pixels * part.channels, lanes, lambda offset, width: copy(offset, at + offset, width)
        )
        return
    with tir_builder.serial(pixels) as pixel:
        for offset, width in tir_builder.vectors(part.channels, lanes):
            copy(
                pixel * plane.shape.channels + part.first + offset,
                at + pixel * part.channels + offset,
                width,
            )


def _softmax(target: Buffer, at: int, rows: int, columns: int, lanes: int) -> None:
    """Normalize each row of a matrix in place."""

    def normalize(first: Index, width: int) -> None:
        begin = at + first * columns
        values = [
            tir_builder.let(tir_builder.load_strided(target, begin + column, columns, width))
            for column in range(columns)
        ]
        greatest = values[0]
        for value in values[1:]:
            greatest = T.max(greatest, value)
        greatest = tir_builder.let(greatest)
        powers = [tir_builder.exponential(value - greatest, 'float32', width) for value in values]
        total = powers[0]
        for power in powers[1:]:
            total = total + power
        total = tir_builder.let(total)
        for column, power in enumerate(powers):
            tir_builder.store(target, begin + column, power / total, width, stride=columns)

    tir_builder.for_vectors(rows, lanes, normalize)
