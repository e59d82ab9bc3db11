# SPDX-License-Identifier: Apache-2.0
"""The detector node: finds the faces in every Nth image, or whenever the scene needs it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from vision_msgs.msg import Detection2DArray

from face_tracking.backoff import Retry
from face_tracking.detection.detector_options import DetectorOptions, EngineOptions
from face_tracking.detection.scheduler import Budget, DetectionScheduler
from face_tracking.detector import FaceDetector, create_detector
from face_tracking.errors import UserError
from face_tracking.faces import Detections, Tracks
from face_tracking.frame import Frame
from face_tracking.load_shedder import LoadLevel
from face_tracking.nodes.diagnostics import ERROR, OK, WARN, Report
from face_tracking.nodes.image_input import image_topic, read_serialized_image
from face_tracking.nodes.image_messages import to_header
from face_tracking.nodes.landmarks import to_landmarks
from face_tracking.nodes.log_limiter import as_user_error
from face_tracking.nodes.messages import detections_to_cdr, tracks_from_message
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.shared_options import ImageInputOptions
from face_tracking.nodes.spin import run
from face_tracking.nodes.throttle import stamp_of
from face_tracking.nodes.worker import Worker
from face_tracking.options import option, rows_of
from face_tracking.runtimes.base import DEFAULT_THREADS


@dataclass(frozen=True)
class DetectorParameters(DetectorOptions, ImageInputOptions):
    """The parameters of the detector node."""

    low_score_threshold: float = option(
        0.3,
        'Minimum score of a face that is passed to the tracker '
        '(faces/detections_low_confidence) to continue existing tracks, 0 to 1',
        0.0,
        1.0,
    )
    detect_interval: int = option(
        2,
        'Detect in every Nth image; 0 = as often as the scene needs and cpu_budget allows',
        0,
        1000,
    )
    cpu_budget: float = option(
        0.5, 'CPU seconds per second that detection may use when detect_interval is 0', 0.01, 64.0
    )
    standby: float = option(
        0.0,
        'Seconds without faces/detections of another detector after which this one detects; '
        '0 = it always detects',
        0.0,
        60.0,
        read_only=True,
    )


_OWN_STAMPS = 64  # images whose detections may still come back
_MAX_LOADING = 1800.0  # seconds; compiling for a slow processor takes minutes
_OF_THE_ENGINE = {row.name for row in rows_of(EngineOptions)} | {'vote_iou_threshold'}


class DetectorNode(FaceNode[DetectorParameters]):
    """Finds faces in a thread of its own; a newer image replaces the one that waits.

    :param subscribe: take the images from ``camera/image_raw``; otherwise from :meth:`submit`.
    :ivar on_detections: called in that thread with the ``Detections`` of each image looked at,
        the weak ones included.
    """

    def __init__(self, subscribe: bool = True, **options: Any):
        super().__init__('detector_node', DetectorParameters, **options)
        self.on_detections: list[Callable[[Detections], None]] = []
        self._found = self.publisher('faces/detections')
        self._candidates = self.publisher('faces/detections_low_confidence')
        self._landmarks = self.publisher('faces/detection_landmarks')
        self._detector: FaceDetector | None = None
        self._model_at_start = self.parameters.model
        self._loading = Retry()
        self._model_wanted = False
        self._received = 0
        self._scheduler = DetectionScheduler(Budget(self.parameters.cpu_budget))
        self._latest_tracks: Tracks | None = None
        self._other_detected = time.monotonic()
        self._own_stamps: deque[int] = deque(maxlen=_OWN_STAMPS)
        self._worker: Worker[Frame | None] = self.worker(self._work, name='detector')
        if self.parameters.standby:
            self.add_input('faces/detections', self._on_other, raw=True)
        self._image_topic, self._image_type = image_topic(self.parameters.image_transport)
        if subscribe:
            self.add_input(self._image_topic, self._on_message, raw=True)
            self.add_input(
                'faces/tracks',
                self._on_tracks,
                needed=lambda: self.parameters.detect_interval == 0,
            )
        self.start()

    def submit(self, frame: Frame) -> None:
        """Queue an image by reference and return immediately. Thread-safe."""
        detector = self._detector
        if detector is not None:
            detector.accelerate(frame)
        if (
            self.active
            and self._is_needed()
            and self._count_and_test()
            and self._claim_detection_slot(frame)
        ):
            self._detect_later(frame)

    def follow(self, frame: Frame, tracks: Tracks) -> None:
        """Set the latest tracks: tracked faces need fewer detections. Thread-safe."""
        self._latest_tracks = tracks

    def configure(self) -> None:
        """Ask the worker to load the model."""
        self._model_wanted = True
        self._loading.request()
        self._worker.submit(None)

    def deactivate(self) -> None:
        """Drop the image that waits."""
        self._worker.clear()

    def cleanup(self) -> None:
        """Ask the worker to release the model."""
        self._model_wanted = False
        self._worker.submit(None)

    def tick(self) -> None:
        """Ask the worker to load the model again if that has failed."""
        if self._model_wanted and self._loading.due:
            self._worker.submit(None)

    def apply(self, changed: set[str]) -> None:
        """Apply changed thresholds immediately; the worker loads a changed model."""
        if changed & _OF_THE_ENGINE and self.lifecycle_state != 'unconfigured':
            self.configure()
        self._scheduler.budget = Budget(self.parameters.cpu_budget)
        self._set_thresholds()

    def close(self) -> bool:
        """Stop the worker and give back what the engine holds."""
        from face_tracking.compiler.driver import stop_compilers

        stop_compilers()
        if not self._worker.close():
            return False
        self._release()
        return True

    def report(self, report: Report) -> None:
        """Fill in the diagnostics."""
        rate, values = self.meter.take()
        values['dropped'] = str(self._worker.dropped)
        values['runtime'] = self.parameters.runtime
        if self.parameters.detect_interval == 0:
            values['urgency'] = f'{self._scheduler.urgency:.2f}'
        if self._detector is not None:
            model = self._detector.model
            values.update(
                model=model.name,
                input=f'{model.width}x{model.height}',
                backend=self._detector.runtime.name,
            )
        report.values.update(values)
        if self._loading.problem is not None:
            report.say(ERROR, str(self._loading.problem))
        elif self._model_wanted and self._detector is None:
            report.say(WARN, 'loading the model')
        elif self.active and not self._is_needed():
            report.say(OK, 'standing by: another detector publishes faces/detections')
        elif self.active and rate == 0:
            report.say(WARN, 'no images received')

    def _detect_later(self, frame: Frame) -> None:
        detector = self._detector
        if detector is not None:
            detector.expect(frame)
        self._worker.submit(frame)

    def _is_needed(self) -> bool:
        """Return whether no other detector does the work of this one."""
        return time.monotonic() - self._other_detected >= self.parameters.standby

    def _on_other(self, serialized: bytes) -> None:
        if stamp_of(serialized) not in self._own_stamps:
            self._other_detected = time.monotonic()

    def _count_and_test(self) -> bool:
        """Count a received image; return whether detection is due by its number."""
        interval = self.parameters.detect_interval
        self._received += 1
        if self.load_level >= LoadLevel.HALF_DETECTIONS:
            return (self._received - 1) % (2 * max(interval, 1)) == 0
        return interval == 0 or (self._received - 1) % interval == 0

    def _claim_detection_slot(self, frame: Frame) -> bool:
        """Return whether the scene needs a detection, if detect_interval is 0."""
        return self.parameters.detect_interval > 0 or self._scheduler.should_detect(
            frame, frame.stamp, self._latest_tracks
        )

    def _on_tracks(self, message: Detection2DArray) -> None:
        self._latest_tracks, refused = tracks_from_message(message)
        self.refuse('entries of faces/tracks', refused)

    def _on_message(self, serialized: bytes) -> None:
        # Kept serialized until it is known to be wanted: four of five are not.
        if not self._is_needed() or not self._count_and_test():
            return
        try:
            frame = read_serialized_image(serialized, self._image_type, self.now())
        except UserError as error:
            self.refuse_message('images', error)
            return
        if self._claim_detection_slot(frame):
            self._detect_later(frame)

    def _work(self, frame: Frame | None) -> None:
        if not self._model_wanted:
            self._release()
        elif self._loading.due:
            self._load()
        if frame is None or self._detector is None:
            return
        started, spent = time.perf_counter(), time.thread_time()
        detections = self._detector.detect(frame, frame.stamp)
        found, spent = time.perf_counter(), time.thread_time() - spent
        self._scheduler.spent(spent * self._cores())
        if not self.active:
            return  # paused while it was detecting
        for hook in self.on_detections:
            hook(detections)
        self._publish(detections, frame)
        self.meter.add(
            {
                **self._detector.timings,
                'detect': 1e3 * (found - started),
                'publish': 1e3 * (time.perf_counter() - found),
                'latency': self.age(frame.stamp),
            }
        )

    def _cores(self) -> int:
        """Return over how many threads, as busy as the worker's own, the engine spreads."""
        return self.parameters.threads or DEFAULT_THREADS

    def _load(self) -> None:
        """Load the model; the previous one stays in use if that fails."""
        self._loading.begin()
        try:
            with self._worker.pulse.allow(_MAX_LOADING):
                detector = self._create_detector()
        except Exception as error:
            problem = as_user_error(
                error, 'the model cannot be loaded', 'choose another model or runtime'
            )
            if self._loading.failed(problem):
                self.get_logger().error(f'{problem} (tried again with growing pauses)')
            return
        self._release()
        self._detector = detector
        self._set_thresholds()
        after = ' on retry' if self._loading.succeeded() else ''
        self.get_logger().info(
            f'loaded {detector.model.name} at {detector.model.width}x{detector.model.height} '
            f'on {detector.runtime.name}{after}'
        )

    def _create_detector(self) -> FaceDetector:
        values = self.parameters
        return create_detector(
            values.model or None,
            values.runtime,
            values.size(),
            values.threads,
            values.device,
            values.precision,
            # A peer on the network may set the parameter to a folder that it can write to.
            trusted_folder=values.model == self._model_at_start,
            vote_iou_threshold=values.vote_iou_threshold,
        )

    def _release(self) -> None:
        detector, self._detector = self._detector, None
        if detector is not None:
            detector.close()

    def _set_thresholds(self) -> None:
        detector, values = self._detector, self.parameters
        if detector is not None:
            detector.score_threshold = min(values.low_score_threshold, values.score_threshold)
            detector.nms_threshold = values.nms_threshold
            detector.max_faces = values.max_faces

    def _publish(self, detections: Detections, frame: Frame) -> None:
        self._own_stamps.append(frame.stamp)
        if self._landmarks.get_subscription_count():
            header = to_header(frame.stamp, frame.frame_id)
            numbers = np.arange(1, len(detections) + 1)
            self._landmarks.publish(
                to_landmarks(
                    numbers, detections.boxes, detections.scores, detections.landmarks, header
                )
            )
        if self._candidates.get_subscription_count():
            self._candidates.publish(detections_to_cdr(detections, frame.stamp, frame.frame_id))
        if self._found.get_subscription_count():
            strong = detections.scores >= self.parameters.score_threshold
            self._found.publish(detections_to_cdr(detections[strong], frame.stamp, frame.frame_id))


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [DetectorNode()]


def main() -> int:
    """Run the detector node alone."""
    return run(build)
