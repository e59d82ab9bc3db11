# SPDX-License-Identifier: Apache-2.0
"""Bounds what connections can cost before a request is even read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

_PATIENCE = 10.0  # seconds in which a connection must have sent a whole request
_MAKING = 1.0  # seconds after which a connection without a transport counts as closed


class _Refusal(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class ConnectionGuard:
    """A protocol factory that bounds the number of connections, and closes silent ones.

    Beyond the number the connection that has sent no request for the longest time is closed, so
    that silent connections keep nobody out; where every connection is served, the new one is
    refused.

    :param server: aiohttp's server, which makes a protocol for each connection.
    :param most: connections at a time.
    :ivar refused: how many connections were refused.
    :ivar connected: set while there is a connection; belongs to the event loop.
    """

    def __init__(self, server: Callable[[], Any], most: int):
        self._server = server
        self._most = most
        self._open: dict[Any, float] = {}
        self._made: set[Any] = set()  # had a transport: without one they are closed
        self.refused = 0
        self.connected = asyncio.Event()

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        self.sweep()
        if len(self._open) >= self._most and not self._close_silent():
            self.refused += 1
            return _Refusal()
        protocol = self._server()
        self._open[protocol] = time.monotonic()
        self.connected.set()
        return protocol

    def note_request(self, protocol: Any) -> None:
        """Record that a whole request head was received on a connection."""
        if protocol in self._open:
            self._open[protocol] = float('inf')
            self._made.add(protocol)

    def note_answer(self, protocol: Any) -> None:
        """Record that the response was sent: the connection must send another request or end."""
        if protocol in self._open:
            self._open[protocol] = time.monotonic()

    def sweep(self) -> None:
        """Drop closed connections, and close those that sent no request in time."""
        now = time.monotonic()
        for protocol, since in list(self._open.items()):
            if protocol.transport is not None:
                self._made.add(protocol)
            elif protocol in self._made or now - since > _MAKING:
                self._forget(protocol)
                continue
            if now - since > _PATIENCE:
                protocol.force_close()
                self._forget(protocol)
        if not self._open:
            self.connected.clear()

    def _close_silent(self) -> bool:
        """Close the connection that has sent nothing for the longest time, if there is one."""
        silent = {
            protocol: since
            for protocol, since in self._open.items()
            if protocol.transport is not None and since != float('inf')
        }
        if not silent:
            return False
        oldest = min(silent, key=silent.__getitem__)
        oldest.force_close()
        self._forget(oldest)
        return True

    def _forget(self, protocol: Any) -> None:
        del self._open[protocol]
        self._made.discard(protocol)
