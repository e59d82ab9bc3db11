# SPDX-License-Identifier: Apache-2.0
"""Points are followed level by level as well as OpenCV follows them through its own pyramid."""

import cv2
import numpy as np
import pytest

from face_tracking.tracking import lucas_kanade
from face_tracking.tracking.image_pyramid import ImagePyramid

SHIFT = np.array([2.75, -1.25], np.float32)


@pytest.fixture(scope='module')
def moved():
    """Return an image of random blobs and the same moved by SHIFT, both as pyramids."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8)
    blobs = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    shifted = cv2.warpAffine(
        blobs, np.float32([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]]]), (160, 120), flags=cv2.INTER_CUBIC
    )
    return [ImagePyramid(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)) for image in (blobs, shifted)]


@pytest.fixture
def points():
    """Return a grid of points inside the image."""
    columns, rows = np.meshgrid(np.arange(30, 140, 12), np.arange(30, 100, 12))
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def test_points_are_followed_as_by_opencv(moved, points):
    before, after = moved
    shift, good = lucas_kanade.follow(before, after, points)
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before.gray, after.gray, points - 0.5, None, winSize=lucas_kanade.WINDOW, maxLevel=3
    )
    assert good.all() and found.all()
    np.testing.assert_allclose(shift, there - (points - 0.5), atol=0.1)
    np.testing.assert_allclose(shift, np.tile(SHIFT, (len(points), 1)), atol=0.2)


def test_half_the_size_finds_the_motion_and_the_full_size_refines_it(moved, points):
    rough, good = lucas_kanade.follow(*moved, points, levels=2, last=1)
    assert good.all()
    np.testing.assert_allclose(rough, np.tile(SHIFT, (len(points), 1)), atol=0.3)
    shift, good = lucas_kanade.refine(*moved, points[:9], rough[:9])
    assert good.all()
    full, _ = lucas_kanade.follow(*moved, points[:9])
    np.testing.assert_allclose(shift, full, atol=0.05)


def test_points_outside_the_image_are_not_trusted(moved):
    outside = np.array([[-40, -40], [300, 50]], np.float32)
    for points in (outside, outside[:1], outside[1:]):
        assert not lucas_kanade.follow(*moved, points)[1].any()
        assert not lucas_kanade.refine(*moved, points, np.zeros_like(points))[1].any()


def test_an_image_smaller_than_the_window_can_be_searched():
    tiny = ImagePyramid(np.zeros((6, 9, 3), np.uint8))
    shift, good = lucas_kanade.follow(tiny, tiny, np.array([[4, 3]], np.float32))
    assert shift.shape == (1, 2) and not good.any()
