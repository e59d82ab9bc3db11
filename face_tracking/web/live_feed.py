# SPDX-License-Identifier: Apache-2.0
"""The newest of something, for any number of readers that may each skip what they missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class LiveFeed:
    """Holds the newest value; belongs to one event loop."""

    def __init__(self):
        self.value: bytes = b''
        self._number = 0
        self._changed = asyncio.Event()

    def put(self, value: bytes) -> None:
        """Replace the value and wake the readers; nothing is queued."""
        self.value = value
        self._number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def values(self) -> AsyncIterator[bytes]:
        """Yield the newest value each time there is one that this reader has not had."""
        seen = 0
        while True:
            if seen == self._number:
                await self._changed.wait()
            seen = self._number
            yield self.value
