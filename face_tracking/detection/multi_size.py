# SPDX-License-Identifier: Apache-2.0
"""Detection in a collection of images of many sizes and shapes."""

from __future__ import annotations

import math
import os

import numpy as np

from face_tracking.detection.model import (
    ModelDescription,
    describe,
    find_model,
    load_model,
)
from face_tracking.detector import FaceDetector, create_detector
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.runtimes.base import DEFAULT


class MultiSizeDetector:
    """Detects in images whose long side is scaled to one length.

    The network is re-shaped to what the image fills best of three shapes (4:3, 3:4, square),
    each loaded once, so that a compiler has little to do and no image is mostly padding.

    :param model: as in :func:`face_tracking.detection.model.load_model`.
    :param long_side: in pixels; None takes the longer side of the model's own input.
    :param runtime: as in :func:`face_tracking.detector.create_detector`, like
        ``options``.
    :raises UserError: if the model or the runtime cannot be had.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        long_side: int | None = None,
        runtime: str = DEFAULT,
        **options,
    ):
        description = describe(find_model(model))
        self.long_side = long_side or max(load_model(model).input_size)
        self.name = description.name
        self.timings: dict[str, float] = {}
        self._source = model
        self._runtime = runtime
        self._options = options
        self._shapes = network_shapes(description, self.long_side)
        self._detectors: dict[tuple[int, int], FaceDetector] = {}

    def detect(self, image: np.ndarray) -> Detections:
        """Return the faces in ``image``, uint8 (H, W, 3) BGR, best first, in its pixels.

        :raises UserError: if ``image`` is no such image.
        """
        if not image.size:
            raise UserError('the image has no pixels')
        detector = self._detector_for(*image.shape[1::-1])
        found = detector.detect(image)
        self.timings = detector.timings
        return found

    def close(self):
        """Give back what the runtimes hold."""
        for detector in self._detectors.values():
            detector.close()
        self._detectors.clear()

    def _detector_for(self, width: int, height: int) -> FaceDetector:
        scale = self.long_side / max(width, height)
        shape = next(
            shape
            for shape in self._shapes
            if shape[0] >= width * scale and shape[1] >= height * scale
        )
        if shape not in self._detectors:
            self._detectors[shape] = create_detector(
                self._source, self._runtime, shape, long_side=self.long_side, **self._options
            )
        return self._detectors[shape]


def network_shapes(description: ModelDescription, long_side: int) -> list[tuple[int, int]]:
    """Return (width, height) of the inputs that together hold every image, smallest first."""
    if long_side < 1:
        raise UserError(f'a long side of {long_side} pixels is no size', 'give 1 or more')
    step = description.size_multiple

    def whole(side: float) -> int:
        return math.ceil(side / step) * step

    wide = [
        (file.width, file.height)
        for file in description.files
        if file.width == long_side and 3 * file.width == 4 * file.height
    ]
    long, short = whole(long_side), whole(0.75 * long_side)
    return [*(wide or [(long, short)]), (short, long), (long, long)]
