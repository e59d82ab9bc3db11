# SPDX-License-Identifier: Apache-2.0
"""The compiler's representation of a network: layers over NHWC feature maps, batch size 1."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

import numpy as np

from face_tracking.arrays import FloatArray

IMAGE = 'image'


@dataclass(frozen=True)
class Shape:
    """Height, width and channels of a feature map."""

    height: int
    width: int
    channels: int

    @property
    def numbers(self) -> int:
        """The number of values in the map."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Activation:
    """The function that a layer applies to its results.

    :ivar kind: ``none``, ``clip`` (to ``[low, high]``; ReLU is ``[0, inf]``), ``leaky`` (slope
        ``low`` below zero), ``prelu`` (a slope below zero for each channel; only behind a
        convolution) or ``sigmoid``.
    :ivar slopes: of ``prelu``, one for each channel.
    """

    kind: str = 'none'
    low: float = 0.0
    high: float = float('inf')
    slopes: tuple[float, ...] = ()


NONE = Activation()
RELU = Activation('clip')


@dataclass(frozen=True)
class Window:
    """The window of a kernel: (vertical, horizontal), padding (top, left, bottom, right)."""

    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def reach(self, axis: int) -> int:
        """Return how many rows (axis 0) or columns (axis 1) the window spans, with its gaps."""
        return (self.size[axis] - 1) * self.dilation[axis] + 1

    def output(self, shape: Shape, channels: int, ceil: bool = False) -> Shape:
        """Return the shape of the result for ``shape``; ``ceil`` rounds up like ONNX's pooling."""
        sides: list[int] = []
        for axis, length in enumerate((shape.height, shape.width)):
            room = length + self.padding[axis] + self.padding[axis + 2] - self.reach(axis)
            steps = -(-room // self.stride[axis]) if ceil else room // self.stride[axis]
            sides.append(steps + 1)
        return Shape(sides[0], sides[1], channels)


@dataclass(frozen=True)
class Layer:
    """One step from feature maps to one feature map; all have names."""

    output: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Convolution(Layer):
    """A dense convolution, or a depthwise one.

    :ivar weights: float32 (kernel height, kernel width, in, out); without ``in`` if depthwise.
    :ivar bias: float32 (out,).
    """

    window: Window
    weights: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)
    activation: Activation = NONE

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered separately."""
        return self.weights.ndim == 3


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest value in each window."""

    window: Window


@dataclass(frozen=True)
class Upsample(Layer):
    """Each pixel repeated ``factor`` times along both sides."""

    factor: int


@dataclass(frozen=True)
class Add(Layer):
    """The sum of two feature maps of one shape."""

    activation: Activation = NONE


@dataclass(frozen=True)
class Concatenate(Layer):
    """Feature maps of the same height and width, concatenated along the channels."""


@dataclass(frozen=True)
class Activate(Layer):
    """An activation that could not become part of the layer before it."""

    activation: Activation


@dataclass(frozen=True)
class Part:
    """A range of a feature map's channels in an output.

    :ivar activation: applied to them, where their layer could not.
    """

    source: str
    first: int
    channels: int
    activation: Activation = NONE


@dataclass(frozen=True)
class Output:
    """One of the network's results.

    :ivar shape: as in the ONNX graph, with the batch size.
    :ivar parts: concatenated; each is stored pixel by pixel with its channels together.
    :ivar planar: the ONNX output is NCHW; the library writes NHWC and the reader transposes it.
    :ivar softmax: normalize along the last axis.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    planar: bool = False
    softmax: bool = False


Uses: TypeAlias = dict[str, list[Layer | Output]]
"""The layers and outputs that read each feature map."""
_Tail: TypeAlias = tuple[str] | tuple[str, Window, Activation]


@dataclass
class Network:
    """Layers in the order of their computation, outputs, and the shape of every feature map.

    :ivar mean: subtracted from each number of the input by the network itself.
    :ivar scale: then multiplied.
    """

    layers: list[Layer]
    outputs: list[Output]
    shapes: dict[str, Shape]
    mean: float = 0.0
    scale: float = 1.0

    def uses(self) -> Uses:
        """Return the layers and outputs that read each feature map."""
        users: Uses = {name: [] for name in self.shapes}
        for layer in self.layers:
            for source in layer.sources:
                users[source].append(layer)
        for output in self.outputs:
            for part in output.parts:
                users[part.source].append(output)
        return users

    def multiply_adds(self) -> int:
        """Return the number of multiply-adds of all convolutions."""
        return sum(
            self.shapes[layer.output].height * self.shapes[layer.output].width * layer.weights.size
            for layer in self.layers
            if isinstance(layer, Convolution)
        )


def merge_sibling_convolutions(network: Network) -> Network:
    """Merge convolutions of the same kind that read the same map into one with more channels.

    The heads of YuNet are twelve pairs of a pointwise and a depthwise convolution with 1, 1, 4 and
    10 channels. Merged, each stride has one pair with 16 channels, which fills the vectors.
    """
    merged = _merge_once(network)
    while merged is not None:
        network = merged
        merged = _merge_once(network)
    return network


def _merge_once(network: Network) -> Network | None:
    uses = network.uses()
    groups: dict[tuple[tuple[str, ...], Window, Activation, _Tail], list[Convolution]] = {}
    for layer in network.layers:
        if not isinstance(layer, Convolution) or layer.depthwise:
            continue
        tail = _tail(layer, uses)
        if tail is not None:
            key = layer.sources, layer.window, layer.activation, tail
            groups.setdefault(key, []).append(layer)
    for (_, _, _, tail), heads in groups.items():
        if len(heads) > 1:
            return _merge(network, heads, tail, uses)
    return None


def _tail(head: Convolution, uses: Uses) -> _Tail | None:
    """Return the kind of what follows a convolution, None if it cannot be merged with others."""
    users = uses[head.output]
    if all(isinstance(user, Output) for user in users):
        return ('output',)
    follower = users[0]
    if (
        len(users) == 1
        and isinstance(follower, Convolution)
        and follower.depthwise
        and all(isinstance(user, Output) for user in uses[follower.output])
    ):
        return ('depthwise', follower.window, follower.activation)
    return None


def _merge(network: Network, heads: list[Convolution], tail: _Tail, uses: Uses) -> Network:
    name = '+'.join(head.output for head in heads)
    first = replace(
        heads[0],
        output=name,
        weights=np.concatenate([head.weights for head in heads], axis=-1),
        bias=np.concatenate([head.bias for head in heads]),
    )
    new, replaced, ends = [first], {id(head) for head in heads}, list(heads)
    if tail[0] == 'depthwise':
        ends = [cast('Convolution', uses[head.output][0]) for head in heads]
        new.append(
            replace(
                ends[0],
                sources=(name,),
                output=name + '/depthwise',
                weights=np.concatenate([end.weights for end in ends], axis=-1),
                bias=np.concatenate([end.bias for end in ends]),
            )
        )
        replaced |= {id(end) for end in ends}
    merged_name = new[-1].output
    offsets: dict[str, int] = {}
    offset = 0
    for end in ends:
        offsets[end.output] = offset
        offset += len(end.bias)
    layers: list[Layer] = []
    placed = False
    for layer in network.layers:
        if id(layer) not in replaced:
            layers.append(layer)
        elif not placed:
            layers.extend(new)
            placed = True

    def moved(part: Part) -> Part:
        if part.source not in offsets:
            return part
        return replace(part, source=merged_name, first=part.first + offsets[part.source])

    outputs = [
        replace(output, parts=tuple(moved(part) for part in output.parts))
        for output in network.outputs
    ]
    gone = {head.output for head in heads} | set(offsets)
    shapes = {key: shape for key, shape in network.shapes.items() if key not in gone}
    for layer in new:
        source = network.shapes[heads[0].sources[0]] if layer is first else shapes[name]
        shapes[layer.output] = layer.window.output(source, len(layer.bias))
    return replace(network, layers=layers, outputs=outputs, shapes=shapes)
