# SPDX-License-Identifier: Apache-2.0
"""TIR functions: one for each chain of layers, one that hands out the results."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tvm.script.ir_builder import IRBuilder

from face_tracking.compiler import tir_builder
from face_tracking.compiler.fusion import Pipeline, Stage, edge_work, find_spans, readers
from face_tracking.compiler.graph import (
    IMAGE,
    NONE,
    Concatenate,
    Convolution,
    MaxPool,
    Network,
    Output,
)
from face_tracking.compiler.row_kernels import Plane, RowKernels, pack_dense
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tiling import Chooser, ConvShape, TilingConfig
from face_tracking.compiler.tir_builder import T
import itertools

PARTS = 64
"""The fineness of the arithmetic that shares out rows."""


@dataclass(frozen=True)
class Pixels:
    """How the image becomes numbers: (value - mean) * scale, means in its order of channels."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


class PipelineFunction:
    """The function of one chain: inputs, packed weights, output; and those weights.

    :param dtype: of the arithmetic, and of stored maps.
    :param result_dtype: of the map that the last layer writes, if that is a result.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        network: Network,
        machine: Machine,
        dtype: str,
        pixels: Pixels,
        choose: Chooser,
        result_dtype: str | None = None,
    ):
        self.pipeline, self.network, self.machine = pipeline, network, machine
        self.dtype, self.pixels, self._choose = dtype, pixels, choose
        self.result_dtype = result_dtype or dtype
        self._spans = find_spans(pipeline.stages)
        self._rings = self._find_rings()
        self._places: dict[str, tuple[int, int]] = {}
        self.weights = self._pack()

    def _pack(self) -> np.ndarray:
        packed, size = [np.zeros(0, self.dtype)], 0
        for stage in self.pipeline.stages:
            layer = stage.layer
            if not isinstance(layer, Convolution):
                continue
            weights = (
                layer.weights.ravel()
                if layer.depthwise
                else pack_dense(layer.weights, self.machine.lanes(self.dtype), self._choice(stage))
            )
            self._places[stage.name] = size, size + weights.size
            packed += [weights.astype(self.dtype), layer.bias.astype(self.dtype)]
            size += weights.size + layer.bias.size
        return np.concatenate(packed) if size else np.zeros(1, self.dtype)

    def _choice(self, stage: Stage) -> TilingConfig:
        return self._choose(ConvShape.of(stage.layer, stage.shape, self.dtype))

    def band(self, name: str):
        """Return the TIR function (inputs..., weights, output, rings..., first row, end, 1).

        It stands by itself because LLVM is told of a function's arguments that they do not
        overlap; inside the loop over the threads that would be lost.
        """
        sizes = [*self._sizes(), *((ring.size(), ring.dtype) for ring in self._rings.values())]
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
            inputs = self.pipeline.inputs()
            weights = buffers.pop(len(inputs))
            names = [*inputs, self.pipeline.output]
            planes = {
                name: Plane(buffer, self.network.shapes[name], self._dtype(name))
                for name, buffer in zip(names, buffers, strict=False)
            }
            for (name, ring), buffer in zip(
                self._rings.items(), buffers[len(names) :], strict=True
            ):
                planes[name] = replace(ring, buffer=buffer)
            self._kernels = self._make_kernels(weights, one)
            # TVM asks where a function that others call keeps its variables: 1 is the CPU.
            with T.attr({'device_id': 0, 'device_type': 1}):
                self._steps(planes, begin, end)
        return builder.get()

    def _make_kernels(self, weights, one) -> RowKernels:
        return RowKernels(self.machine, self.dtype, weights, one)

    @property
    def output_dtype(self) -> str:
        """The type of the map that the chain makes."""
        return self._dtype(self.pipeline.output)

    def entry(self, name: str, band):
        """Return the TIR function (stored inputs..., weights, number of threads, output).

        Each thread computes a band of the rows, and what these need above and below them. Inner
        bands need both, so they have fewer rows of their own.

        :param band: the global variable of the function that `band` returned.
        """
        height = self.pipeline.stages[-1].shape.height
        above, below = edge_work(self.pipeline.stages)
        share, lead = round((height - above - below) * PARTS), round(above * PARTS + PARTS / 2)

        def first_row(index, bands):
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
                rings = [
                    T.alloc_buffer((ring.size(),), ring.dtype) for ring in self._rings.values()
                ]
                tir_builder.call(
                    band,
                    *(buffer.data for buffer in [*tensors, output, *rings]),
                    first_row(index, bands),
                    first_row(index + 1, bands),
                    T.min(bands, 1),
                )
        return builder.get()

    def _sizes(self) -> list[tuple[int, str]]:
        """Return length and type of the function's tensors: inputs, weights, output."""
        inputs = [(self._length(name), self._dtype(name)) for name in self.pipeline.inputs()]
        output = self._length(self.pipeline.output), self.result_dtype
        return [*inputs, (self.weights.size, self.dtype), output]

    def _alignments(self, count: int) -> list[int]:
        """Return to how many bytes tensors are aligned; a camera puts its images anywhere."""
        found = [1 if name == IMAGE else 64 for name in self.pipeline.inputs()]
        return found + [64] * (count - len(found))

    def _length(self, name: str) -> int:
        return self.network.shapes[name].numbers

    def _dtype(self, name: str) -> str:
        if name == self.pipeline.output:
            return self.result_dtype
        return 'uint8' if name == IMAGE else self.dtype

    def _find_rings(self) -> dict[str, Plane]:
        """Return, for all stages but the last, where their rows are kept while needed."""
        stages, rings = self.pipeline.stages, {}
        for stage, reader, span in zip(stages, stages[1:], self._spans[1:], strict=False):
            window, shape = reader.window, stage.shape
            slots = window.reach(0) + window.stride[0] * (span.ratio - 1)
            left = window.padding[1]
            reached = (reader.shape.width - 1) * window.stride[1] + window.reach(1)
            right = max(0, reached - left - shape.width)
            rings[stage.name] = Plane(None, shape, self.dtype, slots, left, right)
        return rings

    def _steps(self, planes: dict[str, Plane], begin, end) -> None:
        """Compute rows ``begin`` to ``end`` of the last stage, each stage running ahead."""
        stages, spans = self.pipeline.stages, self._spans
        for stage, reader in itertools.pairwise(stages):
            self._kernels.pad_columns(planes[stage.name], self._border(reader))
        # So many steps earlier the first stages begin, that each row needed is there in time.
        lead = max(-(-(span.last - span.first + 1) // span.ratio) - 1 for span in spans)
        with tir_builder.serial(end - begin + lead) as step:
            final = tir_builder.let(begin + step - lead)
            for stage, span in zip(stages, spans, strict=True):
                first = tir_builder.let(
                    T.max(
                        span.ratio * (final - 1) + span.last + 1, span.ratio * begin + span.first
                    )
                )
                with tir_builder.serial(
                    T.max(span.ratio * final + span.last + 1 - first, 0)
                ) as offset:
                    self._row(stage, planes, tir_builder.let(first + offset))

    def _border(self, reader: Stage) -> float:
        """Return what lies outside a map: nothing, to a sum or to a maximum."""
        return float(np.finfo(self.dtype).min) if isinstance(reader.layer, MaxPool) else 0.0

    def _row(self, stage: Stage, planes: dict[str, Plane], row) -> None:
        """Compute one row of a stage, or a row of padding where it lies outside the map."""
        plane = planes[stage.name]
        position = self.pipeline.stages.index(stage)
        if plane.slots == 0:
            self._compute(stage, planes, row)
            return
        reader = self.pipeline.stages[position + 1]
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

    def _compute(self, stage: Stage, planes: dict[str, Plane], row) -> None:
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
                self._choice(stage),
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
            self._kernels.pixels(source, target, row, self.pixels.mean, self.pixels.scale)
        else:
            self._kernels.mix(sources, target, row, stage.activation)


def is_stored(output: Output, network: Network, dtype: str, quantized: bool) -> bool:
    """Return whether a feature map, stored as float32, is this output as it is.

    :param dtype: of the floating point; `quantized` chains have integers besides.
    """
    part = output.parts[0]
    whole = replace(part, first=0, channels=network.shapes[part.source].channels)
    if len(output.parts) > 1 or part != whole or output.softmax or part.activation != NONE:
        return False
    if dtype != 'float16':
        return True
    if quantized:
        return False
    # Then its layer must convert what it stores, and nobody else may read that.
    maker = next(layer for layer in network.layers if layer.output == part.source)
    return (
        network.uses()[part.source] == [output]
        and isinstance(maker, Convolution)
        and not maker.depthwise
    )


def output_sizes(outputs: list[Output]) -> list[int]:
    """Return how many numbers each output has."""
    return [int(np.prod(output.shape)) for output in outputs]


def results_function(
    network: Network, outputs: list[Output], machine: Machine, dtype: str, name: str
):
    """Return the TIR function (stored maps..., these outputs one after another, float32)."""
    sizes = output_sizes(outputs)
    with IRBuilder() as builder, T.prim_func():
        T.func_name(name)
        T.func_attr({'tirx.noalias': True, 'global_symbol': name})
        planes = {}
        for number, source in enumerate(readers(outputs)):
            shape = network.shapes[source]
            buffer = T.arg(f'input{number}', T.buffer((shape.numbers,), dtype))
            planes[source] = Plane(buffer, shape, dtype)
        target = T.arg('output', T.buffer((sum(sizes),), 'float32'))
        at = 0
        for output, size in zip(outputs, sizes, strict=True):
            _write_output(output, planes, target, at, machine.lanes('float32'))
            at += size
    return builder.get()


def _write_output(output: Output, planes, target, at: int, lanes: int) -> None:
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


def _copy_channels(plane: Plane, part, target, at: int, pixels: int, lanes: int) -> None:
    """Copy a range of channels of all pixels, one pixel behind the other, as float32."""

    def copy(source_index, target_index, width):
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


def _softmax(target, at: int, rows: int, columns: int, lanes: int) -> None:
    """Normalize each row of a matrix in place."""

    def normalize(first, width):
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
