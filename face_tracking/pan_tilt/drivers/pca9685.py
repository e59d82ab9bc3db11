# SPDX-License-Identifier: Apache-2.0
"""Two hobby servos on a PCA9685, the 16-channel PWM chip of the common servo boards.

Register names and the order of initialization follow NXP's data sheet, revision 4. The bus is
accessed through smbus2, which is pure Python on /dev/i2c-N and packaged by Debian, Ubuntu and
Raspberry Pi OS. Its block writes put a servo's four registers into one transaction, so that a
pulse is never made of half a command.
"""

from __future__ import annotations

import dataclasses
import errno
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from face_tracking.errors import UserError
from face_tracking.options import Options, option
from face_tracking.pan_tilt.command import Command
from face_tracking.pan_tilt.drivers.base import Driver, DriverContext
from face_tracking.pan_tilt.drivers.registry import register_driver
from face_tracking.pan_tilt.servo_guardian import ServoGuardian

MODE1, MODE2, LED0_ON_L, PRE_SCALE = 0x00, 0x01, 0x06, 0xFE
RESTART, AUTO_INCREMENT, SLEEP = 0x80, 0x20, 0x10
OUTDRV = 0x04  # totem-pole outputs, which drive a servo's input both ways
FULL_OFF = 0x10  # in LEDn_OFF_H
OSCILLATOR = 25_000_000  # Hz, the chip's own
TICKS = 4096
WAKING = 0.0005  # seconds until the oscillator is stable
FREQUENCY = 50.0  # Hz, which every analog servo accepts
DEFAULT_ADDRESS = 0x40
ATTEMPTS = 3  # of one transfer


@dataclass(frozen=True)
class ServoCalibration:
    """The relation between the pulses of a servo and the angle of its joint.

    :ivar channel: channel of the chip, 0 to 15.
    :ivar center_pulse_us: pulse in microseconds at 0 rad.
    :ivar us_per_rad: microseconds per radian; negative if the servo is mounted reversed.
    :ivar min_pulse_us: shortest pulse ever sent, in microseconds; the servo would press against
        its stop below it.
    :ivar max_pulse_us: longest pulse ever sent, in microseconds.
    :raises UserError: the values contradict each other.
    """

    channel: int
    center_pulse_us: float = 1500.0
    us_per_rad: float = 2000.0 / math.pi
    min_pulse_us: float = 600.0
    max_pulse_us: float = 2400.0

    def __post_init__(self) -> None:
        if not 0 <= self.channel <= 15:
            raise UserError(
                f'channel {self.channel} does not exist on a PCA9685', 'set it to 0 to 15'
            )
        low, center, high = self.min_pulse_us, self.center_pulse_us, self.max_pulse_us
        if not 100 <= low <= center <= high <= 3000 or not self.us_per_rad:
            raise UserError(
                f'pulses from {low:g} to {high:g} us around {center:g} us, with '
                f'{self.us_per_rad:g} us per rad, do not suit a servo',
                'set 100 <= min_pulse_us <= center_pulse_us <= max_pulse_us <= 3000, and a '
                'us_per_rad other than 0',
            )

    def pulse(self, angle: float) -> float:
        """Return the pulse in microseconds for an angle in radians, within the servo's limits."""
        pulse = self.center_pulse_us + self.us_per_rad * angle
        return min(max(pulse, self.min_pulse_us), self.max_pulse_us)


def _pulse(description: str, default: float) -> Any:
    return option(default, f'{description} (us)', 100.0, 3000.0)


def _channel(default: int) -> Any:
    return option(default, 'Channel of the servo on the PCA9685', 0, 15)


def _us_per_rad() -> Any:
    return option(
        636.62,
        'Pulse length per radian (us/rad; 636.62 = 1000 us for 90 deg); '
        'negative for a servo mounted reversed',
        -3000.0,
        3000.0,
    )


@dataclass(frozen=True)
class Pca9685Options(Options):
    """The options of the PCA9685.

    :raises UserError: the calibrations of the servos cannot be used.
    """

    i2c_bus: int = option(1, 'Number N of the bus /dev/i2c-N', 0, 255, read_only=True)
    i2c_address: int = option(
        DEFAULT_ADDRESS, 'I2C address of the PCA9685 (64 = 0x40)', 0x03, 0x77, read_only=True
    )
    guardian: bool = option(
        True,
        'Start a process that releases the servos if the node dies or stops responding',
        read_only=True,
    )
    pan_channel: int = _channel(0)
    pan_center_pulse_us: float = _pulse('Pulse at 0 rad', 1500.0)
    pan_us_per_rad: float = _us_per_rad()
    pan_min_pulse_us: float = _pulse('Shortest pulse ever sent', 600.0)
    pan_max_pulse_us: float = _pulse('Longest pulse ever sent', 2400.0)
    tilt_channel: int = _channel(1)
    tilt_center_pulse_us: float = _pulse('Pulse at 0 rad', 1500.0)
    tilt_us_per_rad: float = _us_per_rad()
    tilt_min_pulse_us: float = _pulse('Shortest pulse ever sent', 600.0)
    tilt_max_pulse_us: float = _pulse('Longest pulse ever sent', 2400.0)

    def check_together(self) -> None:
        """Check the calibration of both servos."""
        if self.servo('pan').channel == self.servo('tilt').channel:
            raise UserError(
                f'pan_channel and tilt_channel are both {self.pan_channel}',
                'set them to different channels',
            )

    def servo(self, joint: str) -> ServoCalibration:
        """Return the calibration of the servo of ``pan`` or ``tilt``."""
        return ServoCalibration(
            **{
                field.name: getattr(self, f'{joint}_{field.name}')
                for field in dataclasses.fields(ServoCalibration)
            }
        )


@register_driver('pca9685')
class Pca9685(Driver):
    """Sends pulses to a pan and a tilt servo.

    Other channels of the chip are never switched off. If the chip already runs at the right
    frequency, as after a restart of the node, it is not initialized again.

    :param bus: an open ``smbus2.SMBus``; closed with the driver.
    :param address: the I2C address of the chip.
    :param bus_number: N of /dev/i2c-N, for messages.
    :param guardian: releases the servos if this process dies; None without one.
    :raises UserError: the chip does not answer, or another chip does.
    """

    options = Pca9685Options

    def __init__(
        self,
        bus: Any,
        pan: ServoCalibration,
        tilt: ServoCalibration,
        address: int = DEFAULT_ADDRESS,
        bus_number: int = 1,
        guardian: ServoGuardian | None = None,
    ):
        self._bus, self._address, self._servos = bus, address, (pan, tilt)
        self._bus_number, self._guardian = bus_number, guardian
        prescale = round(OSCILLATOR / (TICKS * FREQUENCY)) - 1
        # The prescaler is coarse: pulses are timed by the frequency that it really gives.
        self._tick = 1e6 * (prescale + 1) / OSCILLATOR
        self._initialize(prescale)

    @classmethod
    def open(cls, options: Pca9685Options, context: DriverContext) -> Pca9685:
        """Open the bus and initialize the chip."""
        del context
        pan, tilt = options.servo('pan'), options.servo('tilt')
        bus = open_bus(options.i2c_bus)
        guardian = (
            ServoGuardian(options.i2c_bus, options.i2c_address, (pan.channel, tilt.channel))
            if options.guardian
            else None
        )
        try:
            return cls(bus, pan, tilt, options.i2c_address, options.i2c_bus, guardian)
        except BaseException:
            if guardian is not None:
                guardian.dismiss()
            bus.close()
            raise

    def write(self, command: Command) -> None:
        """Send both pulses, each in one transaction."""
        for servo, angle in zip(self._servos, command.positions, strict=True):
            off = round(servo.pulse(angle) / self._tick)
            self._set(servo, [0, 0, off & 0xFF, off >> 8])
        if self._guardian is not None:
            self._guardian.beat()

    def release(self) -> None:
        """Stop the pulses: the servos go limp."""
        for servo in self._servos:
            self._set(servo, [0, 0, 0, FULL_OFF])

    def close(self) -> None:
        """Close the bus; the chip repeats the last pulses."""
        if self._guardian is not None:
            self._guardian.dismiss()
        self._bus.close()

    def _initialize(self, prescale: int) -> None:
        mode = self._read(MODE1)
        if self._read(PRE_SCALE) == prescale and mode & AUTO_INCREMENT and not mode & SLEEP:
            return
        # The prescaler can only be set in sleep mode, which interrupts all channels once.
        self._write(MODE1, [SLEEP | AUTO_INCREMENT])
        self._write(PRE_SCALE, [prescale])
        if self._read(PRE_SCALE) != prescale:
            raise UserError(
                f'the chip at I2C address {self._address:#04x} is not a PCA9685',
                f'check i2c_address with "i2cdetect -y {self._bus_number}"',
            )
        self._write(MODE2, [OUTDRV])
        for servo in self._servos:
            self._set(servo, [0, 0, 0, FULL_OFF])
        self._write(MODE1, [AUTO_INCREMENT])
        time.sleep(WAKING)
        self._write(MODE1, [RESTART | AUTO_INCREMENT])

    def _set(self, servo: ServoCalibration, registers: list[int]) -> None:
        self._write(LED0_ON_L + 4 * servo.channel, registers)

    def _write(self, register: int, values: list[int]) -> None:
        self._retry(lambda: self._bus.write_i2c_block_data(self._address, register, values))

    def _read(self, register: int) -> int:
        return int(self._retry(lambda: self._bus.read_byte_data(self._address, register)))

    def _retry(self, transfer: Callable[[], Any]) -> Any:
        """Run a transfer, again after an error: electrical noise spoils single transfers."""
        for attempt in range(ATTEMPTS):
            try:
                return transfer()
            except OSError as error:
                if attempt == ATTEMPTS - 1:
                    raise UserError(
                        f'the chip at I2C address {self._address:#04x} does not answer '
                        f'({error.strerror})',
                        "check the board's wiring and its logic supply; "
                        f'"i2cdetect -y {self._bus_number}" lists the devices that answer',
                    ) from error
        raise AssertionError('unreachable')


def open_bus(number: int) -> Any:
    """Open ``/dev/i2c-NUMBER``.

    :raises UserError: smbus2 is missing, the bus does not exist, or it may not be opened.
    """
    try:
        from smbus2 import SMBus
    except ImportError as error:
        raise UserError(
            'smbus2 cannot be imported',
            'install python3-smbus2, or in a virtual environment: pip install smbus2',
        ) from error
    try:
        return SMBus(number)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(
                f'no permission to open /dev/i2c-{number}',
                'add the user to the group i2c: sudo usermod -aG i2c $USER, and log in again',
            ) from error
        raise UserError(
            f'the I2C bus /dev/i2c-{number} does not exist',
            'enable it: sudo raspi-config nonint do_i2c 0, or dtparam=i2c_arm=on in config.txt',
        ) from error
