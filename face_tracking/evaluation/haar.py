# SPDX-License-Identifier: Apache-2.0
"""OpenCV's frontal face cascade as a baseline.

Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features", 2001.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.errors import UserError
from face_tracking.faces import Detections

CASCADE = 'haarcascade_frontalface_default.xml'
SMALLEST = 12
"""Pixels of the scaled image; below its window of 24 px the cascade finds nothing anyway."""


class HaarDetector:
    """Finds frontal faces in images that are scaled to one long side.

    :param long_side: in pixels.
    :raises UserError: OpenCV comes without its cascades.
    """

    def __init__(self, long_side: int):
        folder = getattr(getattr(cv2, 'data', None), 'haarcascades', '')
        path = Path(folder) / CASCADE
        if not folder or not path.is_file():
            raise UserError('this OpenCV has no Haar cascades', 'install opencv-contrib-python')
        self._cascade = cv2.CascadeClassifier(str(path))
        self._long_side = long_side

    def detect(self, image: Array) -> Detections:
        """Return the faces in ``image``, uint8 (H, W, 3) BGR, in its pixels.

        The scores are the sums of the last stage, squeezed into 0 to 1, so that they can be
        sorted; the cascade has none of its own.
        """
        scale = self._long_side / max(image.shape[:2])
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        boxes, _, weights = self._cascade.detectMultiScale3(
            gray,
            scaleFactor=1.1,
            minNeighbors=3,
            minSize=(SMALLEST, SMALLEST),
            outputRejectLevels=True,
        )
        if not len(boxes):
            return Detections()
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        scores = 1 / (1 + np.exp(-np.asarray(weights, np.float32).reshape(-1) / 4))
        order = np.argsort(-scores, kind='stable')
        return Detections(
            0,
            boxes[order] / np.float32(scale),
            scores[order].astype(np.float32),
            np.full((len(boxes), 5, 2), np.nan, np.float32),
        )
