# SPDX-License-Identifier: Apache-2.0
"""The servo drivers: the bytes on the bus, and that nothing is written after a stop."""

import errno
import math
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pan_tilt.emulated_bus import EmulatedBus
from waiting import PATIENCE

from face_tracking.errors import UserError
from face_tracking.pan_tilt.command import Command, CommandLimiter, State
from face_tracking.pan_tilt.drivers.base import Driver, GuardedDriver
from face_tracking.pan_tilt.drivers.pca9685 import (
    Pca9685,
    Pca9685Options,
    ServoCalibration,
    open_bus,
)
from face_tracking.pan_tilt.head_options import HeadOptions
from face_tracking.simulation.simulated_driver import SimulatedDriver

PAN, TILT = ServoCalibration(0), ServoCalibration(3, us_per_rad=-600.0)


def command(pan=0.0, tilt=0.0, stamp=0) -> Command:
    return Command(stamp, (pan, tilt), (0.0, 0.0), State.TRACKING, 1)


@pytest.fixture
def bus():
    return EmulatedBus()


def make(bus, **options) -> Pca9685:
    return Pca9685(bus, PAN, TILT, **options)


class TestPca9685:
    """Bytes."""

    def test_initialization_byte_by_byte(self, bus):
        make(bus)
        assert bus.writes == [
            (0x00, [0x30]),  # MODE1: SLEEP, auto-increment
            (0xFE, [121]),  # PRE_SCALE: 25 MHz / (4096 * 50 Hz) - 1
            (0x01, [0x04]),  # MODE2: totem pole
            (0x06, [0, 0, 0, 0x10]),  # channel 0 off
            (0x12, [0, 0, 0, 0x10]),  # channel 3 off
            (0x00, [0x20]),  # awake
            (0x00, [0xA0]),
        ]  # RESTART
        assert bus.frequency() == pytest.approx(50, rel=0.01)
        assert bus.pulse(0) is None

    def test_pulses_follow_the_calibration(self, bus):
        driver = make(bus)
        driver.write(command(0.0, 0.0))
        assert bus.pulse(0) == pytest.approx(1500, abs=2.5)
        driver.write(command(math.pi / 4, 0.5))
        assert bus.pulse(0) == pytest.approx(2000, abs=2.5)
        assert bus.pulse(3) == pytest.approx(1200, abs=2.5)
        assert bus.pulse(1) == pytest.approx(0)

    def test_a_command_is_one_transaction_for_each_servo(self, bus):
        driver = make(bus)
        bus.writes.clear()
        driver.write(command(0.1, 0.1))
        assert [(register, len(values)) for register, values in bus.writes] == [(6, 4), (18, 4)]

    @given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
    def test_pulse_limits_hold_for_any_angle(self, pan, tilt):
        bus = EmulatedBus()
        make(bus).write(command(pan, tilt))
        for channel in (0, 3):
            assert 600 - 3 <= bus.pulse(channel) <= 2400 + 3

    def test_release_ends_the_pulses(self, bus):
        driver = make(bus)
        driver.write(command(0.2, 0.2))
        driver.release()
        assert bus.pulse(0) is None and bus.pulse(3) is None
        driver.close()
        assert bus.closed

    def test_a_single_error_on_the_bus_is_retried(self, bus):
        driver, write = make(bus), bus.write_i2c_block_data
        errors = [OSError(errno.EREMOTEIO, 'Remote I/O error')] * 2

        def noisy(*arguments):
            if errors:
                raise errors.pop()
            write(*arguments)

        bus.write_i2c_block_data = noisy
        driver.write(command(0.2, 0.0))
        assert bus.pulse(0) == pytest.approx(1627, abs=3)

    def test_a_running_chip_is_not_initialized_again(self, bus):
        make(bus).write(command(0.2, 0.2))
        bus.registers[6 + 4 * 7 + 3] = 1  # another program's channel
        before = dict(bus.registers)
        time.sleep(0.001)
        make(bus)
        assert bus.registers == before and bus.pulse(0) == pytest.approx(1627, abs=3)

    def test_no_chip_at_the_address(self, bus):
        with pytest.raises(UserError, match='chip at I2C address 0x41 does not answer'):
            make(bus, address=0x41)

    def test_another_chip_at_the_address(self):
        bus = EmulatedBus(other_chip=True)
        with pytest.raises(UserError, match='chip at I2C address 0x40 is not a PCA9685'):
            make(bus)

    @pytest.mark.parametrize(
        ('pan', 'tilt', 'words'),
        [
            ({'channel': 16}, {'channel': 1}, 'channel 16 does not exist'),
            ({'channel': 0, 'min_pulse_us': 1600}, {'channel': 1}, 'do not suit a servo'),
            ({'channel': 0, 'us_per_rad': 0}, {'channel': 1}, 'do not suit a servo'),
            ({'channel': 0, 'max_pulse_us': 9000}, {'channel': 1}, 'do not suit a servo'),
        ],
    )
    def test_calibration_that_cannot_be(self, bus, pan, tilt, words):
        with pytest.raises(UserError, match=words):
            Pca9685(bus, ServoCalibration(**pan), ServoCalibration(**tilt))

    def test_both_servos_on_one_channel_are_refused(self):
        with pytest.raises(UserError, match='pan_channel and tilt_channel are both 2'):
            Pca9685Options(pan_channel=2, tilt_channel=2)


class TestBus:
    """/dev/i2c-N."""

    def test_no_such_bus(self):
        with pytest.raises(UserError, match='the I2C bus /dev/i2c-97 does not exist: enable it'):
            open_bus(97)

    def test_no_permission(self, monkeypatch):
        import smbus2

        def refuse(*_):
            raise PermissionError(errno.EACCES, 'Permission denied')

        monkeypatch.setattr(smbus2.smbus2.os, 'open', refuse)
        with pytest.raises(UserError, match=r'no permission to open /dev/i2c-1: .*group i2c'):
            open_bus(1)

    def test_without_smbus2(self, monkeypatch):
        monkeypatch.setitem(sys.modules, 'smbus2', None)
        with pytest.raises(UserError, match='smbus2 cannot be imported: install python3-smbus2'):
            open_bus(1)


class Recorder(Driver):
    def __init__(self):
        self.log = []
        self.error = None

    def write(self, command):
        if self.error:
            raise self.error
        self.log.append('write')

    def release(self):
        self.log.append('release')

    def close(self):
        self.log.append('close')


class TestGuard:
    """Safe stop."""

    @pytest.mark.parametrize(
        ('limp', 'expected'), [(True, ['write', 'release']), (False, ['write'])]
    )
    def test_nothing_is_written_after_the_stop(self, limp, expected):
        driver = Recorder()
        guard = GuardedDriver(driver, limp=limp)
        assert guard.write(command())
        guard.stop()
        guard.stop()
        assert not guard.write(command())
        assert driver.log == expected
        guard.start()
        assert guard.write(command())

    @pytest.mark.parametrize(
        'error', [UserError('no chip answers'), OSError(5, 'I/O error'), ValueError('broken')]
    )
    def test_write_error_is_a_stop(self, error):
        driver = Recorder()
        guard = GuardedDriver(driver, limp=True)
        driver.error = error
        assert not guard.write(command())
        driver.error = None
        assert not guard.write(command())
        assert driver.log == ['release'] and not guard.running
        assert isinstance(guard.problem, UserError)
        guard.start()
        assert guard.write(command()) and guard.problem is None

    def test_real_chip_that_falls_silent_is_a_stop_in_one_line(self, bus):
        guard = GuardedDriver(make(bus), limp=True)
        assert guard.write(command())
        bus.fails = errno.EREMOTEIO
        assert not guard.write(command())
        assert 'the chip at I2C address 0x40 does not answer' in str(guard.problem)
        bus.fails = None
        writes = len(bus.writes)
        assert not guard.write(command())
        assert len(bus.writes) == writes

    def test_writes_from_another_thread_end_with_the_stop(self):
        driver = Recorder()
        guard = GuardedDriver(driver, limp=True)
        ready = threading.Event()

        def hammer():
            while guard.write(command()):
                ready.set()

        threads = [threading.Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        ready.wait(PATIENCE)
        guard.close()
        for thread in threads:
            thread.join(PATIENCE)
        assert driver.log[-2:] == ['release', 'close'] and driver.log.count('release') == 1


class TestLimitedGuard:
    """The hard limiter sits below everything that computes commands."""

    def test_no_command_leaves_the_limits(self):
        written = []

        class Log(Recorder):
            def write(self, command):
                written.append(command.positions)

        guard = GuardedDriver(Log(), CommandLimiter(HeadOptions().limits()), clock=lambda: 1.0)
        for pan in (0.0, 1e6, math.nan, -1e6):
            assert guard.write(command(pan))
        assert written == [(0.0, 0.0)] * 4


class TestSimulated:
    """Servos in this process."""

    def test_servo_follows_after_its_dead_time_and_settles(self):
        driver, angles = SimulatedDriver(), []
        for step in range(60):
            stamp = step * 10_000_000
            driver.write(command(0.5, -0.2, stamp))
            angles.append(driver.angles(stamp)[0])
        assert angles[2] == 0
        assert driver.angles(600_000_000) == pytest.approx((0.5, -0.2), abs=0.008)
        assert max(angles) < 0.55

    def test_limp_servo_stays(self):
        driver = SimulatedDriver()
        driver.write(command(0.5, 0.0, 0))
        driver.angles(1_000_000_000)
        before = driver.angles(1_000_000_000)[0]
        driver.release()
        assert driver.angles(3_000_000_000)[0] == pytest.approx(before, abs=0.01)

    def test_play_shows_when_the_direction_changes(self):
        driver = SimulatedDriver()
        stops = []
        for step, angle in enumerate((0.3, 0.0, -0.3, 0.0)):
            driver.write(command(angle, 0.0, step * 2_000_000_000))
            stops.append(driver.angles((step + 1) * 2_000_000_000 - 1)[0])
        assert abs(stops[1] - stops[3]) == pytest.approx(math.radians(0.5), abs=0.002)
