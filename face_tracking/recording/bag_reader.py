# SPDX-License-Identifier: Apache-2.0
"""Reads the messages of a recording, all its bags in order of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from face_tracking.errors import UserError
from face_tracking.recording.bag_folder import find_bags
from face_tracking.recording.message_types import new_typestore, register_type


@dataclass(frozen=True)
class RecordedMessage:
    """A message of a bag.

    :ivar topic: its topic.
    :ivar type: such as ``std_msgs/msg/String``.
    :ivar stamp: time of receipt in nanoseconds.
    :ivar data: serialized (CDR).
    """

    topic: str
    type: str
    stamp: int
    data: bytes


def read_messages(folder: Path, topics: set[str] | None = None) -> Iterator[RecordedMessage]:
    """Yield the messages of a recording.

    :param folder: a bag, or the folder of a recording.
    :param topics: only these; None for all.
    :raises UserError: rosbags is missing, there is no bag, or one cannot be read.
    """
    new_typestore()  # reports a missing rosbags in words
    from rosbags.rosbag2 import Reader

    for path in find_bags(folder):
        try:
            with Reader(path) as reader:
                wanted = [
                    connection
                    for connection in reader.connections
                    if topics is None or connection.topic in topics
                ]
                if not wanted:
                    continue
                for connection, stamp, data in reader.messages(wanted):
                    yield RecordedMessage(connection.topic, connection.msgtype, stamp, bytes(data))
        except Exception as error:  # a damaged file raises whatever its parser meets
            raise UserError(
                f'{path} cannot be read: {type(error).__name__}: {str(error)[:200]}',
                'remove that bag; the others of the recording are not touched',
            ) from None


class Deserializer:
    """Turns serialized messages into objects, without a ROS installation's help."""

    def __init__(self):
        self._typestore = new_typestore()

    def read(self, message: RecordedMessage) -> Any:
        """Return a message as an object with the fields of its definition.

        :raises UserError: its definition is not installed, or the data is damaged.
        """
        register_type(self._typestore, message.type)
        try:
            return self._typestore.deserialize_cdr(message.data, message.type)
        except Exception as error:  # damaged data raises whatever its parser meets
            raise UserError(
                f'a message of {message.topic} is damaged: {error}', 'record again'
            ) from None
