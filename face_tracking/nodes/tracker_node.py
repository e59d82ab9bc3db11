# SPDX-License-Identifier: Apache-2.0
"""The tracker node: follows the faces through every image, under steady ids."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from vision_msgs.msg import Detection2DArray
from visualization_msgs.msg import MarkerArray

from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.faces import Detections, Tracks
from face_tracking.frame import Frame
from face_tracking.nodes.camera_info import from_camera_info
from face_tracking.nodes.diagnostics import OK, WARN, Report
from face_tracking.nodes.enable_service import EnableService
from face_tracking.nodes.images import (
    from_compressed,
    from_image,
    to_compressed,
    to_header,
    to_image,
)
from face_tracking.nodes.joint_states import JointStateListener
from face_tracking.nodes.markers import to_markers
from face_tracking.nodes.messages import detections_from_message, tracks_to_message
from face_tracking.nodes.node_base import RELIABLE, SENSOR_DATA, FaceNode
from face_tracking.nodes.shared_options import FaceSizeOptions, ImageInputOptions, JpegOptions
from face_tracking.nodes.spin import run
from face_tracking.nodes.track_states import to_track_states
from face_tracking.nodes.worker import Worker
from face_tracking.options import option, rows_of
from face_tracking.tracking.optical_flow import Warp
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions
from face_tracking.visualization import Trails, annotate


@dataclass(frozen=True)
class TrackerParameters(TrackerOptions, ImageInputOptions, FaceSizeOptions, JpegOptions):
    """The parameters of the tracker node."""

    use_joint_states: bool = option(
        False,
        'The camera is mounted on pan_joint and tilt_joint of joint_states; their motion '
        'predicts the motion of the image',
        read_only=True,
    )
    annotate: bool = option(
        True, 'Offer faces/annotated, which is drawn only while it has subscribers'
    )
    trail_length: int = option(45, 'Length of the trails in faces/annotated, in images', 1, 1000)


_OF_THE_TRACKER = {row.name for row in rows_of(TrackerOptions)}
_FARTHEST_AHEAD = 1000.0  # milliseconds; a video's stamps may be of another day
_QUEUE = 4  # images that may wait while a slow one is tracked


class TrackerNode(FaceNode[TrackerParameters]):
    """Tracks in a thread of its own, every image in order; detections join when they come.

    :param subscribe: take images and detections from topics; otherwise from :meth:`submit`,
        :meth:`add_detections` and :meth:`set_camera_model`.
    :ivar on_tracks: called in that thread with each ``Frame`` and its ``Tracks``.
    """

    def __init__(self, subscribe: bool = True, **options: Any):
        super().__init__('tracker_node', TrackerParameters, **options)
        self.on_tracks: list[Callable[[Frame, Tracks], None]] = []
        self._tracker = FaceTracker(self.store.get(TrackerOptions))
        self._tracks = self.create_publisher(Detection2DArray, 'faces/tracks', RELIABLE)
        self._predicted = self.create_publisher(
            Detection2DArray, 'faces/tracks_predicted', RELIABLE
        )
        self._motion = self.create_publisher(PointCloud2, 'faces/track_states', RELIABLE)
        self._markers = self.create_publisher(MarkerArray, 'faces/markers', RELIABLE)
        self._annotated = self.create_publisher(Image, 'faces/annotated', SENSOR_DATA)
        self._compressed = self.create_publisher(
            CompressedImage, 'faces/annotated/compressed', SENSOR_DATA
        )
        self._camera: CameraModel | None = None
        self._joints = JointStateListener(self) if self.parameters.use_joint_states else None
        self._stamp: int | None = None
        self._infos: Subscription | None = None
        self._followed = 0
        self._trails = Trails(self.parameters.trail_length)
        self._worker: Worker[Frame] = Worker(self._track, self._fail, _QUEUE, 'tracker')
        self._annotator: Worker[tuple[Frame, Tracks]] = Worker(self._draw, self._fail, 1, 'artist')
        self._subscribes = subscribe
        self._inputs = EnableService(
            self,
            self._inputs_wanted() if subscribe else (),
            on_change=lambda enabled: self._worker.clear(),
        )
        self.start()

    def submit(self, frame: Frame) -> None:
        """Take an image, by reference; returns at once. Callable from any thread."""
        if self._inputs.enabled:
            self._worker.submit(frame)

    def add_detections(self, detections: Detections) -> None:
        """Take what was found in an image, late as it may be. Callable from any thread."""
        if self._inputs.enabled:
            self._tracker.add_detections(detections)

    def set_camera_model(self, model: CameraModel) -> None:
        """Take the camera's intrinsics, which place the faces in space."""
        self._camera = model

    def apply(self, changed: set[str]) -> None:
        """Follow on with other options; ids stay."""
        if changed & _OF_THE_TRACKER:
            self._tracker.configure(self.store.get(TrackerOptions))
        if 'trail_length' in changed:
            self._trails = Trails(self.parameters.trail_length)

    def close(self) -> bool:
        """Stop the workers."""
        ended = [self._worker.close(), self._annotator.close()]
        return all(ended)

    def report(self, report: Report) -> None:
        """Say how many faces are followed and how fast."""
        self._listen_for_camera_info()
        rate, values = self.meter.take()
        report.values.update(
            values,
            dropped=str(self._worker.dropped),
            faces=str(self._followed),
            visual_tracker=self.parameters.visual_tracker,
        )
        if not self._inputs.enabled:
            report.say(OK, 'paused')
        elif rate == 0:
            report.say(WARN, 'no images come')
        elif self._infos is not None and self._camera is None:
            report.say(
                WARN, 'no camera/camera_info comes, which faces/markers and use_joint_states need'
            )

    def _inputs_wanted(self) -> tuple[Callable[[], Subscription], ...]:
        return (
            lambda: self.create_subscription(*self._image_input(), SENSOR_DATA),
            lambda: self.create_subscription(
                Detection2DArray, 'faces/detections', self._on_detections, RELIABLE
            ),
            lambda: self.create_subscription(
                Detection2DArray, 'faces/detections_low_confidence', self._on_candidates, RELIABLE
            ),
        )

    def _listen_for_camera_info(self) -> None:
        """Hear the camera's intrinsics only while somebody needs them."""
        wanted = self._subscribes and (
            self._joints is not None or self._markers.get_subscription_count() > 0
        )
        if wanted and self._infos is None:
            self._infos = self.create_subscription(
                CameraInfo, 'camera/camera_info', self._on_camera_info, SENSOR_DATA
            )
        elif not wanted and self._infos is not None:
            self.destroy_subscription(self._infos)
            self._infos = None

    def _image_input(self) -> tuple[type[Any], str, Callable[[Any], None]]:
        if self.parameters.image_transport == 'compressed':
            return CompressedImage, 'camera/image_raw/compressed', self._on_compressed
        return Image, 'camera/image_raw', self._on_image

    def _on_image(self, message: Image) -> None:
        self._take(from_image, message)

    def _on_compressed(self, message: CompressedImage) -> None:
        self._take(from_compressed, message)

    def _take(self, convert: Callable[[Any], Frame], message: Image | CompressedImage) -> None:
        try:
            self.submit(convert(message))
        except UserError as error:
            self.meter.count('unusable images')
            self.log_throttled(error)

    def _on_detections(self, message: Detection2DArray) -> None:
        # Who publishes candidates has the detections among them; twice would be once too many.
        if not self.count_publishers('faces/detections_low_confidence'):
            self._on_candidates(message)

    def _on_candidates(self, message: Detection2DArray) -> None:
        detections, useless = detections_from_message(message)
        if useless:
            self.meter.count('unusable boxes', useless)
            self.log_throttled(
                UserError(
                    'boxes without a finite place, an area or a score came on faces/detections',
                    'check the detector; they are left out',
                )
            )
        self.add_detections(detections)

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            self._camera = from_camera_info(message)
        except UserError as error:
            self.log_throttled(error)

    def _track(self, frame: Frame) -> None:
        tracks = self._tracker.step(frame, frame.stamp, self._camera_motion(frame))
        tracked = time.perf_counter()
        for hook in self.on_tracks:
            hook(frame, tracks)
        self._publish(frame, tracks)
        self._followed = len(tracks)
        self.meter.add(
            {
                **self._tracker.timings,
                'publish': 1e3 * (time.perf_counter() - tracked),
                'latency': self.age(frame.stamp),
            }
        )

    def _camera_motion(self, frame: Frame) -> Warp | None:
        """Return how the joints moved the image since the one before, None if unknown."""
        before, self._stamp = self._stamp, frame.stamp
        if self._joints is None or self._camera is None or before is None:
            return None
        (pan, tilt), (old_pan, old_tilt) = map(self._joints.angles_at, (frame.stamp, before))
        camera = self._camera.scaled_to(frame.width, frame.height)
        return Warp.of_rotation(camera, pan - old_pan, tilt - old_tilt)

    def _publish(self, frame: Frame, tracks: Tracks) -> None:
        header = to_header(frame.stamp, frame.frame_id)
        if self._tracks.get_subscription_count():
            self._tracks.publish(tracks_to_message(tracks, header))
        if self._predicted.get_subscription_count():
            ahead = min(max(self.age(frame.stamp), 0.0), _FARTHEST_AHEAD)
            now = self._tracker.predict(frame.stamp + int(1e6 * ahead))
            self._predicted.publish(tracks_to_message(now, to_header(now.stamp, frame.frame_id)))
        if self._motion.get_subscription_count():
            self._motion.publish(to_track_states(tracks, header))
        if self._markers.get_subscription_count() and self._camera is not None:
            camera = self._camera.scaled_to(frame.width, frame.height)
            self._markers.publish(to_markers(tracks, camera, header, self.parameters.face_height))
        if self._looked_at():
            self._annotator.submit((frame, tracks))

    def _looked_at(self) -> bool:
        return self.parameters.annotate and bool(
            self._annotated.get_subscription_count() or self._compressed.get_subscription_count()
        )

    def _draw(self, work: tuple[Frame, Tracks]) -> None:
        frame, tracks = work
        annotated = annotate(frame.image, tracks, self._trails.add(tracks))
        header = to_header(frame.stamp, frame.frame_id)
        if self._annotated.get_subscription_count():
            self._annotated.publish(to_image(annotated, header))
        if self._compressed.get_subscription_count():
            self._compressed.publish(
                to_compressed(annotated, header, self.parameters.jpeg_quality)
            )

    def _fail(self, error: Exception) -> None:
        self.meter.count('failures')
        self.log_throttled(error)


def build() -> list[FaceNode]:
    """Return the node."""
    return [TrackerNode()]


def main() -> int:
    """Run the tracker node alone."""
    return run(build)
