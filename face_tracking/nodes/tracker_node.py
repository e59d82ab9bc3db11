# SPDX-License-Identifier: Apache-2.0
"""The tracker node: tracks faces in every image with stable ids."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CameraInfo, PointCloud2
from vision_msgs.msg import Detection2DArray

from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.faces import Detections, Tracks
from face_tracking.frame import Frame
from face_tracking.load_shedder import LoadLevel
from face_tracking.nodes.camera_info import from_camera_info, to_camera_info
from face_tracking.nodes.diagnostics import WARN, Report
from face_tracking.nodes.image_input import image_topic, read_serialized_image
from face_tracking.nodes.image_messages import to_compressed, to_header, to_image
from face_tracking.nodes.joint_states import JointStateListener
from face_tracking.nodes.landmarks import from_landmarks, to_landmarks
from face_tracking.nodes.markers import to_markers
from face_tracking.nodes.messages import (
    FACE,
    detections_from_message,
    tracks_to_cdr,
    tracks_to_message,
)
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.people_messages import Names, add_names, names_from_message
from face_tracking.nodes.shared_options import FaceSizeOptions, ImageInputOptions, JpegOptions
from face_tracking.nodes.spin import run
from face_tracking.nodes.subscriptions import Input
from face_tracking.nodes.track_states import to_track_states
from face_tracking.nodes.worker import Worker
from face_tracking.options import option, rows_of
from face_tracking.tracking.optical_flow import Warp
from face_tracking.tracking.track_landmarks import TrackLandmarks
from face_tracking.tracking.tracker import HISTORY_SECONDS, FaceTracker
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
    name_tracks: bool = option(
        False,
        'Add the name of a recognized person to each entry of faces/tracks as a second hypothesis',
    )
    annotate: bool = option(
        True, 'Offer faces/annotated, which is drawn only while it has subscribers'
    )
    accepted_class_ids: str = option(
        FACE,
        'Class ids of detections that are faces, separated by commas; empty = all classes',
    )
    trail_length: int = option(45, 'Length of the trails in faces/annotated, in images', 1, 1000)


_TRACKER_OPTIONS = {row.name for row in rows_of(TrackerOptions)}
_MAX_EXTRAPOLATION_MS = 1000.0  # stamps of a recording may be far in the past
_ALL_INPUTS = ('images', 'detections')
_QUEUE = 4  # images that may wait while a slow one is tracked


class TrackerNode(FaceNode[TrackerParameters]):
    """Tracks in a thread of its own, every image in order; late detections are fused.

    :param subscribe: whether to receive images and detections from topics; otherwise by
        :meth:`submit`, :meth:`add_detections` and :meth:`set_camera_model`. Or the names of what
        is received from topics: ``images`` (with the intrinsics), ``detections``.
    :ivar on_frame: called with each ``Frame`` that is submitted, before it is tracked.
    :ivar on_tracks: called in that thread with each ``Frame`` and its ``Tracks``.
    """

    def __init__(self, subscribe: bool | Collection[str] = True, **options: Any):
        super().__init__('tracker_node', TrackerParameters, **options)
        self.on_frame: list[Callable[[Frame], None]] = []
        self.on_tracks: list[Callable[[Frame, Tracks], None]] = []
        self._tracker = FaceTracker(self.store.get(TrackerOptions))
        self._late_before = 0
        self._create_publishers()
        self._accepted = _class_ids(self.parameters.accepted_class_ids)
        self._track_landmarks = TrackLandmarks()
        self._camera: CameraModel | None = None
        self._published_camera: tuple[CameraModel, int, int] | None = None
        self._joints = JointStateListener(self) if self.parameters.use_joint_states else None
        self._stamp: int | None = None
        self._camera_info_input: Input | None = None
        self._track_count = 0
        self._names: Names = {}
        self._trails = Trails(self.parameters.trail_length)
        self._worker: Worker[Frame] = self.worker(self._track, capacity=_QUEUE, name='tracker')
        self._annotator: Worker[tuple[Frame, Tracks]] = self.worker(self._draw, name='annotator')
        self._subscribe(_input_names(subscribe))
        self.start()

    def _create_publishers(self) -> None:
        self._tracks = self.publisher('faces/tracks')
        self._predicted = self.publisher('faces/tracks_predicted')
        self._track_states = self.publisher('faces/track_states')
        self._landmarks = self.publisher('faces/landmarks')
        self._camera_info = self.publisher('faces/camera_info')
        self._markers = self.publisher('faces/markers')
        self._annotated = self.publisher('faces/annotated')
        self._compressed = self.publisher('faces/annotated/compressed')

    def _subscribe(self, inputs: Collection[str]) -> None:
        if 'detections' in inputs:
            self.add_input('faces/detections', self._on_detections)
            self.add_input('faces/detections_low_confidence', self._on_candidates)
            self.add_input(
                'faces/detection_landmarks',
                self._on_landmarks,
                needed=lambda: self._landmarks.get_subscription_count() > 0,
            )
        if 'images' in inputs:
            topic, self._image_type = image_topic(self.parameters.image_transport)
            self.add_input(topic, self._on_image, raw=True)
            self._camera_info_input = self.add_input(
                'camera/camera_info', self._on_camera_info, needed=self._needs_camera_info
            )
            self.add_input('faces/people', self._on_people, needed=self._needs_names)

    def submit(self, frame: Frame) -> None:
        """Queue an image by reference and return immediately. Thread-safe."""
        if self.active:
            for hook in self.on_frame:
                hook(frame)
            self._worker.submit(frame)

    def add_detections(self, detections: Detections) -> None:
        """Queue the detections of an image, which may be late. Thread-safe."""
        if self.active:
            self._tracker.add_detections(detections)
            self._track_landmarks.add(detections)

    def set_camera_model(self, model: CameraModel) -> None:
        """Set the intrinsics of the camera, which place the faces in space."""
        self._camera = model

    def set_names(self, names: Names) -> None:
        """Set the names of the tracks, for faces/tracks, markers and annotated images.

        Thread-safe.
        """
        self._names = names

    def apply(self, changed: set[str]) -> None:
        """Apply changed parameters; ids are kept."""
        if changed & _TRACKER_OPTIONS:
            self._tracker.configure(self.store.get(TrackerOptions))
        self._accepted = _class_ids(self.parameters.accepted_class_ids)
        if 'trail_length' in changed:
            self._trails = Trails(self.parameters.trail_length)

    def deactivate(self) -> None:
        """Drop the images that wait."""
        self._worker.clear()

    def close(self) -> bool:
        """Stop the workers."""
        ended = [self._worker.close(), self._annotator.close()]
        return all(ended)

    def report(self, report: Report) -> None:
        """Fill in the diagnostics."""
        rate, values = self.meter.take()
        report.values.update(
            values,
            dropped=str(self._worker.dropped),
            faces=str(self._track_count),
            visual_tracker=self.parameters.visual_tracker,
            late_detections=str(self._tracker.too_late),
        )
        if not self.active:
            return
        if self._tracker.too_late > self._late_before:
            self._late_before = self._tracker.too_late
            error = UserError(
                f'detections arrive more than {HISTORY_SECONDS:g} s after their images, or have '
                'stamps in the future, and are not used',
                'use a faster detector or a smaller input size, and synchronize the clocks of '
                'the machines',
            )
            self.log_throttled(error)
            report.say(WARN, str(error))
        if rate == 0:
            report.say(WARN, 'no images received')
        elif self._lacks_camera_info():
            report.say(
                WARN,
                'no camera/camera_info received, which faces/markers and use_joint_states need',
            )

    def _lacks_camera_info(self) -> bool:
        subscription = self._camera_info_input
        return subscription is not None and subscription.subscribed and self._camera is None

    def _needs_camera_info(self) -> bool:
        return (
            self._joints is not None
            or self._markers.get_subscription_count() > 0
            or self._camera_info.get_subscription_count() > 0
        )

    def _needs_names(self) -> bool:
        shown = self._annotation_needed() or self._markers.get_subscription_count() > 0
        return (shown or self.parameters.name_tracks) and self.publishers_of('faces/people') > 0

    def _on_people(self, message: Detection2DArray) -> None:
        self.set_names(names_from_message(message))

    def _on_image(self, serialized: bytes) -> None:
        try:
            self.submit(read_serialized_image(serialized, self._image_type, self.now()))
        except UserError as error:
            self.refuse_message('images', error)

    def _on_detections(self, message: Detection2DArray) -> None:
        # A detector that publishes candidates has the detections among them.
        if not self.publishers_of('faces/detections_low_confidence'):
            self._on_candidates(message)

    def _on_candidates(self, message: Detection2DArray) -> None:
        detections, refused = detections_from_message(message, self._accepted)
        self.refuse('detections', refused)
        if detections.stamp == 0:  # those of the newest image, as far as can be known
            detections.stamp = self._stamp or self.now()
        self.add_detections(detections)

    def _on_landmarks(self, message: PointCloud2) -> None:
        try:
            self._track_landmarks.add(from_landmarks(message)[1])
        except UserError as error:
            self.refuse_message('landmarks', error)

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            self._camera = from_camera_info(message)
        except UserError as error:
            self.refuse_message('camera_info', error)

    def _track(self, frame: Frame) -> None:
        tracks = self._tracker.step(frame, frame.stamp, self._camera_motion(frame))
        tracks.landmarks = self._track_landmarks.update(tracks)
        tracked = time.perf_counter()
        for hook in self.on_tracks:
            hook(frame, tracks)
        self._publish(frame, tracks)
        self._track_count = len(tracks)
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
        """Publish what has subscribers."""
        self._publish_tracks(frame, tracks)
        self._publish_predicted(frame)
        self._publish_camera_info(frame)
        if self._track_states.get_subscription_count():
            header = to_header(frame.stamp, frame.frame_id)
            self._track_states.publish(to_track_states(tracks, header))
        if tracks.landmarks is not None and self._landmarks.get_subscription_count():
            header = to_header(frame.stamp, frame.frame_id)
            self._landmarks.publish(
                to_landmarks(tracks.ids, tracks.boxes, tracks.scores, tracks.landmarks, header)
            )
        if self._markers.get_subscription_count():
            self._publish_markers(frame, tracks)
        if self._annotation_needed():
            self._annotator.submit((frame, tracks))

    def _publish_tracks(self, frame: Frame, tracks: Tracks) -> None:
        if not self._tracks.get_subscription_count():
            return
        if self.parameters.name_tracks:
            message = tracks_to_message(tracks, to_header(frame.stamp, frame.frame_id))
            add_names(message, self._names)
            self._tracks.publish(message)
        else:
            self._tracks.publish(tracks_to_cdr(tracks, frame.stamp, frame.frame_id))

    def _publish_predicted(self, frame: Frame) -> None:
        if self._predicted.get_subscription_count():
            ahead = min(max(self.age(frame.stamp), 0.0), _MAX_EXTRAPOLATION_MS)
            now = self._tracker.predict(frame.stamp + int(1e6 * ahead))
            self._predicted.publish(tracks_to_cdr(now, now.stamp, frame.frame_id))

    def _publish_camera_info(self, frame: Frame) -> None:
        """Publish the intrinsics of the images once for each change."""
        camera = self._camera
        if camera is None or (camera, frame.width, frame.height) == self._published_camera:
            return
        self._published_camera = camera, frame.width, frame.height
        scaled = camera.scaled_to(frame.width, frame.height)
        header = to_header(frame.stamp, frame.frame_id)
        self._camera_info.publish(to_camera_info(scaled, header))

    def _publish_markers(self, frame: Frame, tracks: Tracks) -> None:
        camera = self._camera
        if camera is None:
            return
        camera = camera.scaled_to(frame.width, frame.height)
        header, size = to_header(frame.stamp, frame.frame_id), self.parameters.face_height
        self._markers.publish(to_markers(tracks, camera, header, size, self._labels()))

    def _labels(self) -> dict[int, str]:
        return {
            int(track): name
            for track, (name, _) in self._names.items()
            if name and track.isdecimal()
        }

    def _annotation_needed(self) -> bool:
        if self.load_level >= LoadLevel.NO_ANNOTATION:
            return False
        return self.parameters.annotate and bool(
            self._annotated.get_subscription_count() or self._compressed.get_subscription_count()
        )

    def _draw(self, work: tuple[Frame, Tracks]) -> None:
        frame, tracks = work
        annotated = annotate(frame.image, tracks, self._trails.add(tracks), labels=self._labels())
        header = to_header(frame.stamp, frame.frame_id)
        if self._annotated.get_subscription_count():
            self._annotated.publish(to_image(annotated, header))
        if self._compressed.get_subscription_count():
            self._compressed.publish(
                to_compressed(annotated, header, self.parameters.jpeg_quality)
            )


def _input_names(subscribe: bool | Collection[str]) -> Collection[str]:
    if isinstance(subscribe, bool):
        return _ALL_INPUTS if subscribe else ()
    return subscribe


def _class_ids(text: str) -> frozenset[str]:
    return frozenset(filter(None, map(str.strip, text.split(','))))


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [TrackerNode()]


def main() -> int:
    """Run the tracker node alone."""
    return run(build)
