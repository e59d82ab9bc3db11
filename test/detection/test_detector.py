# SPDX-License-Identifier: Apache-2.0
"""The detector finds the faces it is shown, in the pixels of the image it is shown."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from face_tracking import boxes as box
from face_tracking.detection.letterbox import Letterbox, fitted_size
from face_tracking.detection.model import load_model
from face_tracking.detector import create_detector
from face_tracking.errors import UserError
from face_tracking.multi_size_detector import MultiSizeDetector, network_shapes, shape_for

MODELS = [
    'yunet_n_320_320',
    'face_detection_yunet_2023mar',
    'version-RFB-320_without_postprocessing',
]


def lit(width: int, height: int, *cells: tuple[int, int]) -> np.ndarray:
    """Return a black image with white cells, given as (column, row) of 8x8 pixels."""
    image = np.zeros((height, width, 3), np.uint8)
    for column, row in cells:
        image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
    return image


@pytest.fixture
def squares_detector(described):
    return create_detector(described, 'onnxruntime', threads=1)


def test_boxes_are_in_source_pixels(squares_detector):
    found = squares_detector.detect(lit(64, 48, (2, 3)), stamp=77)
    assert found.stamp == 77 and len(found) == 1 and found.scores[0] > 0.99
    np.testing.assert_allclose(found.boxes, [[12, 20, 28, 36]], atol=1e-3)
    np.testing.assert_allclose(found.landmarks[0], [[20, 28]] * 5, atol=1e-3)
    large = cv2.resize(lit(64, 48, (2, 3)), (640, 480), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_allclose(
        squares_detector.detect(large).boxes, [[120, 200, 280, 360]], atol=1e-2
    )
    assert set(squares_detector.timings) == {'preprocess', 'inference', 'decode'}
    assert all(spent > 0 for spent in squares_detector.timings.values())


def test_boxes_end_at_the_border_of_the_image(squares_detector):
    np.testing.assert_allclose(
        squares_detector.detect(lit(64, 48, (0, 0))).boxes, [[0, 0, 12, 12]], atol=1e-3
    )
    # 64x16 leaves the lower part of the network's input empty: nothing may be found there.
    wide = squares_detector.detect(lit(64, 16, (7, 1)))
    np.testing.assert_allclose(wide.boxes, [[52, 4, 64, 16]], atol=1e-3)


def test_options_can_be_set_between_images(squares_detector):
    photo = lit(64, 48, (1, 1), (3, 3), (6, 4))
    photo[24:32, 24:32] = 200
    assert len(squares_detector.detect(photo)) == 3
    squares_detector.max_faces = 2
    assert len(squares_detector.detect(photo)) == 2
    squares_detector.max_faces = 0
    squares_detector.score_threshold = 0.999
    assert len(squares_detector.detect(photo)) == 2
    squares_detector.score_threshold = 0
    squares_detector.nms_threshold = 1
    assert len(squares_detector.detect(photo)) == 48


def test_black_image_has_no_faces(squares_detector):
    found = squares_detector.detect(lit(64, 48), stamp=5)
    assert (found.stamp, found.boxes.shape, found.landmarks.shape) == (5, (0, 4), (0, 5, 2))


@pytest.mark.parametrize('shape', [(0, 0, 3), (8, 8), (8, 8, 4)])
def test_no_images_are_refused(squares_detector, shape):
    with pytest.raises(UserError):
        squares_detector.detect(np.zeros(shape, np.uint8))
    squares_detector.detect(lit(64, 48))


@pytest.mark.parametrize('engine', ['onnxruntime', 'opencv'])
@pytest.mark.parametrize('name', MODELS)
def test_real_faces_are_found(shared_dir, portraits, name, engine):
    detector = create_detector(shared_dir / 'models' / f'{name}.onnx', engine)
    for image, face in portraits:
        found = detector.detect(image)
        assert len(found) == 1
        assert box.iou(found.boxes, face[None])[0, 0] > 0.6
        points = found.landmarks[0]
        if np.isfinite(points).all():
            assert points[0, 0] < points[1, 0] and points[3, 0] < points[4, 0]
            assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min()


@pytest.mark.parametrize(
    ('height', 'size'),
    [
        *((height, (320, 240)) for height in (200, 300, 420)),
        *((height, (640, 480)) for height in (200, 300, 420)),
    ],
)
def test_faces_near_the_camera_are_found(portraits, size, height):
    detector = create_detector(None, input_size=size)
    for portrait, face in portraits:
        scale = height / (face[3] - face[1])
        center = (face[:2] + face[2:]) / 2
        matrix = np.c_[scale * np.eye(2), [320, 240] - scale * center]
        photo = cv2.warpAffine(portrait, matrix, (640, 480), borderMode=cv2.BORDER_REPLICATE)
        found = detector.detect(photo)
        shown = scale * (face - np.tile(center, 2)) + [320, 240, 320, 240]
        assert len(found) == 1
        assert box.iou(shown[None].astype(np.float32), found.boxes)[0, 0] > 0.7
    detector.close()


def test_agrees_with_opencvs_own_yunet(shared_dir, astronaut):
    path = shared_dir / 'models/face_detection_yunet_2023mar.onnx'
    own = create_detector(
        path, 'opencv', (320, 320), nms_threshold=0.3, vote_iou_threshold=1.0
    ).detect(cv2.resize(astronaut, (320, 320)))
    reference = cv2.FaceDetectorYN.create(str(path), '', (320, 320), 0.7, 0.3)
    _, rows = reference.detect(cv2.resize(astronaut, (320, 320)))
    assert len(rows) == len(own) == 1
    row = rows[0]
    np.testing.assert_allclose(
        own.boxes[0], [row[0], row[1], row[0] + row[2], row[1] + row[3]], atol=0.5
    )
    np.testing.assert_allclose(own.scores[0], row[14], atol=1e-3)


def test_images_of_any_shape_are_searched(described):
    model = load_model(described)
    assert network_shapes(model.description, 64) == [(64, 48), (48, 64), (64, 64)]
    assert network_shapes(model.description, 60) == [(64, 48), (48, 64), (64, 64)]
    detector = MultiSizeDetector(described, 64, 'onnxruntime', threads=1)
    for width, height in ((64, 48), (48, 64), (64, 64), (64, 24), (24, 64)):
        found = detector.detect(lit(width, height, (1, 1)))
        np.testing.assert_allclose(found.boxes, [[4, 4, 20, 20]], atol=1e-3)
    assert len(detector._detectors) == 3
    with pytest.raises(UserError, match='no pixels'):
        detector.detect(np.zeros((0, 0, 3), np.uint8))
    detector.close()
    with pytest.raises(UserError, match='long side'):
        MultiSizeDetector(described, -3, 'onnxruntime')


@pytest.mark.parametrize('long_side', [64, 320, 333, 640])
def test_every_size_and_aspect_ratio_has_a_shape(described, long_side):
    shapes = network_shapes(load_model(described).description, long_side)
    for side in range(1, 8001):
        for ratio in (1, 4 / 3, 16 / 9, 2.35, 7, 20):
            other = max(round(side / ratio), 1)
            for image in ((side, other), (other, side)):
                shape = shape_for(image, shapes, long_side)
                inner = fitted_size(image, shape, long_side)
                assert long_side - 1 <= max(inner) <= long_side
                assert inner[0] <= shape[0] and inner[1] <= shape[1]


def test_fitted_size_keeps_the_aspect_ratio():
    for side in range(1, 8001, 7):
        for image in ((side, 480), (640, side), (side, side)):
            width, height = fitted_size(image, (320, 240))
            assert 1 <= width <= 320 and 1 <= height <= 240
            assert width == 320 or height == 240
            scale = min(320 / image[0], 240 / image[1])
            assert abs(width - scale * image[0]) <= 1 and abs(height - scale * image[1]) <= 1


@pytest.mark.parametrize('long', [147, 281, 294, 525, 533, 549, 562, 585, 588, 615, 1050, 1066])
def test_sizes_that_round_badly_in_floating_point_are_searched(described, long):
    detector = MultiSizeDetector(described, 320, 'onnxruntime', threads=1)
    for shape in ((long, long, 3), (long, 50, 3), (50, long, 3)):
        assert len(detector.detect(np.zeros(shape, np.uint8))) == 0
    detector.close()
    assert Letterbox(320, 240)(np.zeros((long, long, 3), np.uint8))[0].shape == (240, 320, 3)
