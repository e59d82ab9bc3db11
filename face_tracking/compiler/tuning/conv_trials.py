# SPDX-License-Identifier: Apache-2.0
"""One convolution with several tilings, as functions of one library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tvm

from face_tracking.arrays import Array
from face_tracking.compiler.fusion import POINT, FusedGroup, Operand, Stage
from face_tracking.compiler.graph import RELU, Convolution, Network, Shape, Window
from face_tracking.compiler.lowering import GroupFunction, Pixels
from face_tracking.compiler.onnx_import import read_network
from face_tracking.compiler.relax_module import LOWERING, linker, register_lowering
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tiling import ConvShape, TilingConfig

MAP_BYTES = 96 << 10
"""A kernel is measured on maps that fit into a core's cache, as the line buffers of a fused group
do."""


class Trial:
    """A convolution with random weights, as a function that can be run.

    :ivar sizes: (length, dtype) of the function's arguments; the last is the output, the one
        before it the number of threads.
    """

    def __init__(self, workload: ConvShape, machine: Machine):
        self.workload, self.machine = workload, machine
        window = _window(workload)
        channels = workload.inputs or workload.outputs
        width = (workload.width - 1) * window.stride[1] + window.reach(1) - 2 * window.padding[1]
        item = 2 if workload.dtype == 'float16' else 4
        row = item * (workload.width * workload.outputs + window.stride[0] * width * channels)
        rows = max(4, min(32, MAP_BYTES // row))
        height = (rows - 1) * window.stride[0] + window.reach(0) - 2 * window.padding[0]
        source, result = (
            Shape(height, width, channels),
            Shape(rows, workload.width, workload.outputs),
        )
        random = np.random.default_rng(0)
        shape = (*workload.size, *([workload.inputs] if workload.inputs else []), workload.outputs)
        layer = Convolution(
            'result',
            ('source',),
            window,
            random.normal(0, 0.1, shape).astype(np.float32),
            random.normal(0, 0.1, workload.outputs).astype(np.float32),
            RELU,
        )
        last = Stage('result', [Operand('source')], result, layer, RELU, entry=window == POINT)
        stages = [last]
        if not last.entry:
            last.operands = [Operand('source rows')]
            stages.insert(0, Stage('source rows', [Operand('source')], source, entry=True))
        self._pipeline = FusedGroup(stages)
        self._network = Network([layer], [], {'source': source, 'result': result})
        self.rows = rows

    def arguments(self, choice: TilingConfig) -> list[Array]:
        """Return the arguments of the function with a tiling; the last one is the output."""
        random = np.random.default_rng(1)
        shapes = self._network.shapes
        source = random.normal(0, 1, shapes['source'].numbers).astype(self.workload.dtype)
        return [
            source,
            self._function(choice).weights,
            np.array([1], np.int32),
            np.zeros(shapes['result'].numbers, self.workload.dtype),
        ]

    def export(self, choices: list[TilingConfig], path: Path) -> None:
        """Compile into a library with the functions ``k0``, ``k1``, ... for ``choices``."""
        functions = {}
        for number, choice in enumerate(choices):
            function = self._function(choice)
            band = tvm.ir.GlobalVar(f'k{number}_band')
            functions[band] = function.band(band.name_hint)
            functions[tvm.ir.GlobalVar(f'k{number}')] = function.entry(f'k{number}', band)
        register_lowering()
        built = tvm.tirx.build(tvm.IRModule(functions), self.machine.target, pipeline=LOWERING)
        built.export_library(str(path), fcompile=linker(self.machine))

    def _function(self, choice: TilingConfig) -> GroupFunction:
        return GroupFunction(
            self._pipeline,
            self._network,
            self.machine,
            self.workload.dtype,
            Pixels(),
            lambda _: choice,
        )


def _window(workload: ConvShape) -> Window:
    rows, columns = (
        dilation * (size - 1) // 2
        for size, dilation in zip(workload.size, workload.dilation, strict=True)
    )
    padding = rows, columns, rows, columns
    return Window(workload.size, workload.stride, workload.dilation, padding)


def conv_shapes_of(
    onnx_path: Path, input_size: tuple[int, int], dtype: str
) -> dict[ConvShape, int]:
    """Return the shapes of a detector's convolutions, those with most arithmetic first.

    :returns: for each shape the multiply-adds of all layers that have it.
    """
    network = read_network(onnx_path, input_size)
    found: dict[ConvShape, int] = {}
    for layer in network.layers:
        if isinstance(layer, Convolution):
            shape = network.shapes[layer.output]
            workload = ConvShape.of(layer, shape, dtype)
            work = shape.height * shape.width * layer.weights.size
            found[workload] = found.get(workload, 0) + work
    return dict(sorted(found.items(), key=lambda item: -item[1]))
