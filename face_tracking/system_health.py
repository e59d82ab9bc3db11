# SPDX-License-Identifier: Apache-2.0
"""What the board tells about itself: temperature, and whether it slows down to stay alive."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Bits of the Raspberry Pi firmware's get_throttled; the same, 16 higher, for "since boot".
_THROTTLED = {
    0: 'under-voltage',
    1: 'frequency capped',
    2: 'throttled',
    3: 'soft temperature limit',
}
_CPU_ZONES = ('cpu', 'x86_pkg_temp', 'soc')


@dataclass(frozen=True)
class BoardState:
    """How the board is.

    :ivar temperature: of the processor in degrees Celsius, None where the board does not tell.
    :ivar throttling: what slows it down now; empty for nothing, None where it does not tell.
    :ivar throttled_before: what slowed it down since it was started.
    """

    temperature: float | None = None
    throttling: tuple[str, ...] | None = None
    throttled_before: tuple[str, ...] = ()


def read_board(root: Path = Path('/')) -> BoardState:
    """Return the board's state.

    :param root: the root of the file system, another one in tests.
    """
    flags = _throttled_flags(root)
    if flags is None:
        return BoardState(_temperature(root))
    return BoardState(_temperature(root), _reasons(flags), _reasons(flags >> 16))


def _reasons(flags: int) -> tuple[str, ...]:
    return tuple(reason for bit, reason in _THROTTLED.items() if flags >> bit & 1)


def _temperature(root: Path) -> float | None:
    """Return the processor's temperature, or the hottest there is if none is named so."""
    readings = {}
    for zone in sorted((root / 'sys/class/thermal').glob('thermal_zone*')):
        try:
            kind = (zone / 'type').read_text().strip()
            readings[kind] = int((zone / 'temp').read_text()) / 1000
        except (OSError, ValueError):
            continue
    of_cpu = [value for kind, value in readings.items() if kind.startswith(_CPU_ZONES)]
    return max(of_cpu or readings.values(), default=None)


def _throttled_flags(root: Path) -> int | None:
    for path in sorted((root / 'sys/devices/platform').glob('soc*/*firmware/get_throttled')):
        try:
            return int(path.read_text(), 16)
        except (OSError, ValueError):
            continue
    command = shutil.which('vcgencmd', path=str(root / 'usr/bin'))
    return _ask_firmware(command) if command else None


def _ask_firmware(command: str) -> int | None:
    try:
        answer = subprocess.run(
            [command, 'get_throttled'], capture_output=True, text=True, timeout=0.5, check=True
        )
        return int(answer.stdout.partition('=')[2], 16)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
