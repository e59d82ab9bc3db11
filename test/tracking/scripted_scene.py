# SPDX-License-Identifier: Apache-2.0
"""What the tracker's tests share: stamps and detections."""

import numpy as np

from face_tracking.faces import Detections

INTERVAL = 33_333_333
FACE = np.array([178.0, 63, 268, 176])


def detections(stamp, *boxes, score=0.9):
    """Return detections of ``boxes``, all of one score."""
    rows = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Detections(
        stamp,
        rows,
        np.full(len(rows), score, np.float32),
        np.full((len(rows), 5, 2), np.nan, np.float32),
    )
