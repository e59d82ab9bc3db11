# SPDX-License-Identifier: Apache-2.0
"""Checks tokens of requests, and slows down who guesses."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

_SESSIONS = 200  # browsers that may be logged in
_ADDRESSES = 1000  # addresses whose failures are counted
_FAILURES = 10  # wrong tokens from an address within a minute
_MINUTE = 60.0


class AccessControl:
    """Checks tokens, remembers who logged in, and slows down who guesses.

    :param token: None where no token is needed.
    :param clock: monotonic seconds.
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic):
        self._token = token
        self._clock = clock
        self._sessions: dict[str, None] = {}
        self._failures: dict[str, list[float]] = {}

    @property
    def needs_token(self) -> bool:
        """Whether a token is needed."""
        return self._token is not None

    def is_blocked(self, address: str) -> bool:
        """Return whether an address has failed too often within the last minute."""
        now = self._clock()
        recent = [at for at in self._failures.get(address, []) if now - at < _MINUTE]
        return len(recent) >= _FAILURES

    def try_token(self, token: str, address: str) -> bool:
        """Return whether a token is right; count a wrong one against the address."""
        if self._token is None:
            return True
        if secrets.compare_digest(token.encode(errors='replace'), self._token.encode()):
            return True
        now = self._clock()
        recent = [at for at in self._failures.pop(address, []) if now - at < _MINUTE]
        self._failures[address] = [*recent[-_FAILURES:], now]
        if len(self._failures) > _ADDRESSES:
            del self._failures[next(iter(self._failures))]
        return False

    def open_session(self) -> str:
        """Return a new session, for a cookie."""
        session = secrets.token_urlsafe(24)
        self._sessions[session] = None
        if len(self._sessions) > _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session

    def has_session(self, session: str) -> bool:
        """Return whether a session was opened."""
        return session in self._sessions
