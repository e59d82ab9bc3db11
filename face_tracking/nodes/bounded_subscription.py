# SPDX-License-Identifier: Apache-2.0
"""A subscription whose work is bounded: in size, in rate, and in what an error can do."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message

from face_tracking.errors import UserError
from face_tracking.nodes.images import NANOSECONDS
from face_tracking.nodes.node_base import RELIABLE, FaceNode

MessageT = TypeVar('MessageT')
SMALL, LARGE = 256 * 1024, 64 * 1024 * 1024
"""Bytes of a message: for lists of faces and texts, and for images."""
_TINY = 20  # bytes; shorter serialized messages have no header


class BoundedSubscription(Generic[MessageT]):
    """Receives serialized messages and deserializes only those that are used.

    Whatever the handler raises is logged and counted; the node goes on.

    :param node: subscribes.
    :param kind: type of the message.
    :param topic: name of the topic.
    :param handle: called in the executor with each message that is used.
    :param max_bytes: larger messages are dropped.
    :param period: seconds; messages that follow sooner are dropped without being deserialized.
    :param wanted: called with a message's stamp in nanoseconds, for types that begin with a
        header; the message is dropped where it returns False.
    """

    def __init__(
        self,
        node: FaceNode[Any],
        kind: type[MessageT],
        topic: str,
        handle: Callable[[MessageT], None],
        qos: QoSProfile = RELIABLE,
        max_bytes: int = SMALL,
        period: float = 0.0,
        wanted: Callable[[int], bool] | None = None,
    ):
        self.period = period
        self._node = node
        self._kind = kind
        self._topic = topic
        self._handle = handle
        self._max_bytes = max_bytes
        self._wanted = wanted
        self._last = float('-inf')
        self._subscription: Any = node.create_subscription(
            kind, topic, self._receive, qos, raw=True
        )

    def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _receive(self, data: bytes) -> None:
        now = time.monotonic()
        if now - self._last < 0.9 * self.period:
            return
        try:
            if len(data) > self._max_bytes:
                raise UserError(
                    f'a message of {len(data)} bytes was received on {self._topic} and dropped',
                    f'publish at most {self._max_bytes}',
                )
            if self._wanted is not None and not self._wanted(_stamp_of(data)):
                return
            self._last = now
            self._handle(deserialize_message(data, self._kind))
        except Exception as error:  # nothing that is received may end the node
            self._node.meter.count('unusable messages')
            self._node.log_throttled(error)


def _stamp_of(data: bytes) -> int:
    """Return the stamp of a serialized message that begins with a header, in nanoseconds."""
    if len(data) < _TINY:
        return 0
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return seconds * NANOSECONDS + nanoseconds
