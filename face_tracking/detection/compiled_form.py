# SPDX-License-Identifier: Apache-2.0
"""The compiled form of a detector family: how one cell of a feature map is decoded.

A family's decoder works on arrays. Its compiled form describes the same decoding for one cell, so
that the compiler can put it into the network's library. It is written with operators and with the
functions of :class:`CellMath`, and imports nothing of the compiler. A family without a compiled
form is decoded by its decoder, whatever engine runs the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

MAX_LOG_SIZE = 5.0
"""Upper bound of log(box side / stride). A side is at most 148 strides, more than 4,700 pixels at
stride 32, and broken outputs do not overflow."""
MIN_LOGIT = -40.0
"""Lower bound of a logit, for the same reason."""
Expression = Any
"""A float32 number in generated code; supports ``+ - * /``."""
Reader = Callable[[int, int], Expression]
"""Returns a number of a cell: the index of the output among those of its stride, the channel."""


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


def half_size(log_size: Expression, math: CellMath) -> Expression:
    """Return half of exp(log_size), with the logarithm bounded as in the decoders."""
    bounded = math.minimum(log_size, math.constant(MAX_LOG_SIZE))
    return math.name(math.exp(bounded) * math.constant(0.5))
