# SPDX-License-Identifier: Apache-2.0
"""The detector: letterbox, network, decoder, suppression, mapping back to the image."""

from __future__ import annotations

import os
from time import perf_counter
from typing import Any

from face_tracking.arrays import ImageArray
from face_tracking.detection.decoder_factory import create_decoder
from face_tracking.detection.detector_options import PostProcessOptions
from face_tracking.detection.letterbox import Letterbox
from face_tracking.detection.model import Model, load_model
from face_tracking.detection.postprocess import NumpyPostProcessor
from face_tracking.detection.suppression import VOTE_IOU_THRESHOLD
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.frame import Frame
from face_tracking.runtimes.base import DEFAULT, Runtime, create_runtime

DEFAULTS = PostProcessOptions()


class FaceDetector:
    """Finds faces in images of any size.

    The thresholds may be changed at any time between images.

    :param model: the model that the runtime has loaded.
    :param runtime: the engine; :meth:`close` closes it.
    :param score_threshold: minimum score of a face, 0 to 1.
    :param nms_threshold: two boxes with a larger intersection over union (IoU) are the same face.
    :param max_faces: maximum number of faces per image, the best ones; 0 = unlimited.
    :param long_side: largest length in pixels of the image's longer side after scaling; None
        fills the network's input.
    :param vote_iou_threshold: IoU with the best box above which a suppressed box is averaged into
        it; 1 = no averaging. Compiled postprocessors support the default alone; other values
        select the one in NumPy.
    :ivar timings: milliseconds that the last image took, by stage: ``preprocess``,
        ``inference``, ``decode``.
    """

    def __init__(
        self,
        model: Model,
        runtime: Runtime,
        score_threshold: float = DEFAULTS.score_threshold,
        nms_threshold: float = DEFAULTS.nms_threshold,
        max_faces: int = DEFAULTS.max_faces,
        long_side: int | None = None,
        vote_iou_threshold: float = DEFAULTS.vote_iou_threshold,
    ):
        self.model = model
        self.runtime = runtime
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_faces = max_faces
        self.timings: dict[str, float] = {}
        self._letterbox = Letterbox(model.width, model.height, long_side, runtime.downscaler())
        self._converter = runtime.yuv_converter()
        compiled = runtime.postprocessor() if vote_iou_threshold == VOTE_IOU_THRESHOLD else None
        self._postprocessor = compiled or NumpyPostProcessor(
            create_decoder(model), vote_iou_threshold
        )

    def accelerate(self, frame: Frame) -> None:
        """Give a frame the engine's functions for its small images, if it has any; thread-safe.

        That is worth it for all frames of a camera, also those that are not searched.
        """
        if self._converter is not None:
            frame.source.converter = self._converter

    def expect(self, frame: Frame) -> None:
        """Announce a frame that will be passed to :meth:`detect`; thread-safe.

        What other users of the frame request meanwhile is then derived from the same image.
        """
        self.accelerate(frame)
        frame.expect_bgr(*self._letterbox.inner_size(frame.width, frame.height))

    def detect(self, image: ImageArray | Frame, stamp: int = 0) -> Detections:
        """Return the faces in ``image``, best first, with their boxes cut to the image.

        :param image: a frame, or uint8 (H, W, 3) BGR.
        :param stamp: of the image in nanoseconds; copied to the result.
        :raises UserError: ``image`` is something else or damaged.
        """
        started = perf_counter()
        if isinstance(image, Frame):
            self.accelerate(image)
        fitted, fit = self._letterbox(image)
        prepared = perf_counter()
        outputs = self.runtime.infer(fitted)
        inferred = perf_counter()
        rows = self._postprocessor.process(
            outputs,
            self.score_threshold,
            self.nms_threshold,
            self.max_faces,
            fit,
            (image.shape[1], image.shape[0]),
        )
        found = Detections(stamp, rows[:, 1:5], rows[:, 0], rows[:, 5:].reshape(-1, 5, 2))
        decoded = perf_counter()
        self.timings = {
            'preprocess': 1e3 * (prepared - started),
            'inference': 1e3 * (inferred - prepared),
            'decode': 1e3 * (decoded - inferred),
        }
        return found

    def close(self) -> None:
        """Release what the runtime holds."""
        self.runtime.close()


def create_detector(
    model: str | os.PathLike[str] | None = None,
    runtime: str = DEFAULT,
    input_size: tuple[int, int] | None = None,
    threads: int = 0,
    device: str = 'auto',
    precision: str = 'auto',
    trusted_folder: bool = True,
    **options: Any,
) -> FaceDetector:
    """Load a model into a runtime and return the detector.

    :param model: see :func:`face_tracking.detection.model.load_model`, like ``input_size`` and
        ``trusted_folder``.
    :param runtime: see :func:`face_tracking.runtimes.base.create_runtime`, like
        ``threads``, ``device`` and ``precision``.
    :param options: ``score_threshold`` and the others of :class:`FaceDetector`.
    :raises UserError: the model or the runtime is not available.
    """
    loaded = load_model(model, input_size, trusted_folder)
    engine = create_runtime(runtime, loaded, threads, device, precision)
    try:
        return FaceDetector(loaded, engine, **options)
    except UserError:
        engine.close()
        raise
