# SPDX-License-Identifier: Apache-2.0
"""What the tracker's tests share: stamps, detections, a picture with a face that moves."""

import cv2
import numpy as np

from face_tracking.faces import Detections

INTERVAL = 33_333_333
FACE = np.array([178.0, 63, 268, 176])


def detections(stamp, *boxes, score=0.9):
    """Return detections of ``boxes``, all of one score."""
    rows = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Detections(stamp, rows, np.full(len(rows), score, np.float32),
                      np.full((len(rows), 5, 2), np.nan, np.float32))


def shifted(image, across, down):
    """Return the picture moved right and down by pixels."""
    matrix = np.array([[1.0, 0, across], [0, 1, down]])
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
