# SPDX-License-Identifier: Apache-2.0
"""The worker thread and its queue."""

import threading

import pytest
from waiting import PATIENCE

from face_tracking.nodes.worker import Worker


class Gate:
    """A handler that waits to be let on."""

    def __init__(self):
        self.entered, self.open = threading.Semaphore(0), threading.Semaphore(0)
        self.handled = []

    def __call__(self, item):
        self.entered.release()
        self.open.acquire(timeout=PATIENCE)
        self.handled.append(item)


@pytest.mark.parametrize(
    ('capacity', 'handled', 'dropped'),
    [(1, [0, 5], 4), (3, [0, 3, 4, 5], 2), (5, [0, 1, 2, 3, 4, 5], 0)],
)
def test_the_oldest_item_is_dropped_from_a_full_queue(capacity, handled, dropped):
    gate = Gate()
    worker = Worker(gate, pytest.fail, capacity)
    worker.submit(0)
    gate.entered.acquire(timeout=PATIENCE)
    for item in range(1, 6):
        worker.submit(item)
    for _ in handled:
        gate.open.release()
    for _ in handled[1:]:
        assert gate.entered.acquire(timeout=PATIENCE)
    assert worker.close(PATIENCE) and gate.handled == handled and worker.dropped == dropped


def test_an_error_is_reported_and_the_thread_goes_on():
    errors, done = [], threading.Event()

    def handle(item):
        if item == 'bad':
            raise ValueError('no good')
        done.set()

    worker = Worker(handle, errors.append, capacity=2)
    worker.submit('bad')
    worker.submit('good')
    assert done.wait(PATIENCE) and str(errors[0]) == 'no good'
    assert worker.close(PATIENCE)


def test_close_does_not_wait_for_a_thread_that_is_stuck():
    gate = Gate()
    worker = Worker(gate, pytest.fail)
    worker.submit(0)
    gate.entered.acquire(timeout=PATIENCE)
    worker.submit(1)
    assert not worker.close(timeout=0.1)
    worker.submit(2)
    gate.open.release()
    assert worker.close(timeout=PATIENCE) and gate.handled == [0]


def test_clear_removes_the_items_that_wait():
    gate = Gate()
    worker = Worker(gate, pytest.fail, capacity=3)
    for item in range(3):
        worker.submit(item)
    gate.entered.acquire(timeout=PATIENCE)
    worker.clear()
    gate.open.release()
    worker.submit(9)
    assert gate.entered.acquire(timeout=PATIENCE)
    gate.open.release()
    assert worker.close(timeout=PATIENCE) and gate.handled == [0, 9] and worker.dropped == 0
