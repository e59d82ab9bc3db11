# SPDX-License-Identifier: Apache-2.0
"""A camera in a scene of photographs: images with ground truth."""

from __future__ import annotations

from face_tracking.arrays import Array
from face_tracking.camera.base import CameraSource, CaptureOptions
from face_tracking.camera.pacing import Pacer
from face_tracking.camera_model import CameraModel
from face_tracking.frame import Frame
from face_tracking.simulation.rendering import GroundTruth, Renderer
from face_tracking.simulation.scene import Pose, Scene
from face_tracking.simulation.scene_file import DEFAULT_SCENE, load_scene

DEFAULT_SIZE = (640, 480)
DEFAULT_RATE = 30.0


def open_virtual(name: str, options: CaptureOptions) -> VirtualCamera:
    """Open a scene by name or YAML file; without a name, the default scene."""
    return VirtualCamera(load_scene(name or DEFAULT_SCENE), options)


class VirtualCamera(CameraSource):
    """Videos a scene on the path that the scene gives its camera, or from joints that move it.

    Frame ``k`` is the same on every run: it shows the scene at ``k / rate`` seconds and bears the
    stamp of the first frame plus as much, however fast the frames are fetched.

    :ivar scene: what it videos.
    :ivar model: its intrinsics.
    """

    def __init__(self, scene: Scene, options: CaptureOptions | None = None):
        options = options or CaptureOptions()
        super().__init__(f'virtual:{scene.name}', options)
        self.scene = scene
        self.width, self.height = options.size or DEFAULT_SIZE
        self.rate = options.frame_rate or DEFAULT_RATE
        self.model = CameraModel.from_fov(self.width, self.height, options.horizontal_fov)
        self.renderer = Renderer(scene, self.model)
        self._pacer: Pacer | None = None
        self._closed = False

    @property
    def frames(self) -> int:
        """How many frames the scene has, seen once."""
        return round(self.scene.duration * self.rate)

    def read(self) -> Frame | None:
        """Return the next frame (in real time: the one due now); None at the scene's end."""
        if self._closed:
            return None
        if self._pacer is None:
            self._pacer = Pacer(
                self.rate, self.options.realtime, self.options.clock, self.options.latency
            )
        index = self._pacer.advance()
        if index is None or (index >= self.frames and not self.options.loop):
            return None
        return self._frame(self.image(index), self._pacer.stamp(index), index)

    def close(self) -> None:
        """End the video."""
        self._closed = True
        if self._pacer is not None:
            self._pacer.stop()

    def image(self, index: int) -> Array:
        """Return the image number ``index``, uint8 (height, width, 3) BGR, not yet flipped."""
        pose, before = self.pose(index), self.pose(index - 1)
        turning = (
            (pose.azimuth - before.azimuth) * self.rate,
            (pose.elevation - before.elevation) * self.rate,
        )
        return self.renderer.render(pose, self.scene_time(index), index, turning)

    def pose(self, index: int) -> Pose:
        """Return where the camera is in frame ``index``."""
        if self.options.mount is None:
            return Pose.along(self.scene.camera, self.scene_time(index))
        pan, tilt = self.options.mount(self._stamp(index))
        return Pose(pan, -tilt)

    def scene_time(self, index: int) -> float:
        """Return the seconds of the scene's time that frame ``index`` shows."""
        return index % self.frames / self.rate

    def truth(self, stamp: int) -> GroundTruth:
        """Return the faces that are in the frame with this stamp, as the image shows them.

        :raises ValueError: when no frame has been read yet.
        """
        if self._pacer is None:
            raise ValueError('a frame must be read before its ground truth is requested')
        index = round((stamp - self._pacer.start) * self.rate / 1e9)
        truth = self.renderer.truth(self.pose(index), self.scene_time(index), stamp)
        return _flipped(truth, self.width, self.height, self.options)

    def _stamp(self, index: int) -> int:
        return self._pacer.stamp(index) if self._pacer else self.options.clock()


def _flipped(truth: GroundTruth, width: int, height: int, options: CaptureOptions) -> GroundTruth:
    boxes = truth.boxes
    if options.flip_horizontal:
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if options.flip_vertical:
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
    return truth
