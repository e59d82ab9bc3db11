# SPDX-License-Identifier: Apache-2.0
"""``~/enable``: a node that rests gives up its subscriptions, so that nothing reaches it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rclpy.node import Node
from rclpy.subscription import Subscription
from std_srvs.srv import SetBool


class EnableService:
    """Switches a node on and off.

    :param node: offers the service.
    :param subscribe: each makes one of the subscriptions that the node has while it is on.
    :param on_change: called with the new state.
    :ivar enabled: whether the node is on.
    """

    def __init__(
        self,
        node: Node,
        subscribe: Iterable[Callable[[], Subscription]] = (),
        on_change: Callable[[bool], None] = lambda enabled: None,
    ):
        self.enabled = False
        self._node = node
        self._subscribe = tuple(subscribe)
        self._on_change = on_change
        self._subscriptions: list[Subscription] = []
        self._switch(True)
        node.create_service(SetBool, '~/enable', self._serve)

    def _serve(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data != self.enabled:
            self._switch(request.data)
            self._on_change(request.data)
        response.success = True
        response.message = 'running' if self.enabled else 'paused'
        return response

    def _switch(self, enabled: bool) -> None:
        self.enabled = enabled
        if enabled:
            self._subscriptions = [make() for make in self._subscribe]
            return
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
