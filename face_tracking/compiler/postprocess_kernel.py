# SPDX-License-Identifier: Apache-2.0
"""Decoding and suppression as a compiled function, beside the network in its library.

An image has a few faces and thousands of cells, so in NumPy it is the calls that cost: more than
a tenth of the network. The function does what `detection.families` and `detection.suppression`
do, in their order, so that either may take the other's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tvm.script.ir_builder import IRBuilder

from face_tracking.compiler import tir_builder
from face_tracking.compiler.graph import IMAGE, Network
from face_tracking.compiler.tir_builder import T
from face_tracking.detection.families.base import LARGEST_LOG_SIZE, LEAST_LOGIT
from face_tracking.detection.postprocess import NUMBERS, OutputLayout, PostProcessParam
from face_tracking.detection.suppression import LEAST_WEIGHT, VOTE_IOU_THRESHOLD
from face_tracking.errors import UserError

NAME = 'find_faces'


@dataclass(frozen=True)
class Source:
    """Where an output's numbers are: in which tensor, from where on, how many for each cell."""

    buffer: object
    begin: int
    step: int

    def __call__(self, cell, number: int = 0):
        """Return one number of a cell."""
        return self.buffer[self.begin + cell * self.step + number]


@dataclass(frozen=True)
class Level:
    """One of the head's grids; what is called returns expressions.

    :ivar first: of a cell, the number that is compared before all others.
    :ivar least: the setting that it must reach.
    :ivar squared_score: of a cell.
    :ivar box: of a cell and 0 to 3: dx, dy, log w, log h.
    :ivar points: of a cell and 0 to 9: five landmarks x, y.
    """

    stride: int
    columns: int
    cells: int
    first: Callable
    least: PostProcessParam
    squared_score: Callable
    box: Callable
    points: Callable


def _check(network: Network, head: OutputLayout) -> None:
    shapes = {output.name: output.shape for output in network.outputs}
    grids = head.grids(*_size(network))
    wanted = [columns * rows * step for step in FORMS[head.kind].steps for columns, rows in grids]
    found = [math.prod(shapes.get(name, (0,))) for name in head.outputs]
    if wanted != found:
        raise UserError(
            f'the outputs {", ".join(head.outputs)} have {found} numbers, the decoder '
            f'{head.kind} of the strides {list(head.strides)} takes {wanted}',
            "correct the model's description",
        )


def _size(network: Network) -> tuple[int, int]:
    """Return width and height of the input."""
    image = network.shapes[IMAGE]
    return image.width, image.height


def _levels(network: Network, head: OutputLayout, sources: dict[str, Source]) -> list[Level]:
    found, make = [], FORMS[head.kind].level
    for number, (columns, rows) in enumerate(head.grids(*_size(network))):
        parts = [sources[name] for name in head.outputs[number :: len(head.strides)]]
        found.append(Level(head.strides[number], columns, columns * rows, *make(*parts)))
    return found


def _anchor_free(output: Source):
    def doubt(cell, number):
        least = tir_builder.constant(LEAST_LOGIT, 'float32')
        logit = tir_builder.let(T.max(output(cell, number), least))
        one = tir_builder.constant(1.0, 'float32')
        return one + tir_builder.exponential(
            tir_builder.constant(0.0, 'float32') - logit, 'float32', 1
        )

    return (
        output,
        PostProcessParam.LEAST_LOGIT,
        lambda cell: tir_builder.constant(1.0, 'float32') / (doubt(cell, 0) * doubt(cell, 15)),
        lambda cell, number: output(cell, 1 + number),
        lambda cell, number: output(cell, 5 + number),
    )


def _yunet(cls: Source, obj: Source, bbox: Source, kps: Source):
    return cls, PostProcessParam.LEAST_SQUARE, lambda cell: cls(cell) * obj(cell), bbox, kps


@dataclass(frozen=True)
class Form:
    """The compiled form of a family's decoder.

    :ivar steps: how many numbers of a cell are in each of a grid's outputs.
    :ivar level: from a grid's outputs to what `Level` holds from ``first`` on.
    :ivar from_box: whether landmarks are in halves of the box from its center; otherwise they are
        in cells from the cell's corner.
    """

    steps: tuple[int, ...]
    level: Callable
    from_box: bool


FORMS = {
    'anchor_free': Form((16,), _anchor_free, True),
    'yunet': Form((1, 1, 4, 10), _yunet, False),
}
"""By the decoder's name; `face_tracking.detection.postprocess.COMPILED` lists the same."""


def selection_function(
    network: Network, head: OutputLayout, sizes: list[int], places: dict[str, tuple[int, int]]
):
    """Return the TIR function ``find_faces(tensors..., settings, rows)``.

    It takes what the program's ``main`` returns and the numbers of `PostProcessParam`, and writes rows of
    `NUMBERS`: the first begins with how many faces follow, then these, best first. All are
    float32. There must be room for all cells of the grids and one more.

    :param sizes: of the tensors.
    :param places: for each output the number of its tensor, and where in that it begins.
    :raises UserError: the outputs are not what the head says they are.
    """
    _check(network, head)
    total = head.cells(*_size(network))
    with IRBuilder() as builder, T.prim_func():
        T.func_name(NAME)
        T.func_attr({'tirx.noalias': True, 'global_symbol': NAME})
        tensors = [
            T.arg(f'tensor{number}', T.buffer((size,), 'float32'))
            for number, size in enumerate(sizes)
        ]
        settings = T.arg('settings', T.buffer((len(PostProcessParam),), 'float32'))
        rows = T.arg('rows', T.buffer(((total + 1) * NUMBERS,), 'float32'))
        steps = [step for step in FORMS[head.kind].steps for _ in head.strides]
        sources = {
            name: Source(tensors[places[name][0]], places[name][1], step)
            for name, step in zip(head.outputs, steps, strict=True)
        }
        candidates = T.alloc_buffer((total * NUMBERS,), 'float32')
        count = _counter()
        for level in _levels(network, head, sources):
            _decode(level, head, settings, candidates, count)
        _suppress(settings, candidates, count, rows)
    return builder.get()


def _counter(value: int = 0):
    counter = T.alloc_buffer((1,), 'int32')
    T.buffer_store(counter, tir_builder.integer(value), [0])
    return counter


def _decode(level: Level, head: OutputLayout, settings, candidates, count) -> None:
    """Append the cells of a grid that may be faces: score, box, landmarks, in input pixels."""
    with tir_builder.serial(level.cells) as cell:
        with T.If(level.first(cell) >= settings[level.least]), T.Then():
            squared = tir_builder.let(level.squared_score(cell))
            with T.If(squared >= settings[PostProcessParam.LEAST_SQUARE]), T.Then():
                begin = tir_builder.let(count[0] * NUMBERS)
                numbers = [T.sqrt(squared), *_placed(level, head, cell)]
                for offset, number in enumerate(numbers):
                    T.buffer_store(candidates, number, [begin + offset])
                T.buffer_store(count, count[0] + 1, [0])


def _placed(level: Level, head: OutputLayout, cell) -> list:
    """Return x1, y1, x2, y2 and five x, y of a cell, as expressions."""
    stride = tir_builder.constant(level.stride, 'float32')
    corner = [
        tir_builder.let(tir_builder.convert(place, 'float32', 1))
        for place in (T.floormod(cell, level.columns), T.floordiv(cell, level.columns))
    ]
    center = [tir_builder.let(corner[axis] + level.box(cell, axis)) for axis in range(2)]
    largest = tir_builder.constant(LARGEST_LOG_SIZE, 'float32')
    half = [
        tir_builder.let(
            tir_builder.exponential(T.min(level.box(cell, 2 + axis), largest), 'float32', 1)
            * tir_builder.constant(0.5, 'float32')
        )
        for axis in range(2)
    ]
    box = [(center[axis] - half[axis]) * stride for axis in range(2)]
    box += [(center[axis] + half[axis]) * stride for axis in range(2)]
    points = []
    for number in range(10):
        axis, point = number % 2, level.points(cell, number)
        place = (
            center[axis] + point * half[axis]
            if FORMS[head.kind].from_box
            else corner[axis] + point
        )
        points.append(place * stride)
    return box + points


def _suppress(settings, candidates, count, rows) -> None:
    """Write the best candidate, drop those that overlap it, and so on while there are any.

    What is written is the mean of those that agree (`detection.suppression.blend`).
    """
    sums = T.alloc_buffer((NUMBERS,), 'float32')
    gone = tir_builder.constant(-1.0, 'float32')
    best, top = _counter(), T.alloc_buffer((1,), 'float32')
    kept, written, going = _counter(), _counter(), _counter(1)
    with T.While(going[0] > 0):
        T.buffer_store(best, tir_builder.integer(-1), [0])
        T.buffer_store(top, gone, [0])
        with tir_builder.serial(count[0]) as row:
            score = tir_builder.let(candidates[row * NUMBERS])
            with T.If(score > top[0]), T.Then():
                T.buffer_store(top, score, [0])
                T.buffer_store(best, row, [0])
        with T.If(best[0] < 0):
            with T.Then():
                T.buffer_store(going, tir_builder.integer(0), [0])
            with T.Else():
                begin = tir_builder.let(best[0] * NUMBERS)
                _start_mean(sums, candidates, begin)
                _drop_overlapping(settings, candidates, count, begin, sums)
                _write(settings, sums, top[0], written, rows)
                T.buffer_store(candidates, gone, [begin])
                T.buffer_store(kept, kept[0] + 1, [0])
                enough = (
                    tir_builder.convert(kept[0], 'float32', 1) >= settings[PostProcessParam.MOST]
                )
                with T.If(enough), T.Then():
                    T.buffer_store(going, tir_builder.integer(0), [0])
    T.buffer_store(rows, tir_builder.convert(written[0], 'float32', 1), [0])


def _start_mean(sums, candidates, begin) -> None:
    """Begin a mean, weight and weighted numbers, with the candidate at ``begin``."""
    for number in range(NUMBERS):
        T.buffer_store(sums, tir_builder.constant(0.0, 'float32'), [number])
    _add(sums, candidates, begin)


def _add(sums, candidates, begin) -> None:
    """Add the candidate at ``begin`` to a mean, with the fourth power of its score as weight."""
    square = tir_builder.let(candidates[begin] * candidates[begin])
    weight = tir_builder.let(T.max(square * square, tir_builder.constant(LEAST_WEIGHT, 'float32')))
    T.buffer_store(sums, sums[0] + weight, [0])
    with tir_builder.serial(NUMBERS - 1) as number:
        T.buffer_store(
            sums, sums[number + 1] + weight * candidates[begin + number + 1], [number + 1]
        )


def _drop_overlapping(settings, candidates, count, best, sums) -> None:
    """Mark what overlaps the candidate at ``best`` too much as gone, and add what agrees with it.

    The candidate itself is among what is marked, but was added before.
    """

    def side(begin, axis):
        return candidates[begin + 3 + axis] - candidates[begin + 1 + axis]

    zero = tir_builder.constant(0.0, 'float32')
    with tir_builder.serial(count[0]) as row:
        other = tir_builder.let(row * NUMBERS)
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
            with T.If(both > union * settings[PostProcessParam.OVERLAP]), T.Then():
                agrees = both > union * tir_builder.constant(VOTE_IOU_THRESHOLD, 'float32')
                with T.If(T.And(agrees, other != best)), T.Then():
                    _add(sums, candidates, other)
                T.buffer_store(candidates, tir_builder.constant(-1.0, 'float32'), [other])


def _write(settings, sums, score, written, rows) -> None:
    """Append a face in pixels of the image, its box cut to it, unless nothing of it is left."""
    zero = tir_builder.constant(0.0, 'float32')
    scale = [
        tir_builder.let(settings[axis] / sums[0])
        for axis in (PostProcessParam.SCALE_X, PostProcessParam.SCALE_Y)
    ]
    side = settings[PostProcessParam.WIDTH], settings[PostProcessParam.HEIGHT]
    box = [
        tir_builder.let(T.min(T.max(sums[1 + number] * scale[number % 2], zero), side[number % 2]))
        for number in range(4)
    ]
    with T.If(T.And(box[2] > box[0], box[3] > box[1])), T.Then():
        target = tir_builder.let((written[0] + 1) * NUMBERS)
        T.buffer_store(rows, score, [target])
        for number in range(4):
            T.buffer_store(rows, box[number], [target + 1 + number])
        for number in range(10):
            T.buffer_store(rows, sums[5 + number] * scale[number % 2], [target + 5 + number])
        T.buffer_store(written, written[0] + 1, [0])
