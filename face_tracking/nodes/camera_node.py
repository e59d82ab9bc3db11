# SPDX-License-Identifier: Apache-2.0
"""The camera node: images from any source, published and passed by reference."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from face_tracking.backoff import Retry
from face_tracking.camera import CaptureOptions, ReconnectingCamera, open_camera
from face_tracking.camera.base import CaptureSettings
from face_tracking.camera.controls import CameraControls
from face_tracking.camera.factory import without_password
from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.frame import Frame
from face_tracking.load_shedder import LoadLevel
from face_tracking.nodes.calibration_service import CalibrationService, calibration_file
from face_tracking.nodes.camera_info import to_camera_info
from face_tracking.nodes.cdr import compressed_image_to_cdr, image_to_cdr
from face_tracking.nodes.diagnostics import ERROR, OK, WARN, Report
from face_tracking.nodes.image_messages import JPEG_FORMAT, to_header, to_jpeg
from face_tracking.nodes.joint_states import JointStateListener
from face_tracking.nodes.log_limiter import describe
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.shared_options import JpegOptions
from face_tracking.nodes.small_images import RateLimit, SmallImageOptions, to_small
from face_tracking.nodes.spin import run
from face_tracking.nodes.watchdog import Pulse
from face_tracking.options import as_dict, option, pick, rows_of, with_default


@dataclass(frozen=True)
class CameraParameters(CaptureSettings, JpegOptions, SmallImageOptions):
    """The parameters of the camera node."""

    camera: str = option(
        'v4l2:///dev/video0',
        'Source of the images: v4l2:///dev/video0, gstreamer:PIPELINE, picamera2, '
        'file:///path/video.mp4, folder:///path, rtsp://HOST/STREAM, http://HOST/VIDEO, '
        'virtual or virtual:SCENE',
        source=True,
    )
    width: int = with_default(CaptureSettings, 'width', 640)
    height: int = with_default(CaptureSettings, 'height', 480)
    frame_rate: float = with_default(CaptureSettings, 'frame_rate', 30.0)
    loop: bool = with_default(CaptureSettings, 'loop', True)
    use_joint_states: bool = option(
        False,
        'The camera of a scene is mounted on pan_joint and tilt_joint of joint_states',
        read_only=True,
    )
    frame_prefix: str = option(
        '', 'Prefix of frame_id, for several robots in one TF tree, for example robot1/'
    )
    camera_info_url: str = option(
        '',
        'Calibration file: a path, a file:// or a package:// URL of a camera_info_manager '
        'YAML; empty = horizontal_fov is used',
        source=True,
    )


_CONTROLS = {row.name for row in rows_of(CameraControls)}
_OF_THE_SOURCE = {row.name for row in rows_of(CaptureSettings)} - _CONTROLS | {
    'camera',
    'frame_prefix',
}
_OF_THE_MODEL = {'camera_info_url', 'horizontal_fov'}


class CameraNode(FaceNode[CameraParameters]):
    """Reads a camera in a thread of its own and publishes every frame.

    The camera is open only while the node is active.

    :ivar on_frame: called in that thread with each ``Frame``, before it is published.
    :ivar on_camera_model: called in that thread with the ``CameraModel`` when it changes.
    :ivar mount: returns the pan and tilt of the camera of a scene at a stamp; set before the node
        is spun. None for the path of the scene itself.
    :ivar on_end: called in that thread when a video or folder has ended.
    """

    def __init__(self, **options: Any):
        super().__init__('camera_node', CameraParameters, **options)
        self.mount: Callable[[int], tuple[float, float]] | None = None
        if self.parameters.use_joint_states:
            self.mount = JointStateListener(self).angles_at
        self.on_frame: list[Callable[[Frame], None]] = []
        self.on_camera_model: list[Callable[[CameraModel], None]] = []
        self.on_end: list[Callable[[], None]] = []
        self._images = self.publisher('camera/image_raw')
        self._compressed = self.publisher('camera/image_raw/compressed')
        self._small = self.publisher('camera/image_small/compressed')
        self._small_limit = RateLimit()
        self._infos = self.publisher('camera/camera_info')
        self._model: CameraModel | None = None
        self._committed: CameraModel | None = None
        CalibrationService(self, self._calibration_file, self._use_calibration)
        self._calibration = Retry()
        self._failure = ''
        self._sequence = -1
        self._stopping = False
        self._wake = threading.Event()
        self._camera = self._new_camera()
        self._pulse = Pulse('camera')
        self.watch(self._pulse)
        self._thread = threading.Thread(target=self._run, name='camera', daemon=True)
        self.start()

    def configure(self) -> None:
        """Start the thread, which waits until the node is active."""
        if not self._thread.is_alive():
            self._thread.start()

    def activate(self) -> None:
        """Ask the thread to open the camera."""
        self._replace_camera()

    def deactivate(self) -> None:
        """Ask the thread to close the camera."""
        self._replace_camera()

    def apply(self, changed: set[str]) -> None:
        """Open the camera again if its parameters have changed."""
        if changed & (_OF_THE_MODEL | _OF_THE_SOURCE):
            self._committed = None
            self._calibration.request()
        if changed & _OF_THE_SOURCE:
            self._replace_camera()
        elif changed & _CONTROLS:
            self._set_controls()

    def close(self) -> bool:
        """Stop reading and close the camera."""
        self._stopping = True
        self._interrupt(self._camera)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(0.8)
        return not self._thread.is_alive()

    def report(self, report: Report) -> None:
        """Report whether images are received, how many, and from where."""
        rate, values = self.meter.take()
        camera = self._camera
        report.values.update(
            values,
            camera=without_password(self.parameters.camera),
            **{'times lost': str(camera.losses)},
        )
        if camera.source is not None:
            source = camera.source
            report.values['size'] = f'{source.width}x{source.height}'
        if not self.active:
            return
        if camera.ended:
            report.say(OK, 'the stream has ended')
        elif camera.problem is not None:
            report.say(ERROR, str(camera.problem))
        elif self._failure:
            report.say(ERROR, self._failure)
        elif rate == 0:
            report.say(WARN, 'no images received from the camera')
        if self._calibration.problem is not None:
            report.say(WARN, str(self._calibration.problem))
        if bool(self.parameters.width) != bool(self.parameters.height):
            report.say(
                WARN,
                f'the image size is {self.parameters.width}x{self.parameters.height}: set both '
                'width and height; the size of the source is used',
            )

    def _new_camera(self) -> ReconnectingCamera:
        uri = self.parameters.camera
        return ReconnectingCamera(lambda: open_camera(uri, self._capture_options()))

    def _capture_options(self) -> CaptureOptions:
        values = as_dict(self.parameters)
        values['frame_id'] = f'{self.parameters.frame_prefix}{self.parameters.frame_id}'
        return pick(CaptureOptions, values, clock=self.now, mount=self.mount)

    def _set_controls(self) -> None:
        """Adjust an open camera; one that is opened later is adjusted then."""
        source = self._camera.source
        try:
            if source is not None:
                source.set_controls(self._capture_options())
        except UserError as error:
            self.get_logger().error(str(error))

    def _replace_camera(self) -> None:
        old, self._camera = self._camera, self._new_camera()
        self._interrupt(old)

    def _interrupt(self, camera: ReconnectingCamera) -> None:
        """End a wait in the camera's thread, which then closes the camera itself."""
        source = camera.source
        if source is not None:
            source.close()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            camera = self._camera
            if self.active:
                self._read_while_wanted(camera)
                camera.close()
            if camera is self._camera and not self._stopping:
                self._wake.wait()
            self._wake.clear()

    def _read_while_wanted(self, camera: ReconnectingCamera) -> None:
        problem, ended = None, False
        while camera is self._camera and not self._stopping:
            try:
                started = time.perf_counter()
                frame = self._read(camera)
                if frame is not None:
                    self._publish_frame(frame, 1e3 * (time.perf_counter() - started))
                    problem = self._log_recovery(problem)
                    continue
            except Exception as error:  # a driver's own: the node outlives it
                self._failure = describe(error)
                self.fail(error)
            if camera is not self._camera or self._stopping:
                return
            if camera.ended and not ended:
                self._end()
            ended = camera.ended
            problem = self._log_once(camera.problem, problem)
            self._wake.wait(max(camera.retry_in, 0.05) if not ended else None)
            self._wake.clear()

    def _read(self, camera: ReconnectingCamera) -> Frame | None:
        rate = self.parameters.frame_rate
        longest = self.parameters.read_timeout + (2 / rate if rate else 0.0)
        self._pulse.begin(longest)
        try:
            return camera.read()
        finally:
            self._pulse.end()

    def _log_once(self, problem: UserError | None, logged: UserError | None) -> UserError | None:
        """Log what is wrong with the camera, once for each different line."""
        if problem is not None and str(problem) != str(logged):
            self.get_logger().error(str(problem))
        return problem or logged

    def _log_recovery(self, logged: UserError | None) -> None:
        if logged is not None:
            self.get_logger().info(
                f'{without_password(self.parameters.camera)} delivers images again'
            )
        self._failure = ''

    def _end(self) -> None:
        self.get_logger().info(f'{without_password(self.parameters.camera)} has ended')
        for hook in self.on_end:
            hook()

    def _publish_frame(self, frame: Frame, waited: float) -> None:
        if frame.sequence > self._sequence + 1 and self._sequence >= 0:
            self.meter.count('dropped', frame.sequence - self._sequence - 1)
        self._sequence = frame.sequence
        if self.load_level >= LoadLevel.HALF_IMAGES and frame.sequence % 2:
            return
        self._refresh_camera_model(frame)
        published = time.perf_counter()
        for hook in self.on_frame:
            hook(frame)
        self._publish(frame)
        self.meter.add({'read': waited, 'publish': 1e3 * (time.perf_counter() - published)})

    def _refresh_camera_model(self, frame: Frame) -> None:
        model = self._model
        size = frame.width, frame.height
        if model is not None and (model.width, model.height) == size and not self._calibration.due:
            return
        model = self._model = self._read_model(*size)
        for hook in self.on_camera_model:
            hook(model)

    def _calibration_file(self) -> Path:
        return calibration_file(self.parameters.camera_info_url, self.parameters.camera)

    def _use_calibration(self, model: CameraModel) -> None:
        self._committed = model
        self._calibration.request()

    def _read_model(self, width: int, height: int) -> CameraModel:
        """Read the calibration; the field of view serves until that succeeds."""
        self._calibration.begin()  # before the parameters are read, which may change meanwhile
        url, fov = self.parameters.camera_info_url, self.parameters.horizontal_fov
        try:
            kept = self._calibration_file()
            if self._committed is not None:
                model = self._committed
            elif url or kept.is_file():
                model = CameraModel.from_yaml(url or kept)
            else:
                model = CameraModel.from_fov(width, height, fov)
        except UserError as error:
            if self._calibration.failed(error):
                self.get_logger().error(f'{error}; until then horizontal_fov is used')
            return CameraModel.from_fov(width, height, fov)
        if self._calibration.succeeded():
            self.get_logger().info('the calibration was read on retry')
        return model.scaled_to(width, height)

    def _publish(self, frame: Frame) -> None:
        origin = frame.stamp, frame.frame_id
        if self._images.get_subscription_count():
            self._images.publish(image_to_cdr(frame.image, 'bgr8', *origin))
        if self._model is not None and self._infos.get_subscription_count():
            self._infos.publish(to_camera_info(self._model, to_header(*origin)))
        if self._compressed.get_subscription_count():
            jpeg = to_jpeg(frame, self.parameters.jpeg_quality)
            self._compressed.publish(compressed_image_to_cdr(jpeg, JPEG_FORMAT, *origin))
        if self._small.get_subscription_count() and self._small_limit.due(
            self.parameters.small_rate
        ):
            self._small.publish(to_small(frame, self.parameters))


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [CameraNode()]


def main() -> int:
    """Run the camera node alone."""
    return run(build)
