# SPDX-License-Identifier: Apache-2.0
"""TIR functions of fused groups that compute in integers: `lowering`, with a type for each map.

`quantization` uses three types of map. Its ``uint8`` is stored as int8 if the processor multiplies
signed bytes, its ``float32`` as float16 if the processor computes with that twice as fast; then
its maps of 16 bits are float16, too, with a scale for each channel.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from face_tracking.arrays import Array
from face_tracking.compiler.fusion import POINT, FusedGroup, Operand, Stage
from face_tracking.compiler.graph import (
    IMAGE,
    Add,
    Convolution,
    MaxPool,
    Network,
    Shape,
    Upsample,
)
from face_tracking.compiler.int8.half_row_kernels import (
    HalfKernels,
    half_slopes,
    pack_half_depthwise,
)
from face_tracking.compiler.int8.int8_row_kernels import (
    SHIFT,
    Arithmetic,
    IntegerKernels,
    Views,
    pack_bias,
    pack_quant_dense,
    pack_quant_depthwise,
    quant_dense_constants,
    run_columns,
    tile_of,
)
from face_tracking.compiler.int8.quantization import (
    HalfDense,
    HalfDepthwise,
    QuantDense,
    QuantDepthwise,
    Quantized,
    Sum,
    conversion_gain,
)
from face_tracking.compiler.int8.window_gathering import (
    gathered_registers,
    gathered_size,
    is_gathered,
)
from face_tracking.compiler.lowering import GroupFunction, Pixels
from face_tracking.compiler.row_kernels import FeatureMapBuffer, pack_dense
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tiling import TilingChooser
from face_tracking.compiler.tir_builder import Buffer, Index, T

ALIGNED = 64
"""Alignment of the constants of each type in bytes."""


class IntegerFunction(GroupFunction):
    """The function of one fused group; its constants are bytes with numbers of four types."""

    def __init__(
        self,
        group: FusedGroup,
        network: Network,
        machine: Machine,
        dtype: str,
        quantized: Quantized,
        choose: TilingChooser,
    ):
        self.quantized, self._arithmetic = quantized, Arithmetic(machine)
        super().__init__(
            _with_conversion(group, quantized), network, machine, dtype, Pixels(), choose
        )

    # Types

    def _stored(self, dtype: str) -> str:
        return {'uint8': self._arithmetic.byte, 'float32': self.dtype}.get(dtype, dtype)

    def _dtype(self, name: str) -> str:
        if name == IMAGE:
            return 'uint8'
        return self._stored(self.quantized.stored[name])

    def _read_by(self, stage: Stage) -> str:
        """Return the type in which a stage reads the rows before it, as in `quantization`."""
        assert stage.layer is not None  # a stage that reads another one has a layer
        source = stage.layer.sources[0]
        return self.quantized.wanted(stage.layer, source)

    def _find_line_buffers(self) -> dict[str, FeatureMapBuffer]:
        stages, line_buffers = self.group.stages, super()._find_line_buffers()
        found = {
            stage.name: replace(
                line_buffers[stage.name], dtype=self._stored(self._read_by(reader))
            )
            for stage, reader in itertools.pairwise(stages)
        }
        for stage, reader in itertools.pairwise(stages):
            numbers, channels = self.quantized.layers.get(reader.name), stage.shape.channels
            if isinstance(numbers, QuantDense) and is_gathered(
                self.machine, reader.window, channels
            ):
                size = gathered_size(reader.window, channels)
                shape = replace(reader.shape, channels=size, height=1)
                found[_windows_of(reader)] = replace(
                    found[stage.name], shape=shape, slots=1, left=0, right=0
                )
        return found

    def _sizes(self) -> list[tuple[int, str]]:
        inputs = [(self._length(name), self._dtype(name)) for name in self.group.inputs()]
        return [
            *inputs,
            (self.weights.size, 'int8'),
            (self._length(self.group.output), self.output_dtype),
        ]

    def _border(self, reader: Stage) -> float:
        dtype = self._read_by(reader)
        zero = -SHIFT if self._arithmetic.signed and dtype == 'uint8' else 0
        if isinstance(reader.layer, MaxPool):
            if dtype == 'float16':
                return float(np.finfo(dtype).min)
            return np.iinfo(np.int16).min if dtype == 'int16' else zero
        if reader.layer is not None and reader.layer.sources[0] == IMAGE:
            return self.quantized.image_zero + zero
        return zero

    # Constants

    def _pack(self) -> Array:
        """Concatenate all constants, those of each type together, and record their places."""
        found = [
            (stage.name, key, array)
            for number, stage in enumerate(self.group.stages)
            for key, array in self._constants(number, stage).items()
        ]
        content: list[Array] = []
        size = 0
        self._constants_at: dict[str, dict[str, int]] = {
            stage.name: {} for stage in self.group.stages
        }
        for dtype in dict.fromkeys(array.dtype for _, _, array in found):
            for name, key, array in found:
                if array.dtype == dtype:
                    self._constants_at[name][key] = size // dtype.itemsize
                    content.append(array.view(np.int8))
                    content.append(np.zeros(-array.nbytes % ALIGNED, np.int8))
                    size += array.nbytes + len(content[-1])
        return np.concatenate(content) if content else np.zeros(ALIGNED, np.int8)

    def _constants(self, number: int, stage: Stage) -> dict[str, Array]:
        layer, quantized = stage.layer, self.quantized
        if layer is None:
            return self._conversion_constants(stage, self.group.stages[number + 1])
        numbers = quantized.layers.get(stage.name)
        target = self._target_type(number, stage)
        if isinstance(numbers, Sum):
            return {f'gain{index}': gain for index, gain in enumerate(numbers.gains)}
        if isinstance(numbers, QuantDepthwise):
            return pack_quant_depthwise(numbers, target, self._arithmetic.signed)
        if isinstance(numbers, HalfDepthwise):
            return pack_half_depthwise(numbers)
        if isinstance(numbers, QuantDense):
            window, inputs = stage.window, numbers.weights.shape[2]
            gathered = is_gathered(self.machine, window, inputs)
            pixels, groups = tile_of(self.machine, stage.shape.channels, stage.shape.width)
            constants = quant_dense_constants(numbers, target, self._arithmetic.signed)
            columns = run_columns(window)
            if gathered:
                columns = window.size[0] * window.size[1]
                registers = gathered_registers(window, inputs)
                constants['gathered'] = np.concatenate([each.places for each in registers])
            return {
                'weights': pack_quant_dense(numbers.weights, groups, columns),
                **constants,
                'bias': pack_bias(constants['bias'], self.machine, pixels, groups),
                **half_slopes(numbers, target),
            }
        if isinstance(numbers, HalfDense):
            layer = replace(layer, weights=numbers.weights)
        return self._float_constants(layer, stage.shape) if isinstance(layer, Convolution) else {}

    def _target_type(self, number: int, stage: Stage) -> str:
        """Return the type of a stage's result, as in `quantization`."""
        if number + 1 < len(self.group.stages):
            return self._read_by(self.group.stages[number + 1])
        return self.quantized.stored[stage.name]

    def _float_constants(self, layer: Convolution, shape: Shape) -> dict[str, Array]:
        weights = (
            layer.weights.ravel()
            if layer.depthwise
            else pack_dense(
                layer.weights, self.machine.lanes(self.dtype), self._choice(layer, shape)
            )
        )
        return {'weights': weights.astype(self.dtype), 'bias': layer.bias.astype(self.dtype)}

    def _conversion_constants(self, stage: Stage, reader: Stage) -> dict[str, Array]:
        name, wanted = stage.operands[0].name, self._read_by(reader)
        stored = self.quantized.stored[name]
        if wanted == stored:
            return {}
        source, target = (self.quantized.formats[name, dtype] for dtype in (stored, wanted))
        if wanted == 'float32' and stored == 'int16':
            return {'gain': source.scale.astype(np.float32)}
        return {'gain': conversion_gain(source, target)}

    # Rows

    def _make_kernels(self, weights: Buffer, one: Index) -> IntegerKernels:
        size = self.weights.size
        views = {
            np.dtype(dtype).name: T.decl_buffer(
                (size // np.dtype(dtype).itemsize,), dtype, data=weights.data
            )
            for dtype in ('int16', 'int32', 'float16', 'float32')
        }
        kernels = HalfKernels if self.quantized.middle == 'float16' else IntegerKernels
        return kernels(self.machine, self.dtype, Views(int8=weights, **views), one)

    def _compute(self, stage: Stage, planes: dict[str, FeatureMapBuffer], row: Index) -> None:
        layer, target = stage.layer, planes[stage.name]
        kernels, numbers = self._kernels, self.quantized.layers.get(stage.name)
        assert isinstance(kernels, IntegerKernels)
        sources = [(planes[operand.name], operand.factor) for operand in stage.operands]
        source, places = sources[0][0], self._constants_at[stage.name]
        positive = stage.activation.kind == 'clip'
        if isinstance(numbers, Sum):
            kernels.sum_of(self._with_gains(stage, planes), target, row, positive)
        elif isinstance(numbers, QuantDepthwise | HalfDepthwise):
            kernels.quant_depthwise(source, target, row, stage.window, places, positive)
        elif isinstance(numbers, QuantDense):
            shift = numbers.shift if target.dtype == self.quantized.middle else None
            window, inputs = stage.window, source.shape.channels
            windows = planes.get(_windows_of(stage))
            if windows is not None:
                kernels.gather(source, windows, row, window, places['gathered'])
                inputs *= window.size[0] * window.size[1]
                source, window = windows, POINT
            kernels.quant_dense(source, target, row, window, places, positive, shift, inputs)
        elif isinstance(layer, Convolution):
            kernel = kernels.depthwise if layer.depthwise else kernels.dense
            kernel(
                source,
                target,
                row,
                layer.window,
                places['weights'],
                places['bias'],
                stage.activation,
                self._choice(layer, stage.shape),
            )
        elif isinstance(layer, MaxPool):
            kernels.max_pool(source, target, row, layer.window)
        elif stage.operands[0].name == IMAGE:
            kernels.bytes_of_image(source, target, row)
        elif 'gain' in places:
            kernels.converted(source, target, row, places['gain'])
        else:
            kernels.copied(source, target, row, sources[0][1])

    def _with_gains(
        self, stage: Stage, planes: dict[str, FeatureMapBuffer]
    ) -> list[tuple[FeatureMapBuffer, int, int]]:
        """Return the operands of an addition, each with the place of its gain."""
        added = stage.layer.sources if stage.layer is not None else ()
        enlarged = {
            layer.output: layer.sources[0]
            for layer in self.network.layers
            if isinstance(layer, Upsample)
        }
        names = {enlarged.get(source, source): index for index, source in enumerate(added)}
        names |= {source: index for index, source in enumerate(added)}
        names |= {f'{source} rows': index for source, index in names.items()}
        return [
            (
                planes[operand.name],
                operand.factor,
                self._constants_at[stage.name][f'gain{names[operand.name]}'],
            )
            for operand in stage.operands
        ]


def _windows_of(stage: Stage) -> str:
    """Return the name of the line buffer with the gathered windows of a stage, if it has one."""
    return f'{stage.name} windows'


def _with_conversion(group: FusedGroup, quantized: Quantized) -> FusedGroup:
    """Add a stage that converts the map that a group's first layer reads, if its type differs."""
    first = group.stages[0]
    source = first.operands[0].name
    if (
        first.layer is None
        or isinstance(first.layer, Add)
        or first.window != POINT
        or quantized.wanted(first.layer, source) == quantized.stored[source]
    ):
        return group
    shape = quantized.network.shapes[source]
    bring_in = Stage(f'{source} rows', [Operand(source)], shape, entry=True)
    reader = replace(first, operands=[Operand(bring_in.name), *first.operands[1:]], entry=False)
    return FusedGroup([bring_in, reader, *group.stages[1:]])
