# SPDX-License-Identifier: Apache-2.0
"""Whatever velocity is asked for, the joint's limits hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.errors import UserError
from face_tracking.pan_tilt.trajectory import AxisLimits, Trajectory, stopping_speed

LIMITS = AxisLimits(-1.2, 1.2, 2.5, 12.0, 150.0)
NEVER = {'allow_nan': False, 'allow_infinity': False}
wishes = st.lists(
    st.tuples(
        st.floats(-50, 50) | st.sampled_from([0.0, 2.5, -2.5, math.nan, math.inf, -math.inf]),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=30,
)
some_limits = st.builds(
    AxisLimits,
    st.floats(-2, -0.01),
    st.floats(0.01, 2),
    st.floats(0.05, 8),
    st.floats(0.2, 60),
    st.floats(1, 2000),
)


def assert_limits_hold(positions, limits, dt):
    """Check what a joint would feel: the differences of the positions it is sent."""
    p = np.asarray(positions)
    assert p.min() >= limits.lower and p.max() <= limits.upper
    slack = 1e-6
    for order, limit in ((1, limits.velocity), (2, limits.acceleration), (3, limits.jerk)):
        worst = np.abs(np.diff(p, order)).max(initial=0) / dt**order
        # Rounding of the positions, magnified by the division.
        assert worst <= limit * (1 + slack) + 16e-16 / dt**order


@settings(max_examples=80, deadline=None)
@given(some_limits, wishes, st.sampled_from([0.005, 0.01, 0.02]))
def test_no_wish_takes_a_joint_past_its_limits(limits, wished, dt):
    joint = Trajectory(limits)
    positions = [joint.state.position] * 3
    for velocity, steps in wished:
        positions += [joint.step(velocity, dt).position for _ in range(steps)]
    assert_limits_hold(positions, limits, dt)


@settings(max_examples=60, deadline=None)
@given(wishes, st.lists(st.floats(0, 0.3), min_size=30, max_size=30))
def test_irregular_steps_keep_the_state_within_the_limits(wished, pauses):
    joint = Trajectory(LIMITS)
    for (velocity, _), dt in zip(wished, pauses, strict=False):
        state = joint.step(velocity, dt)
        assert LIMITS.lower <= state.position <= LIMITS.upper
        assert abs(state.velocity) <= LIMITS.velocity + 1e-9
        assert abs(state.acceleration) <= LIMITS.acceleration + 1e-9


@settings(max_examples=40, deadline=None)
@given(some_limits, some_limits, wishes)
def test_limits_changed_in_motion_never_break_the_wider_of_both(first, second, wished):
    joint = Trajectory(first)
    both = AxisLimits(
        min(first.lower, second.lower),
        max(first.upper, second.upper),
        max(first.velocity, second.velocity),
        max(first.acceleration, second.acceleration),
        max(first.jerk, second.jerk),
    )
    positions = [joint.state.position] * 3
    for index, (velocity, steps) in enumerate(wished):
        if index == len(wished) // 2:
            joint.set_limits(second)
        positions += [joint.step(velocity, 0.01).position for _ in range(steps)]
    assert_limits_hold(positions, both, 0.01)
    while joint.limits != second:
        # Back inwards, wherever it was caught by its new range.
        joint.step(-joint.state.position, 0.02)


def test_weaker_brakes_do_not_carry_it_past_its_range():
    joint = Trajectory(AxisLimits(-1, 1, 3, 48, 221))
    positions = [joint.step(3.0, 0.01).position for _ in range(33)]
    joint.set_limits(AxisLimits(-1, 1, 3, 1, 1))
    positions += [joint.step(3.0, 0.01).position for _ in range(300)]
    assert max(positions) <= 1.0


def test_joint_found_out_of_its_range_goes_back_slowly():
    joint = Trajectory(LIMITS)
    joint.restart(2.0)
    positions = [2.0] * 3 + [joint.step(5.0, 0.01).position for _ in range(50)]
    assert max(positions) == 2.0
    positions += [joint.step(-1.0, 0.01).position for _ in range(200)]
    joint.step(5.0, 0.01)
    assert_limits_hold(positions, AxisLimits(-1.2, 2.0, 2.5, 12, 150), 0.01)
    assert joint.limits == LIMITS


def test_reaches_the_velocity_wanted_and_stays_there():
    joint = Trajectory(AxisLimits(-100, 100, 2.5, 12, 150))
    states = [joint.step(2.0, 0.01) for _ in range(100)]
    assert states[-1].velocity == pytest.approx(2.0)
    assert states[-1].acceleration == 0
    assert max(state.velocity for state in states) <= 2.0 + 1e-9


def test_stops_at_the_end_of_its_range_and_not_well_before_it():
    joint = Trajectory(LIMITS)
    states = [joint.step(10.0, 0.01) for _ in range(300)]
    assert states[-1].position == pytest.approx(LIMITS.upper, abs=2e-3)
    assert joint.at_rest or abs(states[-1].velocity) < 1e-2


@given(st.floats(1e-6, 3), some_limits)
def test_stopping_speed_is_that_from_which_the_distance_just_suffices(distance, limits):
    speed = stopping_speed(distance, limits)
    wide = AxisLimits(-100, 100, speed, limits.acceleration, limits.jerk)
    joint = Trajectory(wide)
    joint.state = joint.state._replace(velocity=speed)
    while not joint.at_rest:
        joint.step(0.0, 0.02)
    if speed < limits.velocity:
        assert joint.state.position == pytest.approx(distance, rel=1e-3, abs=1e-5)
    else:
        assert joint.state.position <= distance * (1 + 1e-6)


@pytest.mark.parametrize(
    'values',
    [
        (1, -1, 1, 1, 1),
        (0, 0, 1, 1, 1),
        (-1, 1, 0, 1, 1),
        (-1, 1, 1, -1, 1),
        (-1, 1, 1, 1, 0),
        (-1, 1, math.nan, 1, 1),
        (-math.inf, 1, 1, 1, 1),
    ],
)
def test_limits_that_leave_no_room_are_refused(values):
    with pytest.raises(UserError):
        AxisLimits(*values)
