# SPDX-License-Identifier: Apache-2.0
"""The interface of a detector family: a kind of network whose outputs are decoded in one way.

A family is one file in :mod:`face_tracking.detection.families` with a constant ``FAMILY``. It
consists of a recognizer, a decoder and, optionally, a compiled form:

- The recognizer decides by the names and shapes of the outputs whether a network belongs to the
  family.
- The decoder turns the outputs into candidate faces with NumPy. Every family needs one.
- The compiled form describes the same decoding for one cell of a feature map, so that the
  compiler can put it into the network's library. It is written with operators and with the
  functions of :class:`CellMath`, and imports nothing of the compiler. A family without a compiled
  form is decoded by its decoder, whatever engine runs the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from face_tracking.detection.candidates import Decoder

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each output of a network by its name, in the order of the file."""
Expression = Any
"""A float32 number in generated code; supports ``+ - * /``."""
Reader = Callable[[int, int], Expression]
"""Returns a number of a cell: the index of the output among those of its stride, the channel."""


@dataclass(frozen=True)
class Recognition:
    """What is known about a network as soon as its family is recognized.

    :ivar outputs: names of the network's outputs, in the order that the decoder expects.
    :ivar decoder_options: keyword arguments of the decoder beside width and height.
    :ivar size_multiple: the sides of the input can be changed to multiples of this.
    :ivar color: channel order of the network's input, ``bgr`` or ``rgb``.
    :ivar mean: subtracted from each pixel value (0 to 255), in the network's channel order.
    :ivar scale: factor applied after the subtraction.
    """

    outputs: tuple[str, ...]
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    size_multiple: int = 32
    color: str = 'bgr'
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True)
class PublishedModel:
    """A model file that is published by others.

    :ivar file: its file name.
    :ivar url: where it is published, https.
    :ivar sha256: SHA-256 of the file, 64 hexadecimal digits.
    :ivar license: SPDX identifier of its license.
    """

    file: str
    url: str
    sha256: str
    license: str


class CellMath(Protocol):
    """Functions on expressions, provided by the compiler."""

    def constant(self, value: float) -> Expression:
        """Return a constant."""
        ...

    def name(self, value: Expression) -> Expression:
        """Return a variable with this value, which is then computed once."""
        ...

    def maximum(self, left: Expression, right: Expression) -> Expression:
        """Return the larger of two numbers."""
        ...

    def minimum(self, left: Expression, right: Expression) -> Expression:
        """Return the smaller of two numbers."""
        ...

    def exp(self, value: Expression) -> Expression:
        """Return e to the power of a number between -87 and 88."""
        ...


@dataclass(frozen=True)
class CellGeometry:
    """A decoded cell in units of its stride, measured from the top-left corner of the image.

    :ivar center: x and y of the box's center.
    :ivar half_size: half the width and half the height of the box.
    :ivar landmarks: x and y of five landmarks, ten numbers.
    """

    center: tuple[Expression, Expression]
    half_size: tuple[Expression, Expression]
    landmarks: tuple[Expression, ...]


class CompiledForm(ABC):
    """How one cell of a feature map is decoded in generated code.

    Nearly all cells show no face. The generated code therefore compares one number first, decodes
    the score of the few cells that pass, and the geometry of those whose score passes as well.

    :cvar channels: how many numbers of a cell there are in each of the outputs of one stride.
    :cvar compares_logit: the first number is the logit of a factor of the squared score, not the
        factor itself.
    """

    channels: ClassVar[tuple[int, ...]]
    compares_logit: ClassVar[bool] = False

    def first(self, read: Reader) -> Expression:
        """Return the number that is compared first: channel 0 of the first output."""
        return read(0, 0)

    @abstractmethod
    def squared_score(self, read: Reader, math: CellMath) -> Expression:
        """Return the square of the cell's score."""

    @abstractmethod
    def geometry(
        self, read: Reader, math: CellMath, corner: tuple[Expression, Expression]
    ) -> CellGeometry:
        """Return the box and the landmarks.

        :param corner: column and row of the cell in its grid.
        """


@dataclass(frozen=True)
class Family:
    """A detector family.

    :ivar name: the name by which model descriptions refer to the decoder.
    :ivar decoder: takes input width and height in pixels and the decoder's options, returns a
        decoder.
    :ivar recognize: returns what is known of a network of this family, None for others.
    :ivar compiled: the compiled form, which takes the option ``strides`` and no other.
    :ivar published: model files that ``face_tracking fetch-model`` offers, by short name.
    """

    name: str
    decoder: Callable[..., Decoder]
    recognize: Callable[[Shapes], Recognition | None]
    compiled: CompiledForm | None = None
    published: Mapping[str, PublishedModel] = field(default_factory=dict)


def strides_of(outputs: Shapes, prefix: str) -> list[int]:
    """Return the strides S, ascending, of all outputs that are called ``prefix_S``."""
    numbers = (
        name.removeprefix(f'{prefix}_') for name in outputs if name.startswith(f'{prefix}_')
    )
    return sorted(int(number) for number in numbers if number.isdecimal() and int(number) > 0)


def names_by_kind(kinds: Sequence[str], strides: Sequence[int]) -> tuple[str, ...]:
    """Return output names ``KIND_S``: all strides of the first kind, then of the next."""
    return tuple(f'{kind}_{stride}' for kind in kinds for stride in strides)
