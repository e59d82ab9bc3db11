# SPDX-License-Identifier: Apache-2.0
"""Who may use the page: everyone on this machine, or who has the token."""

from __future__ import annotations

import ipaddress
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

from face_tracking.errors import UserError

_SESSIONS = 200  # browsers that may be logged in
_ADDRESSES = 1000  # addresses whose failures are counted
_FAILURES = 10  # wrong tokens from an address within a minute
_MINUTE = 60.0
_SHORTEST = 16  # characters of a token


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a listening address."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """Read the token from a file; make the file, with a new token, where there is none.

    :raises UserError: the file cannot be used, or others may read it.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, 'w') as file:
                file.write(secrets.token_urlsafe(24) + '\n')
        # Without waiting for the other end of a pipe.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise UserError(f'{path} is not a regular file', 'set token_file to another path')
            if state.st_uid != os.geteuid():
                raise UserError(f'{path} belongs to another user', f'chown it, or delete {path}')
            if state.st_mode & 0o077:
                raise UserError(f'others may read {path}', f'chmod 600 {path}')
            token = file.read(1000).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'the token file {path} cannot be used: {error}', 'set token_file to another path'
        ) from None
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable():
        raise UserError(
            f'the token in {path} is shorter than {_SHORTEST} characters or not ASCII',
            'delete the file: a new token is made at the next start',
        )
    return token


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
