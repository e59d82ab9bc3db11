# SPDX-License-Identifier: Apache-2.0
"""The attention node: head poses from landmarks, and who looks at the robot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, PointCloud2

from face_tracking.attention.attention import AttentionEstimator
from face_tracking.attention.attention_options import AttentionOptions
from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.nodes.camera_info import from_camera_info
from face_tracking.nodes.diagnostics import WARN, Report
from face_tracking.nodes.landmarks import from_landmarks
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.spatial_messages import to_attention
from face_tracking.nodes.spin import run


@dataclass(frozen=True)
class AttentionParameters(AttentionOptions):
    """The parameters of the attention node."""


class AttentionNode(FaceNode[AttentionParameters]):
    """Publishes faces/attention for every image with landmarks."""

    def __init__(self, **options: Any):
        super().__init__('attention_node', AttentionParameters, **options)
        self._attention = self.publisher('faces/attention')
        self._estimator = AttentionEstimator(self.parameters)
        self._camera: CameraModel | None = None
        self._looking = 0
        self.add_input('faces/landmarks', self._on_landmarks)
        self.add_input('faces/camera_info', self._on_camera_info)
        self.start()

    def apply(self, changed: set[str]) -> None:
        """Use the new options; the states of the tracks are kept."""
        self._estimator.options = self.parameters

    def report(self, report: Report) -> None:
        """Report rates and how many people look at the robot."""
        rate, values = self.meter.take()
        report.values.update(values, looking=str(self._looking))
        if not self.active:
            return
        if self._camera is None:
            report.say(WARN, 'no faces/camera_info received: angles cannot be computed')
        elif rate == 0:
            report.say(WARN, 'no faces/landmarks received')

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            self._camera = from_camera_info(message)
        except UserError as error:
            self.refuse_message('camera_info', error)

    def _on_landmarks(self, message: PointCloud2) -> None:
        if self._camera is None:
            return
        try:
            ids, faces = from_landmarks(message)
        except UserError as error:
            self.refuse_message('landmarks', error)
            return
        widths = faces.boxes[:, 2] - faces.boxes[:, 0]
        rows = zip(ids.tolist(), faces.landmarks, widths.tolist(), strict=True)
        found = self._estimator.update(faces.stamp, rows, self._camera)
        by_id = dict(zip(ids.tolist(), faces.boxes, strict=True))
        boxes = np.array([by_id[entry.track] for entry in found]).reshape(-1, 4)
        self._attention.publish(to_attention(found, boxes, message.header))
        self._looking = sum(entry.looking for entry in found)
        self.meter.add({'latency': self.age(faces.stamp)})


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [AttentionNode()]


def main() -> int:
    """Run the attention node."""
    return run(build)
