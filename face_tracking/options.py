# SPDX-License-Identifier: Apache-2.0
"""Options: one table and one check for the node parameters, the command lines and the library.

A set of options is a frozen dataclass that derives from :class:`Options`. Each field made by
:func:`option` carries its description, its range and its choices; ROS parameters, command-line
arguments and the reference pages are derived from these rows::

    @dataclass(frozen=True)
    class SearchOptions(Options):
        search_time: float = option(8.0, 'Seconds to search before going home', 0.0, 3600.0)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from face_tracking.errors import UserError

Value = bool | int | float | str
MAX_TEXT_LENGTH = 4096
"""Characters in the value of a string option."""
_KEY = 'face_tracking.option'
_EXPECTED = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'a string'}


@dataclass(frozen=True)
class Option:
    """One row of an option table.

    :ivar name: the name of the field and of the ROS parameter.
    :ivar default: the default; its type is the type of the option.
    :ivar description: one line with the meaning and the unit, for ``ros2 param describe``.
    :ivar low: the smallest value allowed, for numbers; None for no limit.
    :ivar high: the largest value allowed.
    :ivar choices: the values allowed, for strings; empty for any string.
    :ivar read_only: the value can be given at start only.
    :ivar required: an unusable value is an error; it does not fall back to the default.
    :ivar source: the value names a file, a device, an address or code to load; a running node
        accepts a new one only if ``allow_remote_sources`` is true.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False
    required: bool = False
    source: bool = False

    @property
    def kind(self) -> type:
        """The type of the value: bool, int, float or str."""
        return type(self.default)

    def expected(self) -> str:
        """Return what may be given, as part of a sentence."""
        if self.choices:
            return 'one of ' + ', '.join(choice or "''" for choice in self.choices)
        text = _EXPECTED[self.kind]
        return text if self.low is None else f'{text} from {self.low:g} to {self.high:g}'

    def check(self, value: Any) -> Any:
        """Return ``value`` in the type of this option.

        An integer is accepted for a float and for a string, since YAML and the command line write
        ``1`` for 1.0 and for the name ``1``.

        :raises UserError: the value has another type, is not finite, is out of range, is not
            among the choices or is longer than :data:`MAX_TEXT_LENGTH`.
        """
        if self.kind in (float, str) and type(value) is int:
            value = self.kind(value)
        valid = type(value) is self.kind
        if valid and self.kind is str:
            valid = len(value) <= MAX_TEXT_LENGTH and _is_text(value)
        if valid and self.kind is float:
            valid = math.isfinite(value)
        if valid and self.low is not None and self.high is not None:
            valid = self.low <= value <= self.high
        if valid and self.choices:
            valid = value in self.choices
        if not valid:
            text = repr(value[:MAX_TEXT_LENGTH] if isinstance(value, str) else value)
            free_text = self.kind is str and not self.choices
            limit = f' of at most {MAX_TEXT_LENGTH} printable characters' if free_text else ''
            raise UserError(
                f'{self.name} is {text if len(text) <= 80 else text[:77] + "..."}',
                f'set it to {self.expected()}{limit}',
            )
        return value


def _is_text(value: str) -> bool:
    """Return whether a string can be printed; a YAML file may break it into lines."""
    return value.translate({ord('\n'): ' ', ord('\t'): ' '}).isprintable()


def option(
    default: Any,
    description: str,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] = (),
    *,
    read_only: bool = False,
    required: bool = False,
    source: bool = False,
) -> Any:
    """Return a dataclass field that is an option; the arguments are those of :class:`Option`."""
    row = Option('', default, description, low, high, tuple(choices), read_only, required, source)
    return dataclasses.field(default=default, metadata={_KEY: row})


def with_default(options: type[Options], name: str, default: Value) -> Any:
    """Return a field like the one called ``name`` of ``options``, with another default."""
    row = next(row for row in rows_of(options) if row.name == name)
    return dataclasses.field(
        default=default, metadata={_KEY: dataclasses.replace(row, default=default)}
    )


@dataclass(frozen=True)
class Options:
    """Base class of all sets of options; the values are checked when an instance is made.

    :raises UserError: a value is not allowed, or the values contradict each other.
    """

    def __post_init__(self) -> None:
        for row in rows_of(type(self)):
            object.__setattr__(self, row.name, row.check(getattr(self, row.name)))
        # Sets of options are combined by inheritance, and each brings its own check.
        for base in type(self).__mro__:
            if 'check_together' in vars(base):
                vars(base)['check_together'](self)

    def check_together(self) -> None:
        """Check that the values agree with each other.

        :raises UserError: they contradict each other.
        """


OptionsT = TypeVar('OptionsT', bound=Options)


def rows_of(options: type[Options]) -> tuple[Option, ...]:
    """Return the option table of a class, in the order of its fields."""
    return tuple(
        dataclasses.replace(field.metadata[_KEY], name=field.name)
        for field in dataclasses.fields(options)
        if _KEY in field.metadata
    )


def pick(options: type[OptionsT], values: Mapping[str, Any], **further: Any) -> OptionsT:
    """Return an instance of ``options`` with its own values out of ``values``.

    :param further: values of fields that are not options.
    """
    own = {row.name: values[row.name] for row in rows_of(options) if row.name in values}
    return options(**own, **further)


def as_dict(options: Options) -> dict[str, Any]:
    """Return the values of all options by name."""
    return {row.name: getattr(options, row.name) for row in rows_of(type(options))}
