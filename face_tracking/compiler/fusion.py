# SPDX-License-Identifier: Apache-2.0
"""Fused groups: layers that are computed together, row by row.

A row of a layer depends only on the few rows of the layer before that its window covers. A fused
group keeps those rows in line buffers, which stay in the cache, and only its last layer writes a
whole feature map. Image processors use the same scheme in hardware (Hegarty et al., "Darkroom",
SIGGRAPH 2014).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from face_tracking.compiler.graph import (
    IMAGE,
    Activate,
    Activation,
    Add,
    Convolution,
    Layer,
    MaxPool,
    Network,
    Output,
    Shape,
    Upsample,
    Uses,
    Window,
)

POINT = Window()
MAX_REPEATED = 0.08
"""Maximum fraction of a group's work that is done twice when two threads share it."""


@dataclass(frozen=True)
class Operand:
    """A feature map that a stage reads: its name, and how often each pixel is repeated."""

    name: str
    factor: int = 1


@dataclass
class Stage:
    """One layer of a group, or a step that loads rows for a layer.

    :ivar layer: None for a step that loads rows: it converts the image's pixels to numbers, or
        adds padding to the rows of a stored map.
    :ivar operands: the maps that it reads; the first is the previous stage of the group unless
        ``entry``.
    :ivar entry: all operands are stored maps.
    """

    name: str
    operands: list[Operand]
    shape: Shape
    layer: Layer | None = None
    activation: Activation = field(default_factory=Activation)
    entry: bool = False

    @property
    def window(self) -> Window:
        """The rows and columns of the previous stage on which one result depends."""
        return self.layer.window if isinstance(self.layer, Convolution | MaxPool) else POINT


@dataclass
class FusedGroup:
    """Stages that are computed together; the result of the last one is stored."""

    stages: list[Stage]

    @property
    def output(self) -> str:
        """The stored feature map."""
        return self.stages[-1].name

    def inputs(self) -> list[str]:
        """Return the stored maps that the group reads, each once."""
        names = [
            operand.name
            for stage in self.stages
            for operand in stage.operands[0 if stage.entry else 1 :]
        ]
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class RowRange:
    """The rows of a stage on which a row of the group's result depends.

    Row ``row`` of the result depends on the rows from ``ratio * row + first`` to
    ``ratio * row + last``.
    """

    ratio: int
    first: int
    last: int

    def before(self, window: Window) -> RowRange:
        """Return the range of the stage that this one reads through ``window``."""
        stride, padding = window.stride[0], window.padding[0]
        return RowRange(
            self.ratio * stride,
            self.first * stride - padding,
            self.last * stride - padding + window.reach(0) - 1,
        )


def row_ranges_of(stages: list[Stage]) -> list[RowRange]:
    """Return the row range of each stage of a group."""
    row_ranges = [RowRange(1, 0, 0)]
    for stage in reversed(stages[1:]):
        row_ranges.append(row_ranges[-1].before(stage.window))
    return row_ranges[::-1]


def plan_fusion(network: Network) -> list[FusedGroup]:
    """Split a network into fused groups, in an order in which they can be computed."""
    uses = network.uses()
    enlarged = _enlarged_operands(network, uses)
    groups: dict[str, FusedGroup] = {}
    for layer in network.layers:
        if layer.output in enlarged:
            continue
        stage = _stage(network, layer, enlarged)
        previous = next(
            (
                groups[operand.name]
                for operand in stage.operands
                if operand.factor == 1 and operand.name in groups and uses[operand.name] == [layer]
            ),
            None,
        )
        if previous is None:
            previous = FusedGroup(_entry(network, stage))
        else:
            groups.pop(previous.output)
            inside = next(operand for operand in stage.operands if operand.name == previous.output)
            stage.operands.remove(inside)
            stage.operands.insert(0, inside)
            previous.stages.append(stage)
        groups[layer.output] = previous
    return _in_order([part for group in groups.values() for part in _split(group)])


def _split(group: FusedGroup) -> list[FusedGroup]:
    """Split a group if threads that share it would compute too many rows twice.

    It is split before pointwise convolutions, which read a stored map without loading it first.
    """
    stages = group.stages
    cuts = [
        number
        for number in range(2, len(stages))
        if stages[number].window == POINT and isinstance(stages[number].layer, Convolution)
    ]
    parts: list[FusedGroup] = []
    begin = 0
    while begin < len(stages):
        ends = [cut for cut in cuts if cut > begin] + [len(stages)]
        end = ends[0]
        for longer in ends[1:]:
            if repeated_work(stages[begin:longer]) > MAX_REPEATED:
                break
            end = longer
        if begin:
            stages[begin].entry = True
        parts.append(FusedGroup(stages[begin:end]))
        begin = end
    return parts


def repeated_work(stages: list[Stage], bands: int = 2) -> float:
    """Return the additional work in row bands, as a fraction of the work without them."""
    return (bands - 1) * sum(edge_work(stages)) / stages[-1].shape.height


def edge_work(stages: list[Stage]) -> tuple[float, float]:
    """Return the work of a row band beyond its share, above and below, in rows of the result.

    Its first rows depend on rows of earlier stages that the band above computes as well, its last
    rows on some that the band below computes.
    """
    whole = above = below = 0
    for stage, row_range in zip(stages, row_ranges_of(stages), strict=True):
        layer, shape = stage.layer, stage.shape
        pixel = layer.weights.size if isinstance(layer, Convolution) else shape.channels
        whole += pixel * shape.width * shape.height
        above -= pixel * shape.width * row_range.first
        below += pixel * shape.width * (row_range.last + 1 - row_range.ratio)
    height = stages[-1].shape.height
    # More than all rows are never computed.
    row = max(whole, above + below) / height
    return above / row, below / row


def _enlarged_operands(network: Network, uses: Uses) -> dict[str, Operand]:
    """Return the upsamplings that the addition after them can perform while it reads."""
    return {
        layer.output: Operand(layer.sources[0], layer.factor)
        for layer in network.layers
        if isinstance(layer, Upsample)
        and all(isinstance(user, Add) for user in uses[layer.output])
    }


def _stage(network: Network, layer: Layer, enlarged: dict[str, Operand]) -> Stage:
    operands = [enlarged.get(source, Operand(source)) for source in layer.sources]
    if isinstance(layer, Upsample):
        operands = [Operand(layer.sources[0], layer.factor)]
    activation = (
        layer.activation if isinstance(layer, Convolution | Add | Activate) else Activation()
    )
    return Stage(layer.output, operands, network.shapes[layer.output], layer, activation)


def _entry(network: Network, stage: Stage) -> list[Stage]:
    """Return the first stages of a group whose first layer is that of ``stage``."""
    source = stage.operands[0].name
    padded = stage.window.size != (1, 1)
    if source != IMAGE and not padded:
        stage.entry = True
        return [stage]
    bring_in = Stage(f'{source} rows', [Operand(source)], network.shapes[source], entry=True)
    stage.operands[0] = Operand(bring_in.name)
    return [bring_in, stage]


def _in_order(groups: list[FusedGroup]) -> list[FusedGroup]:
    """Sort the groups so that each one follows those whose results it reads."""
    ordered: list[FusedGroup] = []
    ready, waiting = {IMAGE}, list(groups)
    while waiting:
        group = next(item for item in waiting if set(item.inputs()) <= ready)
        waiting.remove(group)
        ready.add(group.output)
        ordered.append(group)
    return ordered


def readers(outputs: list[Output]) -> list[str]:
    """Return the stored maps that outputs are read from, each once."""
    return list(dict.fromkeys(part.source for output in outputs for part in output.parts))
