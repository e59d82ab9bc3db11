# SPDX-License-Identifier: Apache-2.0
"""Detection in a collection of images of many sizes and shapes."""

from __future__ import annotations

import os
from typing import Any

from face_tracking.arrays import Array
from face_tracking.detection.letterbox import fitted_size
from face_tracking.detection.model import ModelDescription, describe, find_model, load_model
from face_tracking.detector import FaceDetector, create_detector
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.runtimes.base import DEFAULT


class MultiSizeDetector:
    """Detects faces in images whose long side is scaled to one length.

    The network is used at three input shapes (4:3, 3:4, square), each loaded when it is needed
    first. An image is given to the smallest that holds it, so that a compiler has little to do
    and no image is mostly padding.

    :param model: as in :func:`face_tracking.detection.model.load_model`.
    :param long_side: in pixels; None takes the longer side of the model's default input.
    :param runtime: as in :func:`face_tracking.detector.create_detector`, like ``options``.
    :ivar timings: see :class:`face_tracking.detector.FaceDetector`.
    :raises UserError: the model or the runtime is not available.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        long_side: int | None = None,
        runtime: str = DEFAULT,
        **options: Any,
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

    def detect(self, image: Array) -> Detections:
        """Return the faces in ``image``, uint8 (H, W, 3) BGR, best first, in its pixels.

        :raises UserError: ``image`` is something else.
        """
        if image.ndim < 2 or not image.size:
            raise UserError('the image has no pixels', 'give an image with at least one pixel')
        shape = shape_for((image.shape[1], image.shape[0]), self._shapes, self.long_side)
        detector = self._detector_at(shape)
        found = detector.detect(image)
        self.timings = detector.timings
        return found

    def close(self) -> None:
        """Release what the runtimes hold."""
        for detector in self._detectors.values():
            detector.close()
        self._detectors.clear()

    def _detector_at(self, shape: tuple[int, int]) -> FaceDetector:
        if shape not in self._detectors:
            self._detectors[shape] = create_detector(
                self._source, self._runtime, shape, long_side=self.long_side, **self._options
            )
        return self._detectors[shape]


def network_shapes(description: ModelDescription, long_side: int) -> list[tuple[int, int]]:
    """Return (width, height) of the inputs that together hold every image, smallest first."""
    if long_side < 1:
        raise UserError(f'a long side of {long_side} pixels is not a size', 'give 1 or more')
    step = description.size_multiple

    def rounded_up(side: int) -> int:
        return -(-side // step) * step

    wide = [
        file.size
        for file in description.files
        if file.width == long_side and 3 * file.width == 4 * file.height
    ]
    long, short = rounded_up(long_side), rounded_up(-(-3 * long_side // 4))
    return [*(wide or [(long, short)]), (short, long), (long, long)]


def shape_for(
    image: tuple[int, int], shapes: list[tuple[int, int]], long_side: int
) -> tuple[int, int]:
    """Return the first shape that holds an image scaled to ``long_side``.

    :param image: width and height in pixels.
    :param shapes: what :func:`network_shapes` returned for this ``long_side``.
    """
    width, height = fitted_size(image, (long_side, long_side))
    return next(shape for shape in shapes if shape[0] >= width and shape[1] >= height)
