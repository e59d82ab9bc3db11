# SPDX-License-Identifier: Apache-2.0
"""What is free in a convolution's kernel, and what is chosen where nobody measured.

A workload is a layer's shape, the precision and the processor; weights play no part in it. A
`Choice` for it says how the kernel in `rows` is cut. `face_tracking tune` measures some of
`candidates` and records the best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from face_tracking.compiler import emit
from face_tracking.compiler.network import Convolution, Shape
from face_tracking.compiler.targets import Machine

MOST_PIXELS = 16
"""No register tile is longer."""


@dataclass(frozen=True)
class Choice:
    """How one convolution's kernel is cut.

    :ivar pixels: neighbouring pixels of a row whose sums are in registers together.
    :ivar vectors: vectors of output channels that are computed beside each other.
    :ivar unroll: steps of the sum over input channels between two jumps (dense ones only).
    """

    pixels: int
    vectors: int
    unroll: int = 1


@dataclass(frozen=True)
class Workload:
    """A convolution as its kernel sees it: one row of it, on one processor.

    :ivar window: kernel (height, width), stride, dilation as in `network.Window`.
    :ivar inputs: input channels; 0 for a depthwise convolution.
    :ivar outputs: output channels.
    :ivar width: pixels of a row of the result.
    :ivar dtype: of the arithmetic.
    :ivar cpu: as LLVM names it.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    inputs: int
    outputs: int
    width: int
    dtype: str
    cpu: str

    @staticmethod
    def of(layer: Convolution, shape: Shape, dtype: str, machine: Machine) -> Workload:
        """Return the workload of a layer whose result has ``shape``."""
        window = layer.window
        inputs = 0 if layer.depthwise else layer.weights.shape[2]
        return Workload(window.size, window.stride, window.dilation, inputs, shape.channels,
                        shape.width, dtype, machine.cpu)

    @property
    def key(self) -> str:
        """The name under which its record is kept, such as ``1x1 64>64 w40 float32 cortex-a76``.
        """
        kernel = 'x'.join(map(str, self.size))
        for sign, pair in (('/', self.stride), ('d', self.dilation)):
            if pair != (1, 1):
                kernel += sign + 'x'.join(map(str, pair))
        channels = f'{self.inputs or "each"}>{self.outputs}'
        return f'{kernel} {channels} w{self.width} {self.dtype} {self.cpu}'


Chooser = Callable[[Workload], Choice]


def default_choice(workload: Workload, machine: Machine) -> Choice:
    """Return the choice that follows from the number of registers alone."""
    lanes, registers = machine.lanes(workload.dtype), machine.registers
    if not workload.inputs:
        # Two registers at a time where one instruction loads both.
        vectors = 2 if machine.lane_products else 1
        taps = workload.size[0] * workload.size[1]
        return Choice(max(1, min(8 // vectors, registers // vectors - taps - 2)), vectors)
    widest = 4 if registers >= 32 else 2
    vectors = min(widest, len(emit.vectors(workload.outputs, lanes)))
    return Choice(_even(workload.width, _most_pixels(machine, vectors)), widest)


def _most_pixels(machine: Machine, vectors: int) -> int:
    """Return how many pixels' sums fit into the registers, beside weights and inputs."""
    if machine.lane_products:
        most = (machine.registers - vectors) // (vectors + 1)
    else:
        most = (machine.registers - vectors - 1) // vectors
    return max(1, min(most, MOST_PIXELS))


def _even(width: int, most: int) -> int:
    """Return the tile's length: few tiles first, then those that leave no odd rest."""
    tiles = -(-width // min(most, width))
    return -(-width // tiles)
