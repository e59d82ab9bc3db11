# SPDX-License-Identifier: Apache-2.0
"""Which problems are worth a line in the log: each once while it lasts, and not too many."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable

from face_tracking.errors import UserError

SILENCE = 10.0
"""Seconds without an occurrence after which a problem counts as new."""
MAX_PROBLEMS = 20
"""Different problems logged within :data:`SILENCE`."""
MAX_LINE_LENGTH = 400
"""Characters of a line; the texts of other nodes may be part of it."""


class LogLimiter:
    """Admits the first occurrence of each problem; thread-safe.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def admit(self, problem: str) -> bool:
        """Return whether this occurrence of a problem is to be logged."""
        with self._lock:
            now = self._clock()
            self._last = {key: at for key, at in self._last.items() if now - at < SILENCE}
            is_new = problem not in self._last
            if is_new and len(self._last) >= MAX_PROBLEMS:
                return False
            self._last[problem] = now
            return is_new


def describe(error: Exception) -> str:
    """Return one line about an error: the text of a ``UserError``, else the type and the place."""
    if isinstance(error, UserError):
        text = str(error)
    else:
        frames = traceback.extract_tb(error.__traceback__)
        place = (
            f' ({frames[-1].filename.rpartition("/")[2]}:{frames[-1].lineno})' if frames else ''
        )
        text = ' '.join(f'{type(error).__name__}: {error}'.split()) + place
    return shorten(text)


def as_user_error(error: Exception, what: str, remedy: str) -> UserError:
    """Return an error as a ``UserError``: one that is known as it is, another one described.

    :param what: the beginning of the problem, before the description.
    :param remedy: what to do about an error that is not a ``UserError``.
    """
    if isinstance(error, UserError):
        return error
    return UserError(f'{what}: {describe(error)}', remedy)


def shorten(text: str, longest: int = MAX_LINE_LENGTH) -> str:
    """Return a text in printable characters, cut in the middle if it is too long."""
    half = longest // 2
    if len(text) > longest:
        text = f'{text[:half]} ... {text[-half:]}'
    return ''.join(letter if letter.isprintable() else '?' for letter in text)
