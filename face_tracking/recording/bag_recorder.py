# SPDX-License-Identifier: Apache-2.0
"""Writes serialized messages to MCAP bags that rotate."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from face_tracking.errors import UserError
from face_tracking.recording.bag_folder import BagFolder, RecordingLimits
from face_tracking.recording.message_types import new_typestore, register_type

_CHECK_PERIOD = 2.0  # seconds between looks at the disk
_ROSBAG2_VERSION = 9


class BagRecorder:
    """A recording of some topics; belongs to one thread.

    :param folder: for the bags.
    :param topics: message types by topic, such as ``{'/faces/tracks':
        'vision_msgs/msg/Detection2DArray'}``.
    :param limits: how much is kept.
    :ivar written: messages written.
    :ivar dropped: messages that were not, since the disk is full.
    :raises UserError: rosbags is missing, a type is not installed, or the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        topics: Mapping[str, str],
        limits: RecordingLimits | None = None,
        bags: BagFolder | None = None,
    ):
        self.written = 0
        self.dropped = 0
        self._limits = limits or RecordingLimits()
        self._topics = dict(topics)
        self._typestore = new_typestore()
        for name in self._topics.values():
            register_type(self._typestore, name)
        self._bags = bags or BagFolder(folder, self._limits)
        self._writer: Any = None
        self._path: Path | None = None
        self._connections: dict[str, Any] = {}
        self._bytes = 0
        self._begun = 0.0
        self._checked = float('-inf')
        self._has_room = True

    @property
    def path(self) -> Path | None:
        """The bag that is being written."""
        return self._path

    def write(self, topic: str, data: bytes, stamp: int) -> None:
        """Write a message.

        :param data: serialized (CDR).
        :param stamp: time of receipt in nanoseconds.
        :raises UserError: the disk is full; messages are dropped until it has space again.
        """
        now = time.monotonic()
        if now - self._checked >= _CHECK_PERIOD:
            self._checked = now
            try:
                self._check_room()
            except OSError as error:
                self._abandon(error)
        if not self._has_room:
            self.dropped += 1
            return
        if self._writer is not None and self._is_full(now):
            self.close()
        try:
            if self._writer is None:
                self._begin(now)
            self._writer.write(self._connections[topic], stamp, data)
        except OSError as error:
            self._abandon(error)
        self.written += 1
        self._bytes += len(data)

    def close(self) -> None:
        """Finish the bag; it is whole from then on."""
        writer, self._writer, self._path = self._writer, None, None
        if writer is not None:
            try:
                writer.close()
            except OSError as error:
                raise UserError(
                    f'a bag could not be finished: {error.strerror}', _remedy(error)
                ) from None

    def release(self) -> None:
        """Leave the folder to other recordings."""
        self._bags.release()

    def _is_full(self, now: float) -> bool:
        return (
            self._bytes >= self._limits.bag_bytes or now - self._begun >= self._limits.bag_seconds
        )

    def _check_room(self) -> None:
        had_room = self._has_room
        self._has_room = self._bags.make_room(self._path, 4 * 1024 * 1024)
        if had_room and not self._has_room:
            with contextlib.suppress(UserError):
                self.close()
            raise UserError(
                'the recording pauses: the disk has less free space than minimum_free_mb',
                'free disk space, or lower total_mb',
            )

    def _begin(self, now: float) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer

        path = self._bags.new_path()
        writer = Writer(path, version=_ROSBAG2_VERSION, storage_plugin=StoragePlugin.MCAP)
        writer.open()
        self._connections = {
            topic: writer.add_connection(topic, name, typestore=self._typestore)
            for topic, name in self._topics.items()
        }
        self._writer, self._path, self._bytes, self._begun = writer, path, 0, now

    def _abandon(self, error: OSError) -> None:
        """Stop writing until there is space again."""
        self._has_room = False
        self.dropped += 1
        with contextlib.suppress(UserError, OSError):
            self.close()
        raise UserError(f'the recording pauses: {error.strerror}', _remedy(error)) from None


def _remedy(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return 'free disk space'
    if error.errno == errno.ENOENT:
        return 'see which program removes the bags'
    return 'correct the permissions of the folder, or choose another one'
