# SPDX-License-Identifier: Apache-2.0
"""The guardian, as a real process beside a real parent; the bus alone is emulated, by a file."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from waiting import PATIENCE, wait_until

SMBUS2 = """
import json, os

class SMBus:
    def __init__(self, number):
        self.file = open(os.environ['BUS_LOG'], 'a', buffering=1)
        self.registers = {0x00: 0x11, 0xFE: 0x1E}
    def write_i2c_block_data(self, address, register, values):
        self.registers[register] = values[0]
        self.file.write(json.dumps([os.getpid(), address, register, list(values)]) + '\\n')
    def read_byte_data(self, address, register):
        return self.registers.get(register, 0)
    def close(self):
        self.file.close()
"""
PARENT = """
import sys, time
from face_tracking.pan_tilt.command import Command, State
from face_tracking.pan_tilt.drivers.base import DriverContext
from face_tracking.pan_tilt.drivers.pca9685 import Pca9685, Pca9685Options
driver = Pca9685.open(Pca9685Options(tilt_channel=3), DriverContext())
driver.write(Command(0, (0.1, 0.1), (0.0, 0.0), State.TRACKING, 1))
print('written', flush=True)
for _ in range(int(sys.argv[1])):
    time.sleep(0.1)
    driver.write(Command(0, (0.1, 0.1), (0.0, 0.0), State.TRACKING, 1))
driver.close()
"""
RELEASES = [(0x06, [0, 0, 0, 0x10]), (0x12, [0, 0, 0, 0x10])]


@pytest.fixture
def parent(tmp_path):
    """Return a function that starts the parent and returns it once it has commanded the servos."""
    (tmp_path / 'smbus2.py').write_text(textwrap.dedent(SMBUS2))
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, 'PYTHONPATH': path, 'BUS_LOG': str(tmp_path / 'bus.log')}
    started = []

    def start(beats):
        process = subprocess.Popen(
            [sys.executable, '-c', PARENT, str(beats)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline().strip() == 'written'
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def writes(tmp_path, process):
    """Return (register, bytes) that other processes than the parent wrote."""
    import json

    rows = [json.loads(line) for line in (tmp_path / 'bus.log').read_text().splitlines()]
    return [(register, values) for pid, _, register, values in rows if pid != process.pid]


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP])
def test_servos_are_released_when_the_node_dies_or_stops(parent, tmp_path, number):
    process = parent(beats=1000)
    process.send_signal(number)
    wait_until(lambda: writes(tmp_path, process) == RELEASES)


def test_an_orderly_end_leaves_the_servos_as_they_are(parent, tmp_path):
    process = parent(beats=2)
    assert process.wait(PATIENCE) == 0
    time.sleep(0.5)
    assert writes(tmp_path, process) == []
