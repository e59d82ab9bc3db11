# SPDX-License-Identifier: Apache-2.0
"""The detector: letterbox, network, decoder, suppression, and back to the source's pixels."""

from __future__ import annotations

import os
from time import perf_counter

import numpy as np

from face_tracking.detection.decoders import create_decoder
from face_tracking.detection.letterbox import Letterbox
from face_tracking.detection.model import Model, load_model
from face_tracking.detection.postprocess import NumpyPostProcessor
from face_tracking.detection.suppression import VOTE_IOU_THRESHOLD
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.frame import Frame
from face_tracking.runtimes.base import DEFAULT, Runtime, create_runtime


class FaceDetector:
    """Finds faces in images of any size.

    Thresholds may be set at any time between images.

    :param model: what the runtime has loaded.
    :param runtime: the engine; :meth:`close` closes it.
    :param score_threshold: least score of a face, 0 to 1.
    :param nms_threshold: two boxes that overlap by more (intersection over union) are one face.
    :param max_faces: return at most so many, the best; 0 returns all.
    :param long_side: scale images no further than to this long side in pixels; None fills the
        network's input.
    :param vote_iou_threshold: of the boxes that a better one displaces, those that overlap it by more than
        this are averaged with it; 1 takes the best box alone. A runtime's own selection knows
        only the default.
    :ivar timings: milliseconds that the last image took, by stage: ``preprocess``,
        ``inference``, ``decode``.
    """

    def __init__(
        self,
        model: Model,
        runtime: Runtime,
        score_threshold: float = 0.7,
        nms_threshold: float = 0.45,
        max_faces: int = 5,
        long_side: int | None = None,
        vote_iou_threshold: float = VOTE_IOU_THRESHOLD,
    ):
        self.model = model
        self.runtime = runtime
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_faces = max_faces
        self.timings: dict[str, float] = {}
        self._letterbox = Letterbox(model.width, model.height, long_side, runtime.downscaler())
        compiled = runtime.postprocessor() if vote_iou_threshold == VOTE_IOU_THRESHOLD else None
        self._postprocessor = compiled or NumpyPostProcessor(
            create_decoder(model), vote_iou_threshold
        )

    def expect(self, frame: Frame) -> None:
        """Announce a frame that is going to be searched; callable from any thread.

        What the frame makes for other users meanwhile is then derived from the same image.
        """
        frame.expect_bgr(*self._letterbox.inner_size(frame.width, frame.height))

    def detect(self, image: np.ndarray | Frame, stamp: int = 0) -> Detections:
        """Return the faces in ``image``, best first, their boxes cut to the image.

        :param image: a frame, or uint8 (H, W, 3) BGR.
        :param stamp: the stamp of the image in nanoseconds; passed on.
        :raises UserError: if ``image`` is anything else or is damaged.
        """
        started = perf_counter()
        fitted, fit = self._letterbox(image)
        prepared = perf_counter()
        outputs = self.runtime.infer(fitted)
        inferred = perf_counter()
        rows = self._postprocessor.select(
            outputs,
            self.score_threshold,
            self.nms_threshold,
            self.max_faces,
            fit,
            image.shape[1::-1],
        )
        found = Detections(stamp, rows[:, 1:5], rows[:, 0], rows[:, 5:].reshape(-1, 5, 2))
        decoded = perf_counter()
        self.timings = {
            'preprocess': 1e3 * (prepared - started),
            'inference': 1e3 * (inferred - prepared),
            'decode': 1e3 * (decoded - inferred),
        }
        return found

    def close(self):
        """Give back what the runtime holds."""
        self.runtime.close()


def create_detector(
    model: str | os.PathLike | None = None,
    runtime: str = DEFAULT,
    input_size: tuple[int, int] | None = None,
    threads: int = 0,
    device: str = 'auto',
    precision: str = 'auto',
    **options,
) -> FaceDetector:
    """Load a model into a runtime and return the detector around them.

    :param model: see :func:`face_tracking.detection.model.load_model`, like ``input_size``.
    :param runtime: see :func:`face_tracking.runtimes.base.create_runtime`, like
        ``threads``, ``device`` and ``precision``.
    :param options: ``score_threshold`` and the others of :class:`FaceDetector`.
    :raises UserError: if the model or the runtime cannot be had.
    """
    loaded = load_model(model, input_size)
    engine = create_runtime(runtime, loaded, threads, device, precision)
    try:
        return FaceDetector(loaded, engine, **options)
    except UserError:
        engine.close()
        raise
