# SPDX-License-Identifier: Apache-2.0
"""Chains of layers that are computed together, row by row.

A row of each layer needs only the few rows before it that its window looks at. So a chain keeps
those rows in rings that stay in the cache, and only its last layer writes a whole feature map:
the line buffers of image processors (Hegarty et al., "Darkroom", SIGGRAPH 2014), here in
software.
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
    Window,
)

POINT = Window()
MOST_REPEATED = 0.08
"""So much of a chain's work may be done twice when two threads share it."""


@dataclass(frozen=True)
class Operand:
    """A feature map that a stage reads: its name, and how often each pixel is repeated."""

    name: str
    factor: int = 1


@dataclass
class Stage:
    """One layer in a chain, or what prepares rows for one.

    :ivar layer: None where rows are only brought in: the image's converted to numbers, a
        stored map's set into padding.
    :ivar operands: what it reads; the first is the chain's previous stage unless ``entry``.
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
        """Which rows and columns of the previous stage one output looks at."""
        return self.layer.window if isinstance(self.layer, Convolution | MaxPool) else POINT


@dataclass
class Pipeline:
    """Stages computed together; what the last one makes is stored."""

    stages: list[Stage]

    @property
    def output(self) -> str:
        """The stored feature map."""
        return self.stages[-1].name

    def inputs(self) -> list[str]:
        """Return the stored maps that it reads, each once."""
        names = [
            operand.name
            for number, stage in enumerate(self.stages)
            for operand in stage.operands[0 if stage.entry else 1 :]
        ]
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Span:
    """Which rows of a stage the final rows need: up to ``ratio * row + last``.

    :ivar first: the first row needed for final row ``row`` is ``ratio * row + first``.
    """

    ratio: int
    first: int
    last: int

    def before(self, window: Window) -> Span:
        """Return the span of the stage that this one reads through ``window``."""
        stride, padding = window.stride[0], window.padding[0]
        return Span(
            self.ratio * stride,
            self.first * stride - padding,
            self.last * stride - padding + window.reach(0) - 1,
        )


def find_spans(stages: list[Stage]) -> list[Span]:
    """Return the span of each stage of a chain."""
    spans = [Span(1, 0, 0)]
    for stage in reversed(stages[1:]):
        spans.append(spans[-1].before(stage.window))
    return spans[::-1]


def plan_pipelines(network: Network) -> list[Pipeline]:
    """Split a network into chains, in an order in which they can be computed."""
    uses = network.uses()
    enlarged = _enlarged_operands(network, uses)
    chains: dict[str, Pipeline] = {}
    for layer in network.layers:
        if layer.output in enlarged:
            continue
        stage = _stage(network, layer, enlarged)
        previous = next(
            (
                chains[operand.name]
                for operand in stage.operands
                if operand.factor == 1 and operand.name in chains and uses[operand.name] == [layer]
            ),
            None,
        )
        if previous is None:
            previous = Pipeline(_entry(network, stage))
        else:
            chains.pop(previous.output)
            inside = next(operand for operand in stage.operands if operand.name == previous.output)
            stage.operands.remove(inside)
            stage.operands.insert(0, inside)
            previous.stages.append(stage)
        chains[layer.output] = previous
    return _in_order([part for chain in chains.values() for part in _split(chain)])


def _split(chain: Pipeline) -> list[Pipeline]:
    """Cut a chain where threads that share it would compute too many rows twice.

    Cuts are before pointwise convolutions, which read a stored map without bringing it in first.
    """
    stages = chain.stages
    cuts = [
        number
        for number in range(2, len(stages))
        if stages[number].window == POINT and isinstance(stages[number].layer, Convolution)
    ]
    parts, begin = [], 0
    while begin < len(stages):
        ends = [cut for cut in cuts if cut > begin] + [len(stages)]
        end = ends[0]
        for longer in ends[1:]:
            if repeated_work(stages[begin:longer]) > MOST_REPEATED:
                break
            end = longer
        if begin:
            stages[begin].entry = True
        parts.append(Pipeline(stages[begin:end]))
        begin = end
    return parts


def repeated_work(stages: list[Stage], bands: int = 2) -> float:
    """Return how much more there is to compute in bands, as a fraction of the whole."""
    return (bands - 1) * sum(edge_work(stages)) / stages[-1].shape.height


def edge_work(stages: list[Stage]) -> tuple[float, float]:
    """Return what a band of rows computes beyond its share, above and below, in final rows.

    Its first rows need rows of the stages before that the band above computes as well, its last
    rows some that the band below does.
    """
    whole = above = below = 0
    for stage, span in zip(stages, find_spans(stages), strict=True):
        layer, shape = stage.layer, stage.shape
        pixel = layer.weights.size if isinstance(layer, Convolution) else shape.channels
        whole += pixel * shape.width * shape.height
        above -= pixel * shape.width * span.first
        below += pixel * shape.width * (span.last + 1 - span.ratio)
    height = stages[-1].shape.height
    # More than all rows are never computed.
    row = max(whole, above + below) / height
    return above / row, below / row


def _enlarged_operands(network: Network, uses) -> dict[str, Operand]:
    """Return the up-samplings that the addition behind them can do while it reads."""
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
    """Return the stages that a chain begins with, if ``stage`` is to be its first layer."""
    source = stage.operands[0].name
    padded = stage.window.size != (1, 1)
    if source != IMAGE and not padded:
        stage.entry = True
        return [stage]
    bring_in = Stage(f'{source} rows', [Operand(source)], network.shapes[source], entry=True)
    stage.operands[0] = Operand(bring_in.name)
    return [bring_in, stage]


def _in_order(pipelines: list[Pipeline]) -> list[Pipeline]:
    """Sort so that each chain comes after those whose results it reads."""
    ordered, ready, waiting = [], {IMAGE}, list(pipelines)
    while waiting:
        pipeline = next(item for item in waiting if set(item.inputs()) <= ready)
        waiting.remove(pipeline)
        ready.add(pipeline.output)
        ordered.append(pipeline)
    return ordered


def readers(outputs: list[Output]) -> list[str]:
    """Return the stored maps that a network's outputs are read from, each once."""
    return list(dict.fromkeys(part.source for output in outputs for part in output.parts))
