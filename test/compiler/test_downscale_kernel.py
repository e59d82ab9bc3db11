# SPDX-License-Identifier: Apache-2.0
"""The compiled halving gives OpenCV's images, wherever the letterbox may use it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from synthetic_networks import compile_apart, random_image

from face_tracking.detection.letterbox import Letterbox
from face_tracking.detector import create_detector
from face_tracking.runtimes.compiled_model import CompiledDownscaler, CompiledModel


@pytest.mark.parametrize('size', [(64, 48), (72, 16), (8, 8)])
def test_downscaling_equals_opencv_bit_for_bit(small, tmp_path, size):
    network = CompiledModel(compile_apart(small, *size, output=tmp_path / 'small.so'))
    for photo in (
        random_image(2 * size[0], 2 * size[1]),
        np.full((2 * size[1], 2 * size[0], 3), 255, np.uint8),
    ):
        fitted, fit = Letterbox(*size, downscale=CompiledDownscaler(network))(photo)
        assert fit == (2, 2)
        assert np.array_equal(fitted, cv2.resize(photo, size, interpolation=cv2.INTER_AREA))


def test_image_at_any_address_is_halved(small, tmp_path):
    network = CompiledModel(compile_apart(small, 64, 48, output=tmp_path / 'small.so'))
    downscale = CompiledDownscaler(network)
    for start in range(3):
        photo = np.append(np.zeros(start, np.uint8), random_image(128, 96))[start:]
        photo = photo.reshape(96, 128, 3)
        fitted, _ = Letterbox(64, 48, downscale=downscale)(photo)
        assert np.array_equal(fitted, cv2.resize(photo, (64, 48), interpolation=cv2.INTER_AREA))


class Counting:
    """Notes how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, image, half):
        self.calls += 1
        half[:] = 7


def test_only_what_it_may_read_and_is_just_twice_as_large_goes_there():
    halve = Counting()
    letterbox = Letterbox(64, 48, downscale=halve)
    read_only = np.zeros((96, 128, 3), np.uint8)
    read_only.flags.writeable = False
    for photo in (
        np.zeros((96, 130, 3), np.uint8),
        np.zeros((96, 256, 3), np.uint8)[:, ::2],
        np.zeros((48, 64, 3), np.uint8),
        read_only,
    ):
        letterbox(photo)
    assert halve.calls == 0
    fitted, _ = letterbox(np.zeros((96, 128, 3), np.uint8))
    assert halve.calls == 1 and (fitted == 7).all()
    # A smaller image leaves nothing of that in the border.
    assert not letterbox(np.zeros((96, 100, 3), np.uint8))[0].any()
    Letterbox(64, 48, long_side=40, downscale=halve)(np.zeros((96, 128, 3), np.uint8))
    assert halve.calls == 1


def test_faces_are_the_same_with_and_without_the_downscaler(astronaut):
    photo = cv2.resize(astronaut, (640, 480))
    detector = create_detector(None, 'tvm', (320, 240), precision='float32')
    halved = detector.detect(photo)
    photo.flags.writeable = False
    plain = detector.detect(photo)
    assert len(halved) and np.array_equal(halved.boxes, plain.boxes)
    assert np.array_equal(halved.landmarks, plain.landmarks)
