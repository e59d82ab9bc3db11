# SPDX-License-Identifier: Apache-2.0
"""The steady clock: wall clocks and simulated clocks may jump, it does not."""

import pytest

from face_tracking.nodes.steady_clock import SteadyClock

SECOND = 10**9


class Clocks:
    def __init__(self):
        self.ros, self.monotonic, self.simulated = 1_700_000_000 * SECOND, 5 * SECOND, False
        self.steady = SteadyClock(lambda: self.ros, lambda: self.simulated, lambda: self.monotonic)

    def pass_time(self, seconds, ros=None):
        self.monotonic += int(seconds * SECOND)
        self.ros += int((seconds if ros is None else ros) * SECOND)
        return self.steady.now()


@pytest.fixture
def clocks():
    return Clocks()


@pytest.mark.parametrize('jump', [-3600.0, 3600.0])
def test_a_jump_of_the_wall_clock_is_not_seen(clocks, jump):
    before = clocks.pass_time(0.1)
    assert clocks.pass_time(0.1, ros=jump) - before == SECOND // 10


def test_simulated_time_is_followed_and_its_jumps_are_not(clocks):
    clocks.simulated = True
    before = clocks.pass_time(1.0, ros=0.1)
    assert clocks.pass_time(1.0, ros=0.1) - before == SECOND // 10
    before = clocks.steady.now()
    assert clocks.pass_time(1.0, ros=-500.0) == before
    assert clocks.pass_time(1.0, ros=0.2) - before == SECOND // 5


@pytest.mark.parametrize(
    ('age', 'expected'), [(0.03, 0.03), (-0.05, 0.0), (1e9, 0.0), (-3600.0, 0.0), (5.0, 0.0)]
)
def test_stamps_that_are_not_believable_count_as_now(clocks, age, expected):
    stamp = clocks.ros - int(age * SECOND)
    now = clocks.steady.now()
    assert now - clocks.steady.time_of(stamp) == pytest.approx(expected * SECOND, abs=2)
