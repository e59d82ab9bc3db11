# SPDX-License-Identifier: Apache-2.0
"""A small process that releases the servos of a PCA9685 if the process that drives them dies.

The chip repeats the last pulse for as long as it has power. A node that is killed cannot stop it,
so this process does. It holds one end of a pipe: each command of the node is a byte; the end of
the pipe, or silence after a command, releases the servos; an orderly end of the node sends a
farewell first, after which the servos stay as the node left them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

BEAT, FAREWELL = b'.', b'q'
SILENCE = 2.0  # seconds without a command after which the servos are released
LED0_ON_L, FULL_OFF = 0x06, 0x10


class ServoGuardian:
    """Starts the guardian process and reports to it.

    :param bus: N of /dev/i2c-N.
    :param address: the I2C address of the chip.
    :param channels: the channels to release.
    """

    def __init__(self, bus: int, address: int, channels: Sequence[int]):
        command = [sys.executable, '-m', __name__, str(bus), str(address), *map(str, channels)]
        # A session of its own: a Ctrl-C in the terminal must not end the guardian first.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        os.set_blocking(self._pipe.fileno(), False)

    def beat(self) -> None:
        """Report that a command was sent."""
        self._send(BEAT)

    def dismiss(self) -> None:
        """End the guardian; the servos stay as they are."""
        self._send(FAREWELL)
        with contextlib.suppress(OSError):
            self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def _send(self, word: bytes) -> None:
        # A full pipe (the guardian is stopped) or a dead guardian must not stop the head.
        with contextlib.suppress(OSError, ValueError):
            os.write(self._pipe.fileno(), word)


def guard(pipe: int, bus: int, address: int, channels: Sequence[int]) -> bool:
    """Read the pipe until its end; return whether the servos had to be released."""
    released = commanded = False
    while True:
        ready, _, _ = select.select([pipe], [], [], SILENCE if commanded else None)
        words = os.read(pipe, 4096) if ready else b''
        if FAREWELL in words:
            return released
        if ready and words:
            commanded = True
            continue
        if commanded:
            release(bus, address, channels)
            released, commanded = True, False
        if ready:  # the end of the pipe
            return released


def release(bus: int, address: int, channels: Sequence[int]) -> None:
    """Stop the pulses of some channels."""
    from face_tracking.pan_tilt.drivers.pca9685 import open_bus

    with contextlib.closing(open_bus(bus)) as opened:
        for channel in channels:
            opened.write_i2c_block_data(address, LED0_ON_L + 4 * channel, [0, 0, 0, FULL_OFF])


def main() -> int:
    """Run the guardian on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bus', type=int)
    parser.add_argument('address', type=int)
    parser.add_argument('channels', type=int, nargs='+')
    args = parser.parse_args()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    guard(sys.stdin.fileno(), args.bus, args.address, args.channels)
    return 0


if __name__ == '__main__':
    sys.exit(main())
