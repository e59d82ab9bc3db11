# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that a node has only while it is active and needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from face_tracking.errors import UserError
from face_tracking.nodes.qos import interface_class, subscription_qos, with_overrides
from face_tracking.nodes.topics import Topic


class Input:
    """One subscription of a node, created and destroyed as it is needed.

    :param node: the node that subscribes.
    :param topic: the row of the topic table.
    :param callback: called with each message; with its serialized bytes if ``raw``.
    :param refuse: called with the reason for which a message is dropped unread.
    :param raw: do not deserialize the messages.
    :param needed: whether an active node needs the messages now.
    """

    def __init__(
        self,
        node: Node,
        topic: Topic,
        callback: Callable[[Any], None],
        refuse: Callable[[UserError], None],
        raw: bool = False,
        needed: Callable[[], bool] = lambda: True,
    ):
        self.topic = topic
        self._node = node
        self._type = interface_class(topic.type)
        self._callback = callback
        self._refuse = refuse
        self._raw = raw
        self._needed = needed
        self._subscription: Subscription | None = None

    @property
    def subscribed(self) -> bool:
        """Whether the node receives the messages."""
        return self._subscription is not None

    def update(self, active: bool) -> None:
        """Subscribe or unsubscribe.

        :param active: whether the node is active.
        """
        wanted = active and self._needed()
        if wanted and self._subscription is None:
            self._subscription = self._subscribe()
        elif not wanted and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self) -> Subscription:
        bounded = self.topic.max_bytes > 0
        return with_overrides(
            self._node,
            lambda overriding: self._node.create_subscription(
                self._type,
                self.topic.name,
                self._receive_bounded if bounded else self._callback,
                subscription_qos(self.topic),
                qos_overriding_options=overriding,
                raw=self._raw or bounded,
            ),
        )

    def _receive_bounded(self, serialized: bytes) -> None:
        """Pass a message on unless it is so large that reading it would hold up the node."""
        if len(serialized) > self.topic.max_bytes:
            self._refuse(
                UserError(
                    f'a message of {len(serialized)} bytes on {self.topic.name} was dropped',
                    f'publish at most {self.topic.max_bytes} bytes',
                )
            )
            return
        self._callback(serialized if self._raw else deserialize_message(serialized, self._type))
