# SPDX-License-Identifier: Apache-2.0
"""The limiter: whatever it is given, what it passes stays within the limits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_tracking.pan_tilt.command import Command, CommandLimiter, State
from face_tracking.pan_tilt.head_options import HeadOptions

LIMITS = HeadOptions().limits()
STEP = 0.02


def command(pan, tilt, velocity=0.0):
    return Command(0, (pan, tilt), (velocity, velocity), State.TRACKING, 1)


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(numbers, numbers, st.floats(0.0, 1e4)), min_size=1, max_size=30))
def test_any_sequence_of_commands_stays_within_range_and_velocity(sequence):
    limiter, time, last = CommandLimiter(LIMITS, 2 * STEP), 0.0, None
    for pan, tilt, pause in sequence:
        time += pause
        passed = limiter.apply(command(pan, tilt, pan), time)
        assert all(math.isfinite(value) for value in (*passed.positions, *passed.velocities))
        for axis, limits in enumerate(LIMITS):
            assert limits.lower <= passed.positions[axis] <= limits.upper
            if last is not None:
                step = abs(passed.positions[axis] - last[axis])
                assert step <= limits.velocity * min(pause, 2 * STEP) + 1e-9
        last = passed.positions


def test_a_command_within_the_limits_passes_unchanged():
    limiter = CommandLimiter(LIMITS)
    limiter.apply(command(0.1, 0.1), 0.0)
    wanted = command(0.12, 0.11)
    assert limiter.apply(wanted, 0.02) is wanted and limiter.limited == 0


def test_a_narrowed_range_is_approached_at_the_velocity_limit():
    limiter = CommandLimiter(LIMITS)
    limiter.apply(command(1.0, 0.0), 0.0)
    limiter.set_limits(HeadOptions(pan_max=0.5).limits())
    positions = [limiter.apply(command(0.4, 0.0), 0.02 * k).positions[0] for k in range(1, 40)]
    assert positions[0] == pytest.approx(1.0 - 2.4 * 0.02) and positions[-1] == pytest.approx(0.4)
