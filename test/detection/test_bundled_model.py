# SPDX-License-Identifier: Apache-2.0
"""Floors of the bundled detectors on images that come with packages the tests depend on.

They are in the public domain: an astronaut, an admiral, a photographer in profile, and images
without a face.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from face_tracking import boxes as box_math
from face_tracking.detector import create_detector

skimage_data = pytest.importorskip('skimage.data', reason='scikit-image is not installed')

WITHOUT_FACES = (
    'brick',
    'coffee',
    'coins',
    'gravel',
    'hubble_deep_field',
    'moon',
    'motorcycle_left',
    'page',
    'retina',
    'rocket',
    'text',
)
CAMERAMAN_FACE = np.array([[199, 115, 260, 199]], np.float32)


@pytest.fixture(
    scope='module',
    params=['face_tracking', 'face_tracking_fast'],
)
def detector(request):
    made = create_detector(request.param, 'onnxruntime', (320, 240), score_threshold=0.05)
    yield made
    made.close()


def score_at(detector, image: np.ndarray, box) -> float:
    """Return the best score of a face at ``box`` ``[x1, y1, x2, y2]``, 0 where there is none."""
    found = detector.detect(np.ascontiguousarray(image))
    overlap = box_math.iou(np.array([box], np.float32), found.boxes)[0]
    return float(found.scores[overlap >= 0.5].max(initial=0))


def in_a_frame(image: np.ndarray, box, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame of 320x240 in which the face has a shorter side of ``side`` pixels."""
    box = np.asarray(box, np.float32)
    scale = side / min(box[2:] - box[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((240, 320, 3), 96, np.uint8)
    low = np.clip(np.array([160, 120]) - (box[:2] + box[2:]) / 2 * scale, -9999, 9999).astype(int)
    x, y = low
    x1, y1 = max(x, 0), max(y, 0)
    x2, y2 = min(x + small.shape[1], 320), min(y + small.shape[0], 240)
    frame[y1:y2, x1:x2] = small[y1 - y : y2 - y, x1 - x : x2 - x]
    return frame, box * scale + np.tile(low, 2)


@pytest.mark.parametrize('side', [16, 24, 48, 96, 150])
def test_face_is_found_at_every_size(detector, portraits, side):
    for image, box in portraits:
        assert score_at(detector, *in_a_frame(image, box, side)) >= 0.7


@pytest.mark.parametrize('part', ['left', 'right', 'lower'])
def test_face_of_which_a_part_is_hidden_is_found(detector, portraits, part):
    for image, box in portraits:
        frame, place = in_a_frame(image, box, 64)
        x1, y1, x2, y2 = place.astype(int)
        if part == 'lower':
            y1 = (y1 + 2 * y2) // 3
        elif part == 'left':
            x2 = (2 * x1 + x2) // 3
        else:
            x1 = (x1 + 2 * x2) // 3
        frame[y1:y2, x1:x2] = (60, 90, 130)
        assert score_at(detector, frame, place) >= 0.6


@pytest.mark.parametrize('angle', [-25, 25])
def test_tilted_face_is_found(detector, portraits, angle):
    for image, box in portraits:
        frame, place = in_a_frame(image, box, 64)
        turn = cv2.getRotationMatrix2D((160, 120), angle, 1.0)
        frame = cv2.warpAffine(frame, turn, (320, 240), borderMode=cv2.BORDER_REPLICATE)
        assert score_at(detector, frame, place) >= 0.6


def test_face_in_profile_is_found(detector):
    image = cv2.cvtColor(skimage_data.camera(), cv2.COLOR_GRAY2BGR)
    frame, place = in_a_frame(image, CAMERAMAN_FACE[0], 40)
    assert score_at(detector, frame, place) >= 0.7


@pytest.mark.parametrize('name', WITHOUT_FACES)
def test_nothing_is_found_where_there_is_no_face(detector, name):
    folder = Path(skimage_data.__file__).parent
    (path,) = (path for path in folder.glob(f'{name}.*') if path.suffix in ('.png', '.jpg'))
    found = detector.detect(cv2.imread(str(path)))
    assert not (found.scores >= 0.7).any()
