# SPDX-License-Identifier: Apache-2.0
"""The bridge to REP 155 (ROS4HRI): faces and persons below /humans; needs hri_msgs.

Publishes ``/humans/faces/tracked``, for each face ``/humans/faces/ID/roi``, ``landmarks``,
``cropped`` and ``aligned``, and where people are recognized ``/humans/persons/tracked`` and
``/humans/persons/NAME/face_id``.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2DArray

from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.frame import Frame
from face_tracking.nodes.camera_info import from_camera_info
from face_tracking.nodes.diagnostics import WARN, Report
from face_tracking.nodes.image_input import read_serialized_image
from face_tracking.nodes.image_messages import to_image
from face_tracking.nodes.landmarks import from_landmarks
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.people_messages import names_from_message
from face_tracking.nodes.spin import run
from face_tracking.options import Options, option

MAX_FACES = 20
"""Faces with topics of their own; each has four publishers."""
_PARTS = ('roi', 'landmarks', 'cropped', 'aligned')
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class HriParameters(Options):
    """The parameters of the bridge."""

    crops: bool = option(
        True, 'Publish cropped and aligned faces, which are made only while they have subscribers'
    )


class HriNode(FaceNode[HriParameters]):
    """Publishes what REP 155 asks of a face detector.

    :raises UserError: hri_msgs is not installed.
    """

    def __init__(self, **options: Any):
        if find_spec('hri_msgs') is None:
            raise UserError(
                'the package hri_msgs is not installed',
                'run sudo apt install ros-$ROS_DISTRO-hri-msgs, or do not start hri_node',
            )
        super().__init__('hri_node', HriParameters, **options)
        from face_tracking.nodes import hri_messages

        self._convert = hri_messages
        self._faces = self.publisher('/humans/faces/tracked')
        self._persons = self.publisher('/humans/persons/tracked')
        self._of_faces: dict[str, dict[str, Publisher]] = {}
        self._of_persons: dict[str, tuple[Publisher, str]] = {}
        self._frames: deque[Frame] = deque(maxlen=8)
        self._camera: CameraModel | None = None
        self.add_input('faces/landmarks', self._on_landmarks)
        self.add_input('faces/people', self._on_people)
        self.add_input('faces/camera_info', self._on_camera_info)
        self.add_input('camera/image_raw', self._on_image, raw=True, needed=self._crops_heard)
        self.start()

    def deactivate(self) -> None:
        """Destroy the publishers of all faces."""
        self._keep_faces(set())
        self._frames.clear()

    def report(self, report: Report) -> None:
        """Report rates and how many faces have topics."""
        rate, values = self.meter.take()
        report.values.update(values, faces=str(len(self._of_faces)))
        if self.active and self._camera is None:
            report.say(WARN, 'no faces/camera_info received: the image size is not known')
        elif self.active and rate == 0:
            report.say(WARN, 'no faces/landmarks received')

    def _crops_heard(self) -> bool:
        return self.parameters.crops and any(
            publishers[part].get_subscription_count()
            for publishers in self._of_faces.values()
            for part in ('cropped', 'aligned')
        )

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            self._camera = from_camera_info(message)
        except UserError as error:
            self.refuse_message('camera_info', error)

    def _on_image(self, serialized: bytes) -> None:
        try:
            self._frames.append(read_serialized_image(serialized, Image, self.now()))
        except UserError as error:
            self.refuse_message('images', error)

    def _on_landmarks(self, message: PointCloud2) -> None:
        if self._camera is None:
            return
        try:
            ids, faces = from_landmarks(message)
        except UserError as error:
            self.refuse_message('landmarks', error)
            return
        names = [self._convert.face_id(number) for number in ids.tolist()][:MAX_FACES]
        self._keep_faces(set(names))
        self._faces.publish(self._convert.to_ids(names, message.header))
        for row, name in enumerate(names):
            self._publish_face(self._of_faces[name], faces, row, message.header)
        self.meter.add({'latency': self.age(faces.stamp)})

    def _publish_face(
        self, publishers: dict[str, Publisher], faces: Detections, row: int, header: Header
    ) -> None:
        assert self._camera is not None
        size = self._camera.width, self._camera.height
        box, landmarks, score = faces.boxes[row], faces.landmarks[row], float(faces.scores[row])
        publishers['roi'].publish(self._convert.to_roi(box, score, size, header))
        publishers['landmarks'].publish(
            self._convert.to_facial_landmarks(landmarks, score, size, header)
        )
        frame = next((one for one in self._frames if one.stamp == faces.stamp), None)
        if frame is None or not self.parameters.crops:
            return
        if publishers['cropped'].get_subscription_count():
            publishers['cropped'].publish(
                to_image(self._convert.cropped(frame.image, box), header)
            )
        if publishers['aligned'].get_subscription_count():
            upright = self._convert.aligned(frame.image, landmarks)
            if upright is not None:
                publishers['aligned'].publish(to_image(upright, header))

    def _keep_faces(self, names: set[str]) -> None:
        """Keep publishers for these faces and no others."""
        for gone in set(self._of_faces) - names:
            for publisher in self._of_faces.pop(gone).values():
                self.destroy_publisher(publisher)
        types = self._convert.PART_TYPES
        for new in names - set(self._of_faces):
            self._of_faces[new] = {
                part: self.create_publisher(types[part], f'/humans/faces/{new}/{part}', 1)
                for part in _PARTS
            }

    def _on_people(self, message: Detection2DArray) -> None:
        present: dict[str, str] = {}
        for track, (name, _) in names_from_message(message).items():
            if name and track.isdecimal():
                present[person_id(name)] = self._convert.face_id(int(track))
        for gone in set(self._of_persons) - set(present):
            self.destroy_publisher(self._of_persons.pop(gone)[0])
        for person, face in list(present.items())[:MAX_FACES]:
            self._tell_face(person, face)
        self._persons.publish(self._convert.to_ids(sorted(self._of_persons), message.header))

    def _tell_face(self, person: str, face: str) -> None:
        known = self._of_persons.get(person)
        publisher = (
            known[0]
            if known
            else self.create_publisher(String, f'/humans/persons/{person}/face_id', _LATCHED)
        )
        if known is None or known[1] != face:
            publisher.publish(String(data=face))
        self._of_persons[person] = publisher, face


def person_id(name: str) -> str:
    """Return a person's name as part of a topic: letters, digits and underscores."""
    return 'p_' + re.sub(r'\W', '_', name, flags=re.ASCII)[:60]


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [HriNode()]


def main() -> int:
    """Run the bridge."""
    return run(build)
