# SPDX-License-Identifier: Apache-2.0
"""Access to a server: from this machine only, or from others with a token."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from face_tracking.errors import UserError
from face_tracking.files import data_dir, expand

_SHORTEST = 16  # characters of a token


@dataclass(frozen=True)
class Access:
    """How the page and the streams are reached.

    :ivar host: address to listen on.
    :ivar token: which a client must send; None on an address that only this machine reaches.
    :ivar token_file: where the token is, for messages; None without one.
    """

    host: str
    token: str | None = None
    token_file: Path | None = None

    @classmethod
    def on(cls, host: str, token_file: str) -> Access:
        """Return the access to an address; the token is created where it is needed and missing.

        :param token_file: path; empty for the one that page and streams have in common.
        :raises UserError: the token cannot be used.
        """
        if is_loopback(host):
            return cls(host)
        path = expand(token_file) if token_file else data_dir() / 'token'
        return cls(host, read_token(path), path)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a listening address."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_token(what: str, host: str, token: str | None) -> None:
    """Check that an address which others can reach has a token.

    :param what: the server, for the message.
    :raises UserError: it has none.
    """
    if not token and not is_loopback(host):
        raise UserError(
            f'{what} would be open to everyone on {host}', 'set a token, or listen on 127.0.0.1'
        )


def read_token(path: Path) -> str:
    """Read the token from a file; make the file, with a new token, where there is none.

    :raises UserError: the file cannot be used, or others may read it.
    """
    try:
        if not path.exists():
            _make_token(path)
        # Without waiting for the other end of a pipe.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise UserError(f'{path} is not a regular file', 'set another token file')
            if state.st_uid != os.geteuid():
                raise UserError(f'{path} belongs to another user', f'delete {path}')
            if state.st_mode & 0o077:
                raise UserError(f'others may read {path}', f'chmod 600 {path}')
            token = file.read(1000).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'the token file {path} cannot be used: {error}',
            'set web_token_file and rtsp_token_file to another path',
        ) from None
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable():
        raise UserError(
            f'the token in {path} is shorter than {_SHORTEST} characters or not ASCII',
            'delete the file: a new token is created at the next start',
        )
    return token


def _make_token(path: Path) -> None:
    """Write a new token, whole or not at all: page and stream may start at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f'{path.name}.{secrets.token_hex(4)}')
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, 'w') as file:
            file.write(secrets.token_urlsafe(24) + '\n')
        with contextlib.suppress(FileExistsError):  # another process made it first
            os.link(draft, path)
    finally:
        draft.unlink()
