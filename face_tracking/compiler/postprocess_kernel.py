# SPDX-License-Identifier: Apache-2.0
"""Decoding and suppression as a compiled function, beside the network in its library.

An image has a few faces and thousands of cells. In NumPy the calls themselves dominate: they take
more than a tenth of the network's time. The function does the same as the family's decoder and
:mod:`face_tracking.detection.suppression`, in the same order, so that either can replace the
other. How a cell is decoded is stated by the family's compiled form
(:mod:`face_tracking.detection.compiled_form`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from tvm.script.ir_builder import IRBuilder
from tvm.tirx import PrimFunc

from face_tracking.compiler import tir_builder
from face_tracking.compiler.artifact import POSTPROCESS
from face_tracking.compiler.graph import IMAGE, Network
from face_tracking.compiler.tir_builder import Buffer, Expr, Index, T
from face_tracking.detection.compiled_form import CompiledForm, Reader
from face_tracking.detection.families import FAMILIES
from face_tracking.detection.postprocess import VALUES_PER_FACE, OutputLayout, PostProcessParam
from face_tracking.detection.suppression import MIN_WEIGHT, VOTE_IOU_THRESHOLD
from face_tracking.errors import UserError


class TirMath:
    """The functions of `face_tracking.detection.compiled_form.CellMath` as expressions of TIR."""

    def constant(self, value: float) -> Expr:
        """Return a constant."""
        return tir_builder.constant(value, 'float32')

    def name(self, value: Expr) -> Expr:
        """Return a variable with this value."""
        return tir_builder.let(value)

    def maximum(self, left: Expr, right: Expr) -> Expr:
        """Return the larger of two numbers."""
        return T.max(left, right)

    def minimum(self, left: Expr, right: Expr) -> Expr:
        """Return the smaller of two numbers."""
        return T.min(left, right)

    def exp(self, value: Expr) -> Expr:
        """Return e to the power of a number."""
        return tir_builder.exponential(value, 'float32', 1)


MATH = TirMath()


@dataclass(frozen=True)
class Source:
    """Where the numbers of an output are.

    :ivar buffer: the tensor that contains them.
    :ivar begin: index of the first number.
    :ivar channels: how many numbers there are for each cell.
    """

    buffer: Buffer
    begin: int
    channels: int

    def at(self, cell: Index, channel: int) -> Expr:
        """Return one number of a cell."""
        return self.buffer[self.begin + cell * self.channels + channel]


@dataclass(frozen=True)
class Level:
    """The cells of one stride.

    :ivar columns: of the grid.
    :ivar cells: how many there are.
    :ivar sources: the outputs of this stride, in the order of the compiled form's channels.
    """

    stride: int
    columns: int
    cells: int
    sources: tuple[Source, ...]

    def reader(self, cell: Index) -> Reader:
        """Return the function that reads a cell's numbers."""
        return lambda output, channel: self.sources[output].at(cell, channel)


def _form(layout: OutputLayout) -> CompiledForm:
    """Return the compiled form of a layout's family.

    :raises UserError: the family has none.
    """
    family = FAMILIES.get(layout.kind)
    if family is None or family.compiled is None:
        raise UserError(
            f'the decoder {layout.kind} has no compiled form', 'compile without an output layout'
        )
    return family.compiled


def _check(network: Network, layout: OutputLayout, form: CompiledForm) -> None:
    shapes = {output.name: output.shape for output in network.outputs}
    grids = layout.grids(*_size(network))
    expected = [columns * rows * count for count in form.channels for columns, rows in grids]
    found = [math.prod(shapes.get(name, (0,))) for name in layout.outputs]
    if expected != found:
        raise UserError(
            f'the outputs {", ".join(layout.outputs)} have {found} numbers; the decoder '
            f'{layout.kind} with strides {list(layout.strides)} expects {expected}',
            "correct the model's description",
        )


def _size(network: Network) -> tuple[int, int]:
    """Return width and height of the input."""
    image = network.shapes[IMAGE]
    return image.width, image.height


def _levels(network: Network, layout: OutputLayout, sources: dict[str, Source]) -> list[Level]:
    levels: list[Level] = []
    for number, (columns, rows) in enumerate(layout.grids(*_size(network))):
        own = tuple(sources[name] for name in layout.outputs[number :: len(layout.strides)])
        levels.append(Level(layout.strides[number], columns, columns * rows, own))
    return levels


def postprocess_function(
    network: Network, layout: OutputLayout, sizes: list[int], places: dict[str, tuple[int, int]]
) -> PrimFunc:
    """Return the TIR function ``find_faces(tensors..., params, rows)``.

    It takes the tensors that the program's ``main`` returns and the numbers of
    `PostProcessParam`, and writes rows of `VALUES_PER_FACE`. The first row begins with the number
    of faces, which follow, best first. All numbers are float32. There must be room for one row
    more than there are cells.

    :param sizes: of the tensors.
    :param places: for each output the index of its tensor, and of its first number there.
    :raises UserError: the outputs do not have the shapes that the layout implies, or its family
        has no compiled form.
    """
    form = _form(layout)
    _check(network, layout, form)
    total = layout.cells(*_size(network))
    with IRBuilder() as builder, T.prim_func():
        T.func_name(POSTPROCESS)
        T.func_attr({'tirx.noalias': True, 'global_symbol': POSTPROCESS})
        tensors = [
            T.arg(f'tensor{number}', T.buffer((size,), 'float32'))
            for number, size in enumerate(sizes)
        ]
        params = T.arg('params', T.buffer((len(PostProcessParam),), 'float32'))
        rows = T.arg('rows', T.buffer(((total + 1) * VALUES_PER_FACE,), 'float32'))
        counts = [count for count in form.channels for _ in layout.strides]
        sources = {
            name: Source(tensors[places[name][0]], places[name][1], count)
            for name, count in zip(layout.outputs, counts, strict=True)
        }
        candidates = T.alloc_buffer((total * VALUES_PER_FACE,), 'float32')
        count = _counter()
        for level in _levels(network, layout, sources):
            _decode(level, form, params, candidates, count)
        _suppress(params, candidates, count, rows)
    return cast('PrimFunc', builder.get())


def _counter(value: int = 0) -> Buffer:
    """Return an integer in memory."""
    counter = T.alloc_buffer((1,), 'int32')
    T.buffer_store(counter, tir_builder.integer(value), [0])
    return counter


def _decode(
    level: Level, form: CompiledForm, params: Buffer, candidates: Buffer, count: Buffer
) -> None:
    """Append the candidates of a grid: score, box, landmarks, in pixels of the input."""
    least = (
        PostProcessParam.MIN_LOGIT if form.compares_logit else PostProcessParam.MIN_SQUARED_SCORE
    )
    with tir_builder.serial(level.cells) as cell:
        read = level.reader(cell)
        with T.If(form.first(read) >= params[least]), T.Then():
            squared = tir_builder.let(form.squared_score(read, MATH))
            with T.If(squared >= params[PostProcessParam.MIN_SQUARED_SCORE]), T.Then():
                begin = tir_builder.let(count[0] * VALUES_PER_FACE)
                numbers = [T.sqrt(squared), *_places(level, form, cell)]
                for offset, number in enumerate(numbers):
                    T.buffer_store(candidates, number, [begin + offset])
                T.buffer_store(count, count[0] + 1, [0])


def _places(level: Level, form: CompiledForm, cell: Index) -> list[Expr]:
    """Return x1, y1, x2, y2 and five x, y of a cell, as expressions."""
    stride = MATH.constant(level.stride)
    corner = tuple(
        tir_builder.let(tir_builder.convert(place, 'float32', 1))
        for place in (T.floormod(cell, level.columns), T.floordiv(cell, level.columns))
    )
    found = form.geometry(level.reader(cell), MATH, corner)
    box = [(found.center[axis] - found.half_size[axis]) * stride for axis in range(2)]
    box += [(found.center[axis] + found.half_size[axis]) * stride for axis in range(2)]
    return box + [number * stride for number in found.landmarks]


def _suppress(params: Buffer, candidates: Buffer, count: Buffer, rows: Buffer) -> None:
    """Write the best candidate, remove those that overlap it, and repeat until none is left.

    The mean of the candidates that agree is written (`detection.suppression.blend`).
    """
    sums = T.alloc_buffer((VALUES_PER_FACE,), 'float32')
    removed = tir_builder.constant(-1.0, 'float32')
    best, top = _counter(), T.alloc_buffer((1,), 'float32')
    kept, written, running = _counter(), _counter(), _counter(1)
    with T.While(running[0] > 0):
        T.buffer_store(best, tir_builder.integer(-1), [0])
        T.buffer_store(top, removed, [0])
        with tir_builder.serial(count[0]) as row:
            score = tir_builder.let(candidates[row * VALUES_PER_FACE])
            with T.If(score > top[0]), T.Then():
                T.buffer_store(top, score, [0])
                T.buffer_store(best, row, [0])
        with T.If(best[0] < 0):
            with T.Then():
                T.buffer_store(running, tir_builder.integer(0), [0])
            with T.Else():
                begin = tir_builder.let(best[0] * VALUES_PER_FACE)
                _start_mean(sums, candidates, begin)
                _remove_overlapping(params, candidates, count, begin, sums)
                _write(params, sums, top[0], written, rows)
                T.buffer_store(candidates, removed, [begin])
                T.buffer_store(kept, kept[0] + 1, [0])
                is_full = (
                    tir_builder.convert(kept[0], 'float32', 1)
                    >= params[PostProcessParam.MAX_FACES]
                )
                with T.If(is_full), T.Then():
                    T.buffer_store(running, tir_builder.integer(0), [0])
    T.buffer_store(rows, tir_builder.convert(written[0], 'float32', 1), [0])


def _start_mean(sums: Buffer, candidates: Buffer, begin: Index) -> None:
    """Start a weighted mean with the candidate at ``begin``: the weight and the weighted sums."""
    for number in range(VALUES_PER_FACE):
        T.buffer_store(sums, tir_builder.constant(0.0, 'float32'), [number])
    _add(sums, candidates, begin)


def _add(sums: Buffer, candidates: Buffer, begin: Index) -> None:
    """Add the candidate at ``begin`` to a mean, with the fourth power of its score as weight."""
    square = tir_builder.let(candidates[begin] * candidates[begin])
    weight = tir_builder.let(T.max(square * square, tir_builder.constant(MIN_WEIGHT, 'float32')))
    T.buffer_store(sums, sums[0] + weight, [0])
    with tir_builder.serial(VALUES_PER_FACE - 1) as number:
        T.buffer_store(
            sums, sums[number + 1] + weight * candidates[begin + number + 1], [number + 1]
        )


def _remove_overlapping(
    params: Buffer, candidates: Buffer, count: Buffer, best: Index, sums: Buffer
) -> None:
    """Mark the candidates that overlap the one at ``best`` as removed, and add those that agree.

    The best candidate marks itself as well; it was added before.
    """

    def side(begin: Index, axis: int) -> Expr:
        return candidates[begin + 3 + axis] - candidates[begin + 1 + axis]

    zero = tir_builder.constant(0.0, 'float32')
    with tir_builder.serial(count[0]) as row:
        other = tir_builder.let(row * VALUES_PER_FACE)
        with T.If(candidates[other] >= zero), T.Then():
            shared = [
                tir_builder.let(
                    T.max(
                        zero,
                        T.min(candidates[best + 3 + axis], candidates[other + 3 + axis])
                        - T.max(candidates[best + 1 + axis], candidates[other + 1 + axis]),
                    )
                )
                for axis in range(2)
            ]
            both = tir_builder.let(shared[0] * shared[1])
            union = side(best, 0) * side(best, 1) + side(other, 0) * side(other, 1) - both
            with T.If(both > union * params[PostProcessParam.NMS_THRESHOLD]), T.Then():
                agrees = both > union * tir_builder.constant(VOTE_IOU_THRESHOLD, 'float32')
                with T.If(T.And(agrees, other != best)), T.Then():
                    _add(sums, candidates, other)
                T.buffer_store(candidates, tir_builder.constant(-1.0, 'float32'), [other])


def _write(params: Buffer, sums: Buffer, score: Expr, written: Buffer, rows: Buffer) -> None:
    """Append a face in pixels of the image with its box cut to it, unless nothing is left."""
    zero = tir_builder.constant(0.0, 'float32')
    scale = [
        tir_builder.let(params[axis] / sums[0])
        for axis in (PostProcessParam.SCALE_X, PostProcessParam.SCALE_Y)
    ]
    side = params[PostProcessParam.IMAGE_WIDTH], params[PostProcessParam.IMAGE_HEIGHT]
    box = [
        tir_builder.let(T.min(T.max(sums[1 + number] * scale[number % 2], zero), side[number % 2]))
        for number in range(4)
    ]
    with T.If(T.And(box[2] > box[0], box[3] > box[1])), T.Then():
        target = tir_builder.let((written[0] + 1) * VALUES_PER_FACE)
        T.buffer_store(rows, score, [target])
        for number in range(4):
            T.buffer_store(rows, box[number], [target + 1 + number])
        for number in range(10):
            T.buffer_store(rows, sums[5 + number] * scale[number % 2], [target + 5 + number])
        T.buffer_store(written, written[0] + 1, [0])
