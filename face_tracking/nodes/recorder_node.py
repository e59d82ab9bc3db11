# SPDX-License-Identifier: Apache-2.0
"""The recorder node: tracks, names, events and, if wanted, images, in MCAP bags."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from face_tracking.errors import UserError
from face_tracking.files import data_dir, expand
from face_tracking.nodes.diagnostics import ERROR, Report
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.spin import run
from face_tracking.nodes.topics import TOPICS as TOPIC_TABLE
from face_tracking.nodes.worker import Worker
from face_tracking.options import Options, option
from face_tracking.recording.bag_folder import MEGABYTE, RecordingLimits
from face_tracking.recording.bag_recorder import BagRecorder

TOPICS = ('faces/tracks', 'faces/people', 'faces/events', 'faces/events/json')
"""What is always recorded."""
_IMAGES = 'camera/image_raw/compressed'
_QUEUE = 500  # messages that wait while the disk is slow
_QUEUE_BYTES = 64_000_000  # of all messages that wait
_LARGEST = 4_000_000  # bytes of a message
_PATIENCE = 5.0  # seconds in which the bag is finished at the end


@dataclass(frozen=True)
class RecordingOptions(Options):
    """What is recorded, and how much of it is kept."""

    record_folder: str = option(
        '',
        'Folder of the recording; empty = ~/.local/share/face_tracking/recordings',
        read_only=True,
    )
    record_images: bool = option(False, 'Record the images of image_topic, too', read_only=True)
    image_topic: str = option(
        _IMAGES,
        'Compressed images to record; faces/anonymized/compressed hides faces',
        read_only=True,
    )
    track_rate: float = option(
        30.0, 'Maximum rate at which tracks are recorded, in Hz', 0.1, 120.0
    )
    bag_mb: int = option(
        100, 'Maximum size of a bag in megabytes; then a new one begins', 1, 10000, read_only=True
    )
    bag_minutes: float = option(
        10.0, 'Minutes after which a new bag begins', 0.05, 1440.0, read_only=True
    )
    total_mb: int = option(
        2000,
        'Maximum size of all bags in megabytes; the oldest are removed',
        5,
        10_000_000,
        read_only=True,
    )
    keep_days: float = option(
        0.0, 'Days after which a bag is removed; 0 = never', 0.0, 3650.0, read_only=True
    )
    minimum_free_mb: int = option(
        1000, 'Minimum free disk space in megabytes', 0, 10_000_000, read_only=True
    )

    def limits(self) -> RecordingLimits:
        """Return the limits in bytes and seconds."""
        return RecordingLimits(
            self.bag_mb * MEGABYTE,
            60 * self.bag_minutes,
            self.total_mb * MEGABYTE,
            86400 * self.keep_days,
            self.minimum_free_mb * MEGABYTE,
        )


class Backlog:
    """Counts what waits to be written, so that a slow disk does not fill the memory.

    :param most: number of messages that may wait.
    :param most_bytes: size of all messages that may wait.
    :ivar dropped: number of messages that were refused.
    """

    def __init__(self, most: int, most_bytes: int):
        self.dropped = 0
        self._most, self._most_bytes = most, most_bytes
        self._count = self._bytes = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> bool:
        """Return whether a message may wait."""
        with self._lock:
            if self._count >= self._most or self._bytes + size > self._most_bytes:
                self.dropped += 1
                return False
            self._count += 1
            self._bytes += size
            return True

    def remove(self, size: int) -> None:
        """Subtract a message that was written, or could not be."""
        with self._lock:
            self._count -= 1
            self._bytes -= size


class RecorderNode(FaceNode[RecordingOptions]):
    """Writes serialized messages as they are received, in a thread of its own, while active."""

    def __init__(self, **options: Any):
        super().__init__('recorder_node', RecordingOptions, **options)
        self._recorder: BagRecorder | None = None
        self._written = 0  # before the recorder that is there now
        self._problem: UserError | None = None
        self._last_track = float('-inf')
        self._waiting = Backlog(_QUEUE, _QUEUE_BYTES)
        self._worker: Worker[tuple[str, bytes, int] | threading.Event] = self.worker(
            self._write, capacity=_QUEUE + 2, name='recorder'
        )
        self._types: dict[str, str] = {}
        for topic in TOPICS:
            self._add(topic, topic)
        if self.parameters.record_images:
            self._add(_IMAGES, self.parameters.image_topic)
        self.start()

    @property
    def folder(self) -> Path:
        """The folder of the recording."""
        chosen = self.parameters.record_folder
        return expand(chosen) if chosen else data_dir() / 'recordings'

    @property
    def written(self) -> int:
        """Number of messages written."""
        return self._written + (self._recorder.written if self._recorder is not None else 0)

    def configure(self) -> None:
        """Open the recording; tried again where the folder cannot be made."""
        self._recorder = BagRecorder(self.folder, self._types, self.parameters.limits())

    def deactivate(self) -> None:
        """Finish the bag."""
        self._worker.submit(threading.Event())

    def cleanup(self) -> None:
        """Finish the bag and leave the folder to others."""
        finished = threading.Event()
        if self._worker.submit(finished):  # not when it is closed a second time
            finished.wait(_PATIENCE)
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._written += recorder.written
            recorder.release()

    def close(self) -> bool:
        """Finish the bag."""
        self.cleanup()
        return self._worker.close()

    def report(self, report: Report) -> None:
        """Fill in the diagnostics."""
        _, values = self.meter.take()
        report.values.update(values, waiting_dropped=str(self._waiting.dropped))
        recorder = self._recorder
        if recorder is not None:
            report.values.update(
                written=str(self.written),
                lost=str(recorder.dropped),
                bag=str(recorder.path or self.folder),
            )
            if recorder.path is not None:
                self._problem = None
        if self._problem is not None:
            report.say(ERROR, str(self._problem))

    def _add(self, topic: str, name: str) -> None:
        resolved = self.resolve_topic_name(name)
        self._types[resolved] = TOPIC_TABLE[topic].type
        self.add_input(topic, partial(self._on_message, topic, resolved), raw=True, name=name)

    def _on_message(self, topic: str, resolved: str, data: bytes) -> None:
        if len(data) > _LARGEST:
            self.refuse(f'messages of {topic}', {f'more than {_LARGEST} bytes': 1})
            return
        if topic == 'faces/tracks':
            now = time.monotonic()
            if now - self._last_track < 0.9 / self.parameters.track_rate:
                return
            self._last_track = now
        if self._waiting.add(len(data)):
            self._worker.submit((resolved, bytes(data), time.time_ns()))

    # The worker's thread.

    def _write(self, work: tuple[str, bytes, int] | threading.Event) -> None:
        if isinstance(work, threading.Event):
            self._finish()
            work.set()
            return
        try:
            if self._recorder is not None:
                self._recorder.write(*work)
        except UserError as error:
            self._note(error)
        finally:
            self._waiting.remove(len(work[1]))

    def _finish(self) -> None:
        if self._recorder is not None:
            try:
                self._recorder.close()
            except UserError as error:
                self._note(error)

    def _note(self, error: UserError) -> None:
        self._problem = error
        self.log_throttled(error)


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [RecorderNode()]


def main() -> int:
    """Run the recorder node alone."""
    return run(build)
