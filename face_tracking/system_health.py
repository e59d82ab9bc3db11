# SPDX-License-Identifier: Apache-2.0
"""The state of the board: temperature, throttling, memory."""

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
    """The state of the board.

    :ivar temperature: of the processor in degrees Celsius, None where it is not known.
    :ivar throttling: what slows it down now; empty for nothing, None where it is not known.
    :ivar throttled_before: what slowed it down since it was started.
    :ivar memory_available: share of the memory that is available, 0 to 1, of the control group of
        the process if that is limited; None where it is not known.
    """

    temperature: float | None = None
    throttling: tuple[str, ...] | None = None
    throttled_before: tuple[str, ...] = ()
    memory_available: float | None = None


def read_board(root: Path = Path('/')) -> BoardState:
    """Return the state of the board.

    :param root: the root of the file system, another one in tests.
    """
    flags = _throttled_flags(root)
    temperature, memory = _temperature(root), _memory_available(root)
    if flags is None:
        return BoardState(temperature, memory_available=memory)
    return BoardState(temperature, _reasons(flags), _reasons(flags >> 16), memory)


def _reasons(flags: int) -> tuple[str, ...]:
    return tuple(reason for bit, reason in _THROTTLED.items() if flags >> bit & 1)


def _memory_available(root: Path) -> float | None:
    """Return the smaller share of the machine's and of the control group's memory."""
    shares = [share for share in (_machine_memory(root), _group_memory(root)) if share is not None]
    return min(shares, default=None)


def _machine_memory(root: Path) -> float | None:
    try:
        lines = (root / 'proc/meminfo').read_text().splitlines()
        values = {line.split(':')[0]: int(line.split()[1]) for line in lines if ':' in line}
        return values['MemAvailable'] / values['MemTotal']
    except (OSError, ValueError, KeyError, IndexError, ZeroDivisionError):
        return None


def _group_memory(root: Path) -> float | None:
    """Return the share that is left below MemoryMax of the systemd unit (control groups, v2)."""
    try:
        group = (root / 'proc/self/cgroup').read_text().strip().rpartition('::')[2].lstrip('/')
        folder = root / 'sys/fs/cgroup' / group
        limit = int((folder / 'memory.max').read_text())
        used = int((folder / 'memory.current').read_text())
        stat = (folder / 'memory.stat').read_text().splitlines()
        cached = sum(int(line.split()[1]) for line in stat if line.startswith('inactive_file '))
        return max(limit - (used - cached), 0) / limit
    except (OSError, ValueError, IndexError, ZeroDivisionError):
        return None  # "max" is not a number: no limit


def _temperature(root: Path) -> float | None:
    """Return the temperature of the processor, or the highest one if none has its name."""
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
