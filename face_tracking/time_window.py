# SPDX-License-Identifier: Apache-2.0
"""Times of day, such as ``22:00-07:00`` or ``mon-fri 08:30-17:00``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from face_tracking.errors import UserError

_DAYS = ('mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun')
_EVERY_DAY = frozenset(range(7))
_PATTERN = re.compile(
    r'(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?'
    r'(?P<start>\d{1,2}:\d{2})\s*-\s*(?P<end>\d{1,2}:\d{2})'
)
_EXPECTED = 'write it as 22:00-07:00 or mon-fri 08:30-17:00, in quotes'


@dataclass(frozen=True)
class TimeWindow:
    """A part of the day that may extend past midnight.

    :ivar start: minutes after midnight, included.
    :ivar end: minutes after midnight, excluded; equal to ``start`` means the whole day.
    :ivar days: weekdays on which the window begins, Monday is 0.
    """

    start: int
    end: int
    days: frozenset[int] = _EVERY_DAY

    @classmethod
    def parse(cls, text: object) -> TimeWindow:
        """Read a window.

        :raises UserError: ``text`` is not a window; the message shows the expected form.
        """
        match = _PATTERN.fullmatch(text.strip().lower()) if isinstance(text, str) else None
        if match is None:
            raise UserError(f'time is {str(text)[:60]!r}', _EXPECTED)
        return cls(
            _minutes(match['start']),
            _minutes(match['end']),
            _weekdays(match['first'], match['last']),
        )

    def contains(self, moment: datetime) -> bool:
        """Return whether a local time lies in the window."""
        minute = 60 * moment.hour + moment.minute
        if self.start < self.end:
            return self.start <= minute < self.end and moment.weekday() in self.days
        if minute >= self.start:
            return moment.weekday() in self.days
        return minute < self.end and (moment - timedelta(days=1)).weekday() in self.days


def _minutes(text: str) -> int:
    hour, minute = map(int, text.split(':'))
    if hour > 24 or minute > 59 or (hour == 24 and minute):
        raise UserError(f'time {text} does not exist', _EXPECTED)
    return (60 * hour + minute) % (24 * 60)


def _weekdays(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return _EVERY_DAY
    for name in (first, last or first):
        if name not in _DAYS:
            raise UserError(f'weekday is {name!r}', f'use one of {", ".join(_DAYS)}')
    begin, end = _DAYS.index(first), _DAYS.index(last or first)
    return frozenset((begin + step) % 7 for step in range((end - begin) % 7 + 1))
