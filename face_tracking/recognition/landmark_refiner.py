# SPDX-License-Identifier: Apache-2.0
"""Landmarks of a tracked face, found again at a higher resolution.

The detector sees the whole image scaled down to a few hundred pixels, where a face is small and
its landmarks are rough. Run once more on a square around the face alone, it finds them well
enough for alignment, for a fraction of a millisecond.
"""

from __future__ import annotations

import cv2
import numpy as np

from face_tracking.arrays import FloatArray, ImageArray
from face_tracking.boxes import iou
from face_tracking.detector import FaceDetector, create_detector

INPUT_SIZE = (160, 120)
_MARGIN = 2.0  # the square's side in sides of the face
_MIN_OVERLAP = 0.3


class LandmarkRefiner:
    """Finds the landmarks of a face whose box is roughly known.

    :param detector: any detector of this package that finds landmarks; closed by :meth:`close`.
    """

    def __init__(self, detector: FaceDetector):
        self._detector = detector

    def find(self, image: ImageArray, box: FloatArray) -> tuple[FloatArray, float] | None:
        """Return the landmarks of a face and the score of its detection, None if there is none.

        :param image: uint8 (H, W, 3), BGR.
        :param box: (4,) ``[x1, y1, x2, y2]`` in pixels.
        :returns: float32 (5, 2) in pixels of ``image``, and 0 to 1.
        """
        width, height = self._detector.model.input_size
        side = _MARGIN * float(max(box[2] - box[0], box[3] - box[1]))
        if not np.isfinite(side) or side < 4:
            return None
        scale = min(width, height) / side
        corner = (box[:2] + box[2:]) / 2 - np.array([width, height]) / (2 * scale)
        patch = _patch(image, corner, scale, (width, height))
        found = self._detector.detect(patch)
        if not len(found):
            return None
        wanted = (box.reshape(2, 2) - corner).reshape(1, 4) * scale
        overlap = iou(wanted.astype(np.float64), found.boxes.astype(np.float64))[0]
        best = int(np.argmax(overlap * found.scores))
        if overlap[best] < _MIN_OVERLAP or not np.isfinite(found.landmarks[best]).all():
            return None
        points = found.landmarks[best] / scale + corner.astype(np.float32)
        return points.astype(np.float32), float(found.scores[best])

    def close(self) -> None:
        """Release what the detector holds."""
        self._detector.close()


def create_landmark_refiner(
    model: str | None = None, runtime: str = 'tvm', threads: int = 1
) -> LandmarkRefiner:
    """Return a refiner with a small input.

    :param model: a detector with landmarks; the bundled one if None or empty.
    :raises UserError: the model or the runtime is not available.
    """
    return LandmarkRefiner(
        create_detector(
            model or None,
            runtime,
            INPUT_SIZE,
            threads,
            score_threshold=0.3,
            max_faces=5,
        )
    )


def _patch(
    image: ImageArray, corner: FloatArray, scale: float, size: tuple[int, int]
) -> ImageArray:
    """Return a scaled part of an image, black where it ends.

    :param corner: its first pixel in the image, x and y.
    """
    if scale < 0.5:
        # Shrunk by area first: bilinear sampling alone would skip pixels.
        low = np.maximum(np.floor(corner), 0).astype(int)
        high = np.ceil(corner + np.array(size) / scale).astype(int)
        part = image[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]
        if part.size:
            shrunk = np.asarray(
                cv2.resize(part, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA),
                np.uint8,
            )
            factor = np.array(shrunk.shape[1::-1]) / np.array(part.shape[1::-1])
            image, corner, scale = shrunk, (corner - low) * factor, 0.5
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]], np.float64)
    patch = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
    return np.asarray(patch, np.uint8)
