# SPDX-License-Identifier: Apache-2.0
"""A value that changes only once its new state has lasted."""

from __future__ import annotations

from typing import Generic, TypeVar

Value = TypeVar('Value')


class Debounced(Generic[Value]):
    """Holds a value until another one has been observed without interruption for a time.

    :param value: the value at the start.
    :ivar value: the accepted value.
    :ivar since: monotonic seconds at which the accepted value was first observed.
    """

    def __init__(self, value: Value, since: float = 0.0):
        self.value = value
        self.since = since
        self._candidate = value
        self._candidate_since = since

    def observe(self, value: Value, now: float, hold: float) -> bool:
        """Add an observation.

        :param now: monotonic seconds.
        :param hold: seconds for which a new value must last.
        :returns: whether the accepted value changed.
        """
        if value != self._candidate:
            self._candidate, self._candidate_since = value, now
        if value == self.value or now - self._candidate_since < hold:
            return False
        self.value, self.since = value, self._candidate_since
        return True
