# SPDX-License-Identifier: Apache-2.0
"""The node that gives tracks their distance: from a depth image, else by the height of a face."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray

from face_tracking.arrays import FloatArray
from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.image_header import MAX_LIVE_IMAGE
from face_tracking.nodes.camera_info import from_camera_info
from face_tracking.nodes.diagnostics import WARN, Report
from face_tracking.nodes.image_messages import from_time
from face_tracking.nodes.messages import tracks_from_message
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.shared_options import FaceSizeOptions
from face_tracking.nodes.spatial_messages import from_depth, to_tracks_3d
from face_tracking.nodes.spin import run
from face_tracking.options import option
from face_tracking.spatial.face_positions import locate


@dataclass(frozen=True)
class Tracks3dParameters(FaceSizeOptions):
    """The parameters of the node."""

    use_depth: bool = option(
        True, 'Use the depth image of camera/depth/image_raw while it is received'
    )
    depth_max_age: float = option(
        0.1, 'Maximum difference (s) between the stamps of tracks and depth image', 0.0, 2.0
    )


class Tracks3dNode(FaceNode[Tracks3dParameters]):
    """Publishes faces/tracks_3d while it has subscribers."""

    def __init__(self, **options: Any):
        super().__init__('tracks_3d_node', Tracks3dParameters, **options)
        self._placed = self.publisher('faces/tracks_3d')
        self._camera: CameraModel | None = None
        self._depths: deque[tuple[int, FloatArray]] = deque(maxlen=8)
        self._measured = 0
        self.add_input('faces/tracks', self._on_tracks, needed=self._heard)
        self.add_input('faces/camera_info', self._on_camera_info)
        self.add_input(
            'camera/depth/image_raw',
            self._on_depth,
            needed=lambda: self._heard() and self.parameters.use_depth,
        )
        self.start()

    def deactivate(self) -> None:
        """Discard the depth images."""
        self._depths.clear()

    def report(self, report: Report) -> None:
        """Report rates and how many distances are measured."""
        _, values = self.meter.take()
        report.values.update(values, measured=str(self._measured))
        if self.active and self._heard() and self._camera is None:
            report.say(WARN, 'no faces/camera_info received: positions cannot be computed')

    def _heard(self) -> bool:
        return self._placed.get_subscription_count() > 0

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            self._camera = from_camera_info(message)
        except UserError as error:
            self.refuse_message('camera_info', error)

    def _on_depth(self, message: Image) -> None:
        try:
            self._depths.append((from_time(message.header.stamp), from_depth(message)))
        except UserError as error:
            self.refuse_message('depth images', error)
        while sum(depth.size for _, depth in self._depths) > MAX_LIVE_IMAGE:
            self._depths.popleft()

    def _on_tracks(self, message: Detection2DArray) -> None:
        if self._camera is None:
            return
        tracks, refused = tracks_from_message(message)
        self.refuse('tracks', refused)
        depth = self._depth_at(tracks.stamp) if self.parameters.use_depth else None
        places = locate(tracks.boxes, self._camera, self.parameters.face_height, depth)
        self._measured = int(places.measured.sum())
        height = self.parameters.face_height
        self._placed.publish(to_tracks_3d(tracks, places, message.header, height))
        self.meter.add({'latency': self.age(tracks.stamp)})

    def _depth_at(self, stamp: int) -> FloatArray | None:
        """Return the depth image nearest to a stamp in nanoseconds, None if it is too far."""
        if not self._depths:
            return None
        nearest, depth = min(self._depths, key=lambda entry: abs(entry[0] - stamp))
        return depth if abs(nearest - stamp) <= 1e9 * self.parameters.depth_max_age else None


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [Tracks3dNode()]


def main() -> int:
    """Run the node."""
    return run(build)
