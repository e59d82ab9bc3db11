# SPDX-License-Identifier: Apache-2.0
"""The recorder node: tracks, names, events and, if wanted, images, in MCAP bags."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2DArray

from face_tracking.errors import UserError
from face_tracking.files import data_dir
from face_tracking.nodes.diagnostics import ERROR, OK, Report
from face_tracking.nodes.node_base import RELIABLE, SENSOR_DATA, FaceNode
from face_tracking.nodes.spin import run
from face_tracking.nodes.worker import Worker
from face_tracking.options import Options, option
from face_tracking.recording.bag_folder import MEGABYTE, RecordingLimits
from face_tracking.recording.bag_recorder import BagRecorder

TYPES: dict[str, type] = {
    'vision_msgs/msg/Detection2DArray': Detection2DArray,
    'std_msgs/msg/String': String,
    'sensor_msgs/msg/CompressedImage': CompressedImage,
}
TOPICS = {
    'faces/tracks': 'vision_msgs/msg/Detection2DArray',
    'faces/people': 'vision_msgs/msg/Detection2DArray',
    'faces/events': 'vision_msgs/msg/Detection2DArray',
    'faces/events/json': 'std_msgs/msg/String',
}
"""What is always recorded."""
_QUEUE = 500  # messages that wait while the disk is slow
_LARGEST = 4_000_000  # bytes of a message
_LONGEST_PAUSE = 60.0


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
        'camera/image_raw/compressed',
        'Compressed images to record; faces/anonymized/compressed hides faces',
        read_only=True,
    )
    track_rate: float = option(
        30.0, 'Maximum rate at which tracks are recorded, in Hz', 0.1, 120.0
    )
    bag_mb: int = option(100, 'Megabytes after which a new bag begins', 1, 10000, read_only=True)
    bag_minutes: float = option(
        10.0, 'Minutes after which a new bag begins', 0.05, 1440.0, read_only=True
    )
    total_mb: int = option(
        2000, 'Megabytes of all bags; the oldest are removed', 5, 10_000_000, read_only=True
    )
    keep_days: float = option(
        0.0, 'Days after which a bag is removed; 0 = never', 0.0, 3650.0, read_only=True
    )
    minimum_free_mb: int = option(
        1000, 'Megabytes that stay free on the disk', 0, 10_000_000, read_only=True
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


class RecorderNode(FaceNode[RecordingOptions]):
    """Writes serialized messages as they are received, in a thread of its own."""

    def __init__(self, **options: Any):
        super().__init__('recorder_node', RecordingOptions, **options)
        self._recorder: BagRecorder | None = None
        self._problem: UserError | None = None
        self._enabled = True
        self._retry_at, self._pause = 0.0, 1.0
        self._last: dict[str, float] = {}
        self._types = dict(TOPICS)
        if self.parameters.record_images:
            self._types[self.parameters.image_topic] = 'sensor_msgs/msg/CompressedImage'
        self._resolved = {name: self.resolve_topic_name(name) for name in self._types}
        self._worker: Worker[tuple[str, bytes, int] | None] = Worker(
            self._write, self._fail, _QUEUE, 'recorder'
        )
        for name, kind in self._types.items():
            qos = SENSOR_DATA if kind.startswith('sensor_msgs') else RELIABLE
            self.create_subscription(
                TYPES[kind], name, partial(self._on_message, name), qos, raw=True
            )
        self.create_service(SetBool, '~/record', self._on_record)
        self.create_timer(1.0, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.start()

    @property
    def folder(self) -> Path:
        """The folder of the recording."""
        chosen = self.parameters.record_folder
        return Path(chosen).expanduser() if chosen else data_dir() / 'recordings'

    def close(self) -> bool:
        """Finish the bag."""
        if not self._worker.close(5.0):
            return False
        self._finish()
        return True

    def report(self, report: Report) -> None:
        """Say what was written."""
        _, values = self.meter.take()
        report.values.update(values, dropped=str(self._worker.dropped), folder=str(self.folder))
        if self._recorder is not None:
            report.values.update(
                written=str(self._recorder.written),
                lost=str(self._recorder.dropped),
                bag=str(self._recorder.path or ''),
            )
        if self._problem is not None:
            report.say(ERROR, str(self._problem))
        elif not self._enabled:
            report.say(OK, 'paused')

    def _on_message(self, name: str, data: bytes) -> None:
        if not self._enabled or len(data) > _LARGEST:
            return
        now = time.monotonic()
        if name == 'faces/tracks':
            if now - self._last.get(name, float('-inf')) < 0.9 / self.parameters.track_rate:
                return
            self._last[name] = now
        self._worker.submit((self._resolved[name], bytes(data), time.time_ns()))

    def _on_record(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if not request.data:
            self._worker.submit(None)
        response.success = True
        response.message = 'recording' if request.data else 'paused'
        return response

    def _on_timer(self) -> None:
        if self._problem is not None and self._recorder is not None and self._recorder.path:
            self._problem = None

    # The worker's thread.

    def _write(self, work: tuple[str, bytes, int] | None) -> None:
        if work is None:
            self._finish()
            return
        recorder = self._open()
        if recorder is not None:
            recorder.write(*work)

    def _open(self) -> BagRecorder | None:
        if self._recorder is None and time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            topics = {self._resolved[name]: kind for name, kind in self._types.items()}
            self._recorder = BagRecorder(self.folder, topics, self.parameters.limits())
            self._problem = None
        return self._recorder

    def _finish(self) -> None:
        if self._recorder is not None:
            try:
                self._recorder.close()
            except UserError as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.meter.count('failures')
        if isinstance(error, UserError):
            self._problem = error
        self.log_throttled(error)


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [RecorderNode()]


def main() -> int:
    """Run the recorder node alone."""
    return run(build)
