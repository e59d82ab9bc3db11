# SPDX-License-Identifier: Apache-2.0
"""A subscriber to all that the package's nodes publish about faces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from face_tracking.arrays import Array
from face_tracking.nodes.qos import subscription_qos
from face_tracking.nodes.topics import TOPICS
from face_tracking.time_units import SECOND


class TopicRecorder(Node):
    """Records what the nodes of a namespace publish.

    :ivar detector_ready: whether a message of the detector has come.
    :ivar recording: whether messages are kept.
    :ivar tracks: a row for each image: its stamp and the faces in it.
    :ivar images: (stamp, JPEG file as uint8) of the annotated images.
    :ivar ids: all ids seen.
    :ivar figures: milliseconds reported for (node, stage), once a second.
    :ivar problem: what a node reports as an error, empty if none does.
    """

    def __init__(self, namespace: str):
        super().__init__('watcher', namespace=namespace)
        self.detector_ready = False
        self.recording = False
        self.tracks: list[dict[str, Any]] = []
        self.images: list[tuple[int, Array]] = []
        self.ids: set[int] = set()
        self.figures: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.problem = ''
        self._subscribe(Detection2DArray, 'faces/detections', self._on_detections)
        self._subscribe(Detection2DArray, 'faces/tracks', self._on_tracks)
        self._subscribe(CompressedImage, 'faces/annotated/compressed', self._on_image)
        self._subscribe(DiagnosticArray, '/diagnostics', self._on_diagnostics)

    def _subscribe(self, kind: type[Any], topic: str, callback: Callable[[Any], None]) -> None:
        self.create_subscription(kind, topic, callback, subscription_qos(TOPICS[topic]))

    def _on_detections(self, _message: Detection2DArray) -> None:
        self.detector_ready = True

    def _on_tracks(self, message: Detection2DArray) -> None:
        if not self.recording:
            return
        faces = []
        for face in message.detections:
            center, width, height = face.bbox.center.position, face.bbox.size_x, face.bbox.size_y
            faces.append(
                {
                    'id': int(face.id),
                    'score': round(face.results[0].hypothesis.score, 4),
                    'box': [
                        round(value, 2)
                        for value in (center.x - width / 2, center.y - height / 2, width, height)
                    ],
                }
            )
            self.ids.add(int(face.id))
        self.tracks.append({'stamp': _nanoseconds(message.header), 'tracks': faces})

    def _on_image(self, message: CompressedImage) -> None:
        if self.recording:
            content = np.frombuffer(message.data, np.uint8)
            self.images.append((_nanoseconds(message.header), content))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            namespace, _, node = status.name.rpartition('/')
            if namespace != self.get_namespace().strip('/'):
                continue
            if status.level == DiagnosticStatus.ERROR:
                self.problem = status.message
            for value in status.values if self.recording else ():
                if value.key.endswith(' (ms)'):
                    self.figures[node, value.key.removesuffix(' (ms)')].append(float(value.value))


def _nanoseconds(header: Header) -> int:
    return header.stamp.sec * SECOND + header.stamp.nanosec
