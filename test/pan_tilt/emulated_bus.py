# SPDX-License-Identifier: Apache-2.0
"""An I2C bus with a PCA9685 on it, for tests without one."""

import errno
import os
import time


class EmulatedBus:
    """An I2C bus with a PCA9685 on it, which behaves as the data sheet says.

    :ivar registers: the chip's, by number.
    :ivar writes: (register, bytes) of each transaction.
    """

    def __init__(self, address=0x40, other_chip=False):
        self.address = address
        self.registers = dict.fromkeys(range(0x46), 0) | {0x00: 0x11, 0x01: 0x04, 0xFE: 0x1E}
        self.writes = []
        self.other_chip = other_chip
        self.fails = None
        self._woken = None
        self.closed = False

    def write_i2c_block_data(self, address, register, values):
        self._check(address)
        self.writes.append((register, list(values)))
        for offset, value in enumerate(values):
            assert 0 <= value <= 0xFF
            if offset:
                assert self.registers[0x00] & 0x20, 'several bytes without auto-increment'
            self._store(register + offset, value)

    def read_byte_data(self, address, register):
        self._check(address)
        return self.registers[register]

    def close(self):
        self.closed = True

    @property
    def awake(self):
        """Whether the oscillator runs, half a millisecond after SLEEP was cleared."""
        return self._woken is not None and time.monotonic() - self._woken >= 0.0005

    def pulse(self, channel, oscillator=25e6):
        """Return the pulse in microseconds that a channel puts out; None for none."""
        on = self.registers[6 + 4 * channel] | self.registers[7 + 4 * channel] << 8
        off = self.registers[8 + 4 * channel] | self.registers[9 + 4 * channel] << 8
        if off & 0x1000 or not self.awake:
            return None
        return (off - on) * (self.registers[0xFE] + 1) / oscillator * 1e6

    def frequency(self):
        return 25e6 / 4096 / (self.registers[0xFE] + 1)

    def _store(self, register, value):
        if register == 0xFE and not self.registers[0x00] & 0x10:
            return  # PRE_SCALE is locked unless the chip sleeps
        if register == 0x00:
            if value & 0x80:
                assert self.awake, 'RESTART before the oscillator runs'
            value &= 0x7F
            if value & 0x10:
                self._woken = None
            elif self._woken is None:
                self._woken = time.monotonic()
        if self.other_chip and register == 0xFE:
            return
        self.registers[register] = value

    def _check(self, address):
        if self.fails or address != self.address:
            number = self.fails or errno.EREMOTEIO
            raise OSError(number, os.strerror(number))
