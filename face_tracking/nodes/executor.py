# SPDX-License-Identifier: Apache-2.0
"""An executor for nodes that receive images: one short round for each message.

rclpy's executor collects all entities of its nodes again for every wait, and after each callback
it wakes itself for one round more. Here the collection is kept until an entity is created or
destroyed, and subscriptions are executed at once. Whatever else is ready (timers, services,
clients, guard conditions, events) is left to rclpy's own executor.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import Any

from rclpy.event_handler import EventHandler
from rclpy.exceptions import InvalidHandle
from rclpy.executors import (
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.subscription import Subscription
from rclpy.waitable import NumberOfEntities

EVENTS_PERIOD = 1.0
"""Seconds between two looks at the events of publishers and subscriptions, which only warn about
another quality of service or type. rclpy asks each of them, in Python, around every wait."""
_FOREVER = -1


class NodeExecutor(SingleThreadedExecutor):
    """Executes the callbacks of nodes in the thread that spins.

    The callback of a subscription is a plain function of the message alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entities: _Entities | None = None
        self._events_due = 0.0  # by the monotonic clock

    def spin(self) -> None:
        """Execute callbacks until the context is shut down.

        :raises ExternalShutdownException: the context was shut down while waiting.
        """
        try:
            while self._context.ok() and not self._is_shutdown:
                self._round()
        except ShutdownException:
            return
        finally:
            self._forget_entities()

    def _round(self) -> None:
        """Wait until something is ready, and execute it."""
        if self._tasks:
            self._execute_others()
        if self._entities is None:
            self._entities = _Entities(self.get_nodes(), self._own_guards(), self._context)
        received, others = self._entities.wait()
        if self._is_shutdown:
            raise ShutdownException
        if not self._context.ok():
            raise ExternalShutdownException
        for subscription in received:
            _execute(subscription)
        if self._entities.changed:
            self._forget_entities()
        now = time.monotonic()
        if others or now >= self._events_due:
            self._events_due = now + EVENTS_PERIOD
            self._execute_others()

    def _execute_others(self) -> None:
        """Let rclpy execute whatever is ready."""
        # It may take the signal that entities have changed, or that there is a task.
        self._forget_entities()
        with suppress(TimeoutException):
            while True:
                handler, _, _ = self.wait_for_ready_callbacks(timeout_sec=0.0)
                handler()
                handler.result()  # raises what the callback has raised

    def _own_guards(self) -> list[Any]:
        """Return the guard conditions that wake the executor: entities changed, or a signal."""
        return [guard for guard in (self._guard, self._sigint_gc) if guard is not None]

    def _forget_entities(self) -> None:
        entities, self._entities = self._entities, None
        if entities is not None:
            entities.release()


class _Entities:
    """What the nodes of an executor wait for, in the order of the wait set.

    :param nodes: the nodes.
    :param own_guards: guard conditions of the executor itself.
    :param context: of rclpy.
    :ivar changed: whether the executor itself was woken in the last wait, because entities were
        created or destroyed.
    """

    def __init__(self, nodes: list[Any], own_guards: list[Any], context: Any):
        self.changed = False
        self._own_guards = own_guards
        self._guards = [*own_guards, *(guard for node in nodes for guard in node.guards)]
        self._subscriptions = [row for node in nodes for row in node.subscriptions]
        self._waitables = [
            row for node in nodes for row in node.waitables if not isinstance(row, EventHandler)
        ]
        self._timers = [row for node in nodes for row in node.timers]
        self._clients = [row for node in nodes for row in node.clients]
        self._services = [row for node in nodes for row in node.services]
        self._held = ExitStack()
        try:
            self._hold(context)
            self._wait_set = self._new_wait_set(context)
        except BaseException:
            self._held.close()
            raise

    def wait(self) -> tuple[list[Subscription], bool]:
        """Wait until something is ready.

        :returns: the subscriptions with a message, and whether anything else is ready.
        """
        self._fill()
        wait_set = self._wait_set
        wait_set.wait(_FOREVER)
        received = [
            row
            for index, row in enumerate(self._subscriptions)
            if wait_set.is_ready('subscription', index)
        ]
        triggered = [
            guard
            for index, guard in enumerate(self._guards)
            if wait_set.is_ready('guard_condition', index)
        ]
        self.changed = False
        others = any(map(wait_set.get_ready_entities, ('timer', 'client', 'service')))
        for guard in triggered:
            if guard in self._own_guards:
                self.changed = True
            else:
                guard._executor_triggered = True  # waiting has reset it: rclpy triggers it again
                others = True
        return received, others or any(row.is_ready(wait_set) for row in self._waitables)

    def release(self) -> None:
        """Allow the entities to be destroyed."""
        self._held.close()

    def _hold(self, context: Any) -> None:
        """Keep the entities from being destroyed; leave out those that already are."""
        self._held.enter_context(context.handle)
        for rows in (
            self._guards,
            self._subscriptions,
            self._timers,
            self._clients,
            self._services,
        ):
            rows[:] = [row for row in rows if self._entered(row.handle)]
        self._waitables = [row for row in self._waitables if self._entered(row)]

    def _entered(self, handle: Any) -> bool:
        try:
            self._held.enter_context(handle)
        except InvalidHandle:
            return False
        return True

    def _new_wait_set(self, context: Any) -> Any:
        count = NumberOfEntities(
            len(self._subscriptions),
            len(self._guards),
            len(self._timers),
            len(self._clients),
            len(self._services),
        )
        for row in self._waitables:
            count += row.get_num_entities()
        return rclpy_implementation.WaitSet(
            count.num_subscriptions,
            count.num_guard_conditions,
            count.num_timers,
            count.num_clients,
            count.num_services,
            count.num_events,
            context.handle,
        )

    def _fill(self) -> None:
        wait_set = self._wait_set
        wait_set.clear_entities()
        for rows, add in (
            (self._subscriptions, wait_set.add_subscription),
            (self._guards, wait_set.add_guard_condition),
            (self._timers, wait_set.add_timer),
            (self._clients, wait_set.add_client),
            (self._services, wait_set.add_service),
        ):
            for row in rows:
                add(row.handle)
        for row in self._waitables:
            row.add_to_wait_set(wait_set)


def _execute(subscription: Subscription) -> None:
    """Pass the oldest message of a subscription on to its callback."""
    try:
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    except InvalidHandle:  # destroyed by the callback before
        return
    if taken is not None:
        subscription.callback(taken[0])
