# SPDX-License-Identifier: Apache-2.0
"""Options as a table: the fields of a dataclass, with ranges, which nodes and commands read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from face_tracking.errors import UserError


def option(default: Any, description: str, low: float | None = None, high: float | None = None,
           choices: tuple[str, ...] = ()):
    """Return a field of a dataclass of options; see :class:`OptionDescription`."""
    return dataclasses.field(default=default, metadata={
        'description': description, 'low': low, 'high': high, 'choices': choices})


@dataclass(frozen=True)
class OptionDescription:
    """One row of the table of options, enough to declare a ROS parameter from.

    :ivar name: the field of the dataclass.
    :ivar default: its default; its type is the option's type (bool, int, float or str).
    :ivar low: smallest value allowed, None where there is none.
    :ivar high: largest value allowed, None where there is none.
    :ivar choices: the values allowed of a string, empty where any will do.
    :ivar description: one line for a person.
    """

    name: str
    default: bool | int | float | str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    description: str


def describe(options: Any) -> list[OptionDescription]:
    """Return a row for each field of a dataclass of options, in their order."""
    return [OptionDescription(item.name, item.default, item.metadata['low'],
                              item.metadata['high'], item.metadata['choices'],
                              item.metadata['description'])
            for item in dataclasses.fields(options)]


def check(row: OptionDescription, value: Any) -> None:
    """Check one option's value.

    :raises UserError: it is outside its range or of the wrong type; the message names both.
    """
    if row.choices:
        if value not in row.choices:
            raise UserError(f'{row.name} is {value!r}', f'choose one of {", ".join(row.choices)}')
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = not isinstance(row.default, int) or isinstance(value, int)
    if isinstance(row.default, bool):
        if not isinstance(value, bool):
            raise UserError(f'{row.name} is {value!r}', 'set it to true or false')
    elif not (number and whole and row.low <= value <= row.high):  # False for NaN too
        kind = 'a whole number' if isinstance(row.default, int) else 'a number'
        raise UserError(f'{row.name} is {value!r}', f'set it to {kind} from {row.low:g} '
                                                    f'to {row.high:g}')
