# SPDX-License-Identifier: Apache-2.0
"""The bags of a recording: a folder for each, named by its time, the oldest removed first."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from face_tracking.errors import UserError

_NAME = re.compile(r'faces_\d{8}T\d{6}Z(_\d+)?')
_METADATA = 'metadata.yaml'
MEGABYTE = 1_000_000

_CLOCK_IS_SET = 1_577_836_800.0  # 2020: a clock that shows less was never set


@dataclass(frozen=True)
class RecordingLimits:
    """How much is kept.

    :ivar bag_bytes: size after which a new bag begins.
    :ivar bag_seconds: age after which a new bag begins; a power cut loses at most the bag that is
        being written.
    :ivar total_bytes: size of all bags; the oldest are removed.
    :ivar keep_seconds: age after which a bag is removed; 0 for never.
    :ivar free_bytes: free space that the recording leaves on the disk.
    """

    bag_bytes: int = 100 * MEGABYTE
    bag_seconds: float = 600.0
    total_bytes: int = 2000 * MEGABYTE
    keep_seconds: float = 0.0
    free_bytes: int = 1000 * MEGABYTE


def find_bags(folder: Path) -> list[Path]:
    """Return the finished bags of a recording, oldest first; of one bag, that bag.

    :raises UserError: there is none.
    """
    if (folder / _METADATA).is_file():
        return [folder]
    bags = [path for path in _all_bags(folder) if (path / _METADATA).is_file()]
    if not bags:
        raise UserError(f'{folder} contains no recording', 'give the folder that was recorded to')
    return bags


class BagFolder:
    """Makes room for bags in a folder, which one recording has for itself until it is released.

    Only folders that are named as bags and hold nothing but a bag are ever removed. Bags and the
    folder may be removed by others at any time.

    :param folder: made if it does not exist.
    :param limits: how much is kept.
    :param free_space: returns the free bytes of the folder's disk.
    :param clock: seconds since 1970; may be set meanwhile.
    :raises UserError: the folder cannot be made, or another recording has it.
    """

    def __init__(
        self,
        folder: Path,
        limits: RecordingLimits,
        free_space: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        clock: Callable[[], float] = time.time,
    ):
        self._folder = folder
        self._limits = limits
        self._free_space = free_space
        self._last_name, self._last_number = '', 0
        self._clock = clock
        self._started = clock() - time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f'{folder} cannot be made: {error.strerror}', 'choose another folder'
            ) from None
        self._unlock = weakref.finalize(self, os.close, _lock(folder))

    def release(self) -> None:
        """Leave the folder to other recordings."""
        self._unlock()

    def new_path(self) -> Path:
        """Return a path for the next bag, which does not exist and sorts behind all others."""
        name = time.strftime('faces_%Y%m%dT%H%M%SZ', time.gmtime(self._clock()))
        # A clock that was set back must not make the newest bag look like the oldest.
        name = max([name, self._last_name, *(f'faces_{_order(path)[0]}' for path in self._bags())])
        # A number is not used again, even if its bag was removed meanwhile.
        number = self._last_number + 1 if name == self._last_name else 1
        while (path := self._folder / (f'{name}_{number}' if number > 1 else name)).exists():
            number += 1
        self._last_name, self._last_number = name, number
        return path

    def make_room(self, current: Path | None, needed: int = 0) -> bool:
        """Remove the oldest bags until the limits hold.

        :param current: the bag that is being written, which is never removed.
        :param needed: bytes about to be written.
        :returns: False if the disk has less free space than it should, whatever is removed.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        bags = [path for path in self._bags() if path != current]
        sizes = {path: _size(path) for path in [*bags, *([current] if current else [])]}
        total = sum(sizes.values()) + needed
        for path in bags:
            if (
                total <= self._limits.total_bytes
                and self._has_space(needed)
                and not self._is_expired(path)
            ):
                break
            _remove(path)
            total -= sizes[path]
        return self._has_space(needed) and total <= self._limits.total_bytes

    def _bags(self) -> list[Path]:
        return _all_bags(self._folder)

    def _is_expired(self, path: Path) -> bool:
        """Return whether a bag is older than it may become, as far as clocks show.

        The present time is that of the start and what has passed since, so that a clock that is
        set forward removes nothing. A bag of a machine whose clock was not set yet has no age.
        """
        written = _modified(path)
        now = self._started + time.monotonic()
        return 0 < self._limits.keep_seconds < now - written and written > _CLOCK_IS_SET

    def _has_space(self, needed: int) -> bool:
        return self._free_space(self._folder) - needed >= self._limits.free_bytes


def _all_bags(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    bags = (
        path
        for path in folder.iterdir()
        if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )
    return sorted(bags, key=_order)


def _order(path: Path) -> tuple[str, int]:
    _, time_, *number = path.name.split('_')
    return time_, int(number[0]) if number else 1


def _lock(folder: Path) -> int:
    """Return a descriptor that keeps other recordings out of a folder while it is open.

    Where the file system has no locks, nothing is kept out.

    :raises UserError: another recording has the folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            os.close(descriptor)
            raise UserError(
                f'another program records to {folder}', 'stop it, or choose another folder'
            ) from None
    return descriptor


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    return 0


def _modified(path: Path) -> float:
    """Return when a bag was changed; 0, a time without an age, if it has gone."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _remove(path: Path) -> None:
    """Remove a bag and nothing else."""
    with contextlib.suppress(FileNotFoundError):
        for file in path.iterdir():
            if file.name in (_METADATA, f'{path.name}.mcap'):
                file.unlink()
        if not any(path.iterdir()):
            path.rmdir()
