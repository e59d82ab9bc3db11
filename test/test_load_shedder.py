# SPDX-License-Identifier: Apache-2.0
"""Load is shed in a stated order and taken up again."""

import pytest

from face_tracking.load_shedder import LoadLevel, LoadShedder
from face_tracking.system_health import BoardState, read_board

COOL = BoardState(60.0, memory_available=0.5)


@pytest.fixture
def shedder():
    """Return a shedder and a function that lets time pass, one reading per second."""
    now = [0.0]
    made = LoadShedder(80.0, lambda: now[0])

    def pass_time(seconds, state):
        for _ in range(seconds):
            now[0] += 1
            made.update(state)
        return made.level

    return made, pass_time


@pytest.mark.parametrize(
    'pressure', [BoardState(85.0), BoardState(60.0, memory_available=0.03)], ids=['heat', 'memory']
)
def test_load_is_shed_step_by_step_and_comes_back(shedder, pressure):
    made, pass_time = shedder
    assert pass_time(100, COOL) == LoadLevel.FULL
    assert pass_time(1, pressure) == LoadLevel.NO_ANNOTATION and made.reason
    assert pass_time(10, pressure) == LoadLevel.HALF_DETECTIONS
    assert pass_time(10, pressure) == LoadLevel.HALF_IMAGES
    assert pass_time(100, pressure) == LoadLevel.HALF_IMAGES
    assert pass_time(29, COOL) == LoadLevel.HALF_IMAGES
    assert pass_time(1, COOL) == LoadLevel.HALF_DETECTIONS
    assert pass_time(60, COOL) == LoadLevel.FULL and not made.reason


def test_a_temperature_at_the_limit_does_not_oscillate(shedder):
    made, pass_time = shedder
    pass_time(1, BoardState(80.0))
    levels = {pass_time(1, BoardState(79.0 + second % 2)) for second in range(200)}
    assert min(levels) >= LoadLevel.NO_ANNOTATION
    assert pass_time(200, BoardState(None)) == LoadLevel.FULL


def test_memory_is_that_of_the_control_group_if_it_is_limited(tmp_path):
    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    write('proc/meminfo', 'MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n')
    assert read_board(tmp_path).memory_available == 0.4
    write('proc/self/cgroup', '0::/system.slice/robot.service\n')
    write('sys/fs/cgroup/system.slice/robot.service/memory.max', '1000\n')
    write('sys/fs/cgroup/system.slice/robot.service/memory.current', '950\n')
    write('sys/fs/cgroup/system.slice/robot.service/memory.stat', 'anon 7\ninactive_file 50\n')
    assert read_board(tmp_path).memory_available == pytest.approx(0.1)
    write('sys/fs/cgroup/system.slice/robot.service/memory.max', 'max\n')
    assert read_board(tmp_path).memory_available == 0.4
