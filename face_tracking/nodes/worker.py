# SPDX-License-Identifier: Apache-2.0
"""A thread with a bounded queue, so that a slow stage never holds up the one before it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from face_tracking.nodes.watchdog import Pulse

Item = TypeVar('Item')


class Worker(Generic[Item]):
    """Handles items one at a time, in order, in a thread of its own.

    When the queue is full the oldest item is dropped, since a late image is worth less than a
    fresh one; with a capacity of 1 the newest item is always the next.

    :param handle: called in the thread with each item.
    :param on_error: called in the thread with what ``handle`` raised; the thread goes on.
    :param capacity: maximum number of items that wait.
    :param name: the thread's name, as ``top -H`` shows it.
    :ivar dropped: number of items dropped so far.
    :ivar pulse: the progress of the thread, for a watchdog.
    """

    def __init__(
        self,
        handle: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        capacity: int = 1,
        name: str = 'worker',
    ):
        self.dropped = 0
        self.pulse = Pulse(name)
        self._handle = handle
        self._on_error = on_error
        self._items: deque[Item] = deque(maxlen=capacity)
        self._condition = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> bool:
        """Queue an item and return at once.

        :returns: whether it was queued; not after :meth:`close`.
        """
        with self._condition:
            if self._closing:
                return False
            if len(self._items) == self._items.maxlen:
                self.dropped += 1
            self._items.append(item)
            self._condition.notify()
            return True

    def clear(self) -> None:
        """Remove the items that wait; they do not count as dropped."""
        with self._condition:
            self._items.clear()

    def close(self, timeout: float = 0.8) -> bool:
        """Stop after the present item.

        :param timeout: seconds to wait for it; a thread deep in a library call is left behind as
            a daemon, so that a process asked to stop does stop.
        :returns: whether the thread has ended.
        """
        with self._condition:
            self._closing = True
            self._items.clear()
            self._condition.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._items and not self._closing:
                    self._condition.wait()
                if self._closing:
                    return
                item = self._items.popleft()
            self.pulse.begin()
            try:
                self._handle(item)
            except Exception as error:
                self._on_error(error)
            finally:
                self.pulse.end()
