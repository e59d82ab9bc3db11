# SPDX-License-Identifier: Apache-2.0
"""Deserializes only the messages that are used: those that are due, or whose stamp is wanted."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rclpy.serialization import deserialize_message

from face_tracking.errors import UserError
from face_tracking.nodes.node_base import FaceNode
from face_tracking.time_units import SECOND

MessageT = TypeVar('MessageT')
_SHORTEST = 12  # bytes of a serialized message that begins with a header


class Throttle(Generic[MessageT]):
    """The callback of a raw input.

    :param node: refuses what the handler raises as ``UserError``.
    :param kind: type of the message.
    :param handle: called with each message that is used.
    :param what: what is received, for messages: a plural noun.
    :param period: seconds; messages that follow sooner are dropped.
    :param wanted: called with the stamp in nanoseconds, for types that begin with a header; the
        message is dropped where it returns False.
    """

    def __init__(
        self,
        node: FaceNode[Any],
        kind: type[MessageT],
        handle: Callable[[MessageT], None],
        what: str = 'messages',
        period: float = 0.0,
        wanted: Callable[[int], bool] | None = None,
    ):
        self.period = period
        self._node = node
        self._kind = kind
        self._handle = handle
        self._what = what
        self._wanted = wanted
        self._last = float('-inf')

    def __call__(self, data: bytes) -> None:
        """Process a serialized message."""
        now = time.monotonic()
        if now - self._last < 0.9 * self.period:
            return
        if self._wanted is not None and not self._wanted(stamp_of(data)):
            return
        self._last = now
        try:
            self._handle(deserialize_message(data, self._kind))
        except UserError as error:
            self._node.refuse_message(self._what, error)


def stamp_of(data: bytes) -> int:
    """Return the stamp of a serialized message that begins with a header, in nanoseconds."""
    if len(data) < _SHORTEST:
        return 0
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return seconds * SECOND + nanoseconds
