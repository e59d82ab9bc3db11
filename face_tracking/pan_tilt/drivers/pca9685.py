# SPDX-License-Identifier: Apache-2.0
"""Two hobby servos on a PCA9685, the 16-channel PWM chip of the common servo boards.

Register names and the order of initialisation are those of NXP's data sheet, revision 4. The bus
is reached through smbus2: pure Python on /dev/i2c-N, packaged by Debian, Ubuntu and Raspberry Pi
OS, and its block writes put a servo's four registers into one transaction, so that no pulse is
ever made of half a command.
"""

from __future__ import annotations

import errno
import math
import time
from dataclasses import dataclass

from face_tracking.errors import UserError
from face_tracking.pan_tilt.controller import Command
from face_tracking.pan_tilt.drivers.base import Driver

MODE1, MODE2, LED0_ON_L, PRE_SCALE = 0x00, 0x01, 0x06, 0xFE
RESTART, AUTO_INCREMENT, SLEEP = 0x80, 0x20, 0x10
OUTDRV = 0x04  # totem-pole outputs, which drive a servo's input both ways
FULL_OFF = 0x10  # in LEDn_OFF_H
OSCILLATOR = 25_000_000  # Hz, the chip's own
TICKS = 4096
WAKING = 0.0005  # seconds until the oscillator runs
FREQUENCY = 50.0  # Hz: what every analogue servo takes
DEFAULT_ADDRESS = 0x40


@dataclass(frozen=True)
class ServoCalibration:
    """How a servo's pulses and a joint's angle go together.

    :ivar channel: of the chip, 0 to 15.
    :ivar centre: pulse in microseconds at which the joint stands at 0 rad.
    :ivar scale: microseconds for each radian; negative where the servo is mounted the other way
        round.
    :ivar shortest: pulse in microseconds that is never gone below, so ``longest``: beyond, the
        servo would press against its stop.
    """

    channel: int
    centre: float = 1500.0
    scale: float = 2000.0 / math.pi
    shortest: float = 600.0
    longest: float = 2400.0

    def __post_init__(self):
        if not 0 <= self.channel <= 15:
            raise UserError(f'the PCA9685 has no channel {self.channel}', 'give 0 to 15')
        if not 100 <= self.shortest <= self.centre <= self.longest <= 3000 or not self.scale:
            raise UserError(
                f'pulses of {self.shortest:g} to {self.longest:g} us around {self.centre:g} us '
                'suit no servo', 'give shortest <= centre <= longest within 100 to 3000, and a '
                'scale that is not 0')

    def pulse(self, angle: float) -> float:
        """Return the pulse in microseconds for an angle in radians, within the servo's limits."""
        return min(max(self.centre + self.scale * angle, self.shortest), self.longest)


class Pca9685(Driver):
    """Writes pulses for a pan and a tilt servo.

    :param bus: an open ``smbus2.SMBus``; closed with the driver.
    :param address: the chip's.
    :raises UserError: no chip answers at the address, or it is another one.
    """

    def __init__(self, bus, pan: ServoCalibration, tilt: ServoCalibration,
                 address: int = DEFAULT_ADDRESS):
        if pan.channel == tilt.channel:
            raise UserError(f'pan and tilt are both on channel {pan.channel}',
                            'give each its own')
        self._bus, self._address, self._servos = bus, address, (pan, tilt)
        prescale = round(OSCILLATOR / (TICKS * FREQUENCY)) - 1
        # The prescaler divides coarsely: pulses are timed by the frequency it really gives.
        self._tick = 1e6 * (prescale + 1) / OSCILLATOR
        self._initialise(prescale)

    def write(self, command: Command) -> None:
        """Send both pulses, each in one transaction."""
        for servo, angle in zip(self._servos, command.positions, strict=True):
            off = round(servo.pulse(angle) / self._tick)
            self._set(servo, [0, 0, off & 0xFF, off >> 8])

    def release(self) -> None:
        """Send no pulses any more: the servos go limp."""
        for servo in self._servos:
            self._set(servo, [0, 0, 0, FULL_OFF])

    def close(self) -> None:
        """Close the bus; the chip goes on with what it was told last."""
        self._bus.close()

    def _initialise(self, prescale: int) -> None:
        write = self._write
        # The prescaler can be set in sleep alone, and no pulse is made before one is asked for.
        write(MODE1, [SLEEP | AUTO_INCREMENT])
        write(PRE_SCALE, [prescale])
        if self._read(PRE_SCALE) != prescale:
            raise UserError(f'what answers at I2C address {self._address:#04x} is no PCA9685',
                            'check i2c_address with i2cdetect -y 1')
        write(MODE2, [OUTDRV])
        for servo in self._servos:
            self._set(servo, [0, 0, 0, FULL_OFF])
        write(MODE1, [AUTO_INCREMENT])
        time.sleep(WAKING)
        write(MODE1, [RESTART | AUTO_INCREMENT])

    def _set(self, servo: ServoCalibration, registers: list[int]) -> None:
        self._write(LED0_ON_L + 4 * servo.channel, registers)

    def _write(self, register: int, values: list[int]) -> None:
        try:
            self._bus.write_i2c_block_data(self._address, register, values)
        except OSError as error:
            raise _silent(self._address, error) from error

    def _read(self, register: int) -> int:
        try:
            return self._bus.read_byte_data(self._address, register)
        except OSError as error:
            raise _silent(self._address, error) from error


def open_bus(number: int):
    """Open ``/dev/i2c-NUMBER``.

    :raises UserError: smbus2 is missing, there is no such bus, or it may not be opened.
    """
    try:
        from smbus2 import SMBus
    except ImportError as error:
        raise UserError('smbus2 cannot be imported', 'install python3-smbus2, or in a virtual '
                        'environment: pip install smbus2') from error
    try:
        return SMBus(number)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(f'no permission to open /dev/i2c-{number}', 'add yourself to the '
                            'group i2c: sudo usermod -aG i2c $USER, and log in again') from error
        raise UserError(f'there is no I2C bus /dev/i2c-{number}', 'enable it: sudo raspi-config '
                        'nonint do_i2c 0, or dtparam=i2c_arm=on in config.txt') from error


def _silent(address: int, error: OSError) -> UserError:
    return UserError(f'no chip answers at I2C address {address:#04x} ({error.strerror})',
                     "check the board's wires and its logic supply; i2cdetect -y 1 lists who is "
                     'there')
