# SPDX-License-Identifier: Apache-2.0
"""Images for the tracker; and ``scripted_scene`` made importable."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope='session')
def shifted_face(astronaut):
    """Return a function from an offset to a still room with a face at it, and the face's box."""
    rng = np.random.default_rng(0)
    room = cv2.resize(
        rng.integers(0, 255, (60, 80, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC
    )
    head = astronaut[20:180, 150:300]

    def render(across: float, down: float = 0.0):
        x, y = 120 + across, 150 + down
        matrix = np.array([[1.0, 0, x], [0, 1, y]])
        image = cv2.warpAffine(
            head, matrix, (640, 480), room.copy(), borderMode=cv2.BORDER_TRANSPARENT
        )
        return image, np.array([x + 28, y + 43, x + 118, y + 156])

    return render
