# SPDX-License-Identifier: Apache-2.0
"""Attempts with growing pauses, without end."""

import pytest

from face_tracking.backoff import Backoff, Retry
from face_tracking.errors import UserError

GONE, FULL = UserError('the disk is gone'), UserError('the disk is full')


@pytest.fixture
def retry():
    """Return a retry and the list that holds its time."""
    now = [0.0]
    return Retry(Backoff(1.0, 2.0, 5.0), lambda: now[0]), now


def test_pauses_grow_to_the_longest_and_never_end(retry):
    made, now = retry
    pauses = []
    for _ in range(200):
        assert made.due
        made.begin()
        made.failed(GONE)
        assert not made.due
        pauses.append(made.wait)
        now[0] += made.wait
    assert pauses[:4] == [1.0, 2.0, 4.0, 5.0] and set(pauses[3:]) == {5.0}


def test_a_problem_is_new_once_and_its_end_is_reported_once(retry):
    made, now = retry
    assert [made.failed(GONE), made.failed(GONE), made.failed(FULL)] == [True, False, True]
    assert made.problem is FULL
    made.begin()
    assert made.succeeded() and made.problem is None and made.wait is None
    made.begin()
    assert not made.succeeded() and not made.due


def test_a_request_during_an_attempt_is_not_lost(retry):
    made, now = retry
    made.begin()
    made.request()
    made.succeeded()
    assert made.due
    made.begin()
    made.request()
    made.failed(GONE)
    assert made.due
