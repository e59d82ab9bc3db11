# SPDX-License-Identifier: Apache-2.0
"""Service calls that a thread beside the executor waits for."""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.node import Node

from face_tracking.errors import UserError

_POLL = 0.05


class ServiceCaller:
    """Calls services of other nodes; clients are made once.

    :param node: is spun by an executor in another thread.
    :param timeout: seconds for a service to be there, and for its answer.
    """

    def __init__(self, node: Node, timeout: float = 3.0):
        self._node = node
        self._timeout = timeout
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Return the answer.

        :raises UserError: the service is not offered, or does not answer in time.
        """
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self._node.create_client(kind, name)
            client = self._clients[name]
        end = time.monotonic() + self._timeout
        while not client.service_is_ready():
            if time.monotonic() > end:
                raise UserError(f'service {name} is not offered', 'start its node')
            time.sleep(_POLL)
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(self._timeout):
            client.remove_pending_request(future)
            raise UserError(f'service {name} does not answer', 'look at the log of its node')
        return future.result()
