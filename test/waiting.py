# SPDX-License-Identifier: Apache-2.0
"""How the tests wait: for a condition, with a limit that only a fault exceeds.

A fixed pause is long enough on one machine and too short on another. Every test that waits for a
message, a thread or a process waits here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar('Value')
PATIENCE = float(os.environ.get('FACE_TRACKING_TEST_PATIENCE', '120'))
"""Seconds after which a condition counts as failed. A model may have to be compiled meanwhile, on
a machine that has other work."""


def pause() -> None:
    """Let other threads and processes work."""
    time.sleep(0.02)


def wait_until(
    condition: Callable[[], Value],
    step: Callable[[], object] = pause,
    state: Callable[[], object] = lambda: '',
) -> Value:
    """Wait until a condition is true and return its value.

    :param step: called between the attempts.
    :param state: what is known of the situation, for the message of a failure.
    :raises AssertionError: the condition was not true within :data:`PATIENCE`.
    """
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f'not within {PATIENCE:.0f} s; {state()}'
        step()
    return value
