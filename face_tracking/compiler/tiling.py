# SPDX-License-Identifier: Apache-2.0
"""Tilings of convolution kernels: the parameters, the default, the candidates for tuning.

The best tiling depends on the shape of the convolution, the precision and the processor, not on
the weights. `face_tracking tune` measures some of `candidates` and records the best one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from face_tracking.compiler import tir_builder
from face_tracking.compiler.graph import Convolution, Shape
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tuning_records import records_for

MAX_PIXELS = 16
"""Maximum number of pixels in a register tile."""


@dataclass(frozen=True)
class TilingConfig:
    """The tiling of a convolution kernel.

    :ivar pixels: neighboring pixels of a row whose sums are in registers together.
    :ivar vectors: vectors of output channels that are computed together.
    :ivar unroll: unrolled steps of the sum over input channels (dense convolutions only).
    """

    pixels: int
    vectors: int
    unroll: int = 1


@dataclass(frozen=True)
class ConvShape:
    """The properties of a convolution that determine its kernel, for one row in one precision.

    :ivar size: of the kernel (height, width); stride and dilation as in `graph.Window`.
    :ivar inputs: input channels; 0 for a depthwise convolution.
    :ivar outputs: output channels.
    :ivar width: pixels of a row of the result.
    :ivar dtype: of the arithmetic.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    inputs: int
    outputs: int
    width: int
    dtype: str

    @staticmethod
    def of(layer: Convolution, shape: Shape, dtype: str) -> ConvShape:
        """Return the properties of a layer whose result has ``shape``."""
        window = layer.window
        inputs = 0 if layer.depthwise else layer.weights.shape[2]
        return ConvShape(
            window.size, window.stride, window.dilation, inputs, shape.channels, shape.width, dtype
        )

    @property
    def key(self) -> str:
        """The name of its tuning record, such as ``1x1 64>64 w40 float32``.

        The processor is not part of it: the records of each processor are in a separate file.
        """
        kernel = 'x'.join(map(str, self.size))
        for sign, pair in (('/', self.stride), ('d', self.dilation)):
            if pair != (1, 1):
                kernel += sign + 'x'.join(map(str, pair))
        channels = f'{self.inputs or "each"}>{self.outputs}'
        return f'{kernel} {channels} w{self.width} {self.dtype}'


TilingChooser = Callable[[ConvShape], TilingConfig]


def recorded_tilings(machine: Machine) -> TilingChooser:
    """Return a function that returns the recorded tiling of a shape, or the default."""
    records = records_for(machine.cpu)

    def choose(workload: ConvShape) -> TilingConfig:
        record = records.get(workload.key)
        return TilingConfig(**record.choice) if record else default_tiling(workload, machine)

    return choose


def default_tiling(workload: ConvShape, machine: Machine) -> TilingConfig:
    """Return the tiling that follows from the number of registers alone."""
    lanes, registers = machine.lanes(workload.dtype), machine.registers
    if not workload.inputs:
        # Two registers at a time if one instruction loads both.
        vectors = 2 if machine.lane_products else 1
        taps = workload.size[0] * workload.size[1]
        return TilingConfig(max(1, min(8 // vectors, registers // vectors - taps - 2)), vectors)
    vectors = min(4 if registers >= 32 else 2, len(tir_builder.vectors(workload.outputs, lanes)))
    return TilingConfig(_even(workload.width, _most_pixels(machine, vectors)), vectors)


def _most_pixels(machine: Machine, vectors: int) -> int:
    """Return for how many pixels the sums fit into the registers, beside weights and inputs."""
    if machine.lane_products:
        most = (machine.registers - vectors) // (vectors + 1)
    else:
        most = (machine.registers - vectors - 1) // vectors
    return max(1, min(most, MAX_PIXELS))


def _even(width: int, most: int) -> int:
    """Return the length of a tile: as few tiles as possible, of nearly the same length."""
    tiles = -(-width // min(most, width))
    return -(-width // tiles)


def candidates(workload: ConvShape, machine: Machine) -> list[TilingConfig]:
    """Return the tilings to measure, the most promising first, without the default."""
    default = default_tiling(workload, machine)
    found = (
        _depthwise_candidates(workload)
        if not workload.inputs
        else _dense_candidates(workload, machine)
    )
    return [choice for choice in dict.fromkeys(found) if choice != default]


def _dense_candidates(workload: ConvShape, machine: Machine) -> list[TilingConfig]:
    groups = len(tir_builder.vectors(workload.outputs, machine.lanes(workload.dtype)))
    tiles = []
    for vectors in (4, 2, 3, 1, 6, 8):
        if vectors > groups:
            continue
        most = _most_pixels(machine, vectors)
        even = _even(workload.width, most)
        shorter = -(-workload.width // (-(-workload.width // even) + 1))
        tiles += [
            TilingConfig(pixels, vectors)
            for pixels in (even, most, shorter, _even(workload.width, most + 1), most - 1)
            if 1 <= pixels <= workload.width and vectors * pixels >= 4
        ]
    promising = default_tiling(workload, machine)
    unrolled = [replace(promising, unroll=unroll) for unroll in (2, 4)]
    return [*tiles[:2], *unrolled, *tiles[2:]]


def _depthwise_candidates(workload: ConvShape) -> list[TilingConfig]:
    return [
        TilingConfig(pixels, vectors)
        for vectors in (1, 2, 4)
        for pixels in (4, 3, 2, 5, 6, 8, 1)
        if pixels <= workload.width
    ]
