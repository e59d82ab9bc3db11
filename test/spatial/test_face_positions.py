# SPDX-License-Identifier: Apache-2.0
"""Positions of faces: by depth where there is one, else by height; and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest

from face_tracking.camera_model import CameraModel
from face_tracking.spatial.face_positions import covariance, depth_of, locate

CAMERA = CameraModel.from_fov(640, 480, 1.15)
BOX = np.array([[300.0, 200.0, 380.0, 300.0]], np.float32)


def depth_image(meters: float, size=(480, 640)) -> np.ndarray:
    """Return a wall at 5 m with a face at a distance, as a depth image."""
    depth = np.full(size, 5.0, np.float32)
    scale = size[1] / 640
    left, top, right, bottom = (BOX[0] * scale).astype(int)
    depth[top:bottom, left:right] = meters
    return depth


def test_depth_image_gives_the_distance():
    found = locate(BOX, CAMERA, 0.22, depth_image(1.5))
    assert found.measured.tolist() == [True]
    assert found.points[0, 2] == pytest.approx(1.5)
    assert found.spread[0, 0] < 0.05


def test_depth_image_of_another_size_is_used():
    assert locate(BOX, CAMERA, 0.22, depth_image(1.5, (240, 320))).points[0, 2] == pytest.approx(
        1.5
    )


def test_without_depth_the_height_of_the_face_gives_the_distance():
    found = locate(BOX, CAMERA, 0.22)
    assert found.measured.tolist() == [False]
    assert found.points[0, 2] == pytest.approx(0.22 / 100 * CAMERA.fy, rel=0.02)
    assert found.spread[0, 0] == pytest.approx(0.12 * np.linalg.norm(found.points[0]))


@pytest.mark.parametrize('value', [0.0, np.nan, 0.01, 100.0])
def test_depth_that_is_unknown_is_not_used(value):
    assert not locate(BOX, CAMERA, 0.22, depth_image(value)).measured.any()


def test_hand_in_front_of_a_corner_does_not_change_the_distance():
    depth = depth_image(1.5)
    depth[200:240, 300:330] = 0.6
    assert locate(BOX, CAMERA, 0.22, depth).points[0, 2] == pytest.approx(1.5)


@pytest.mark.parametrize(
    'box', [[-500, -500, -400, -400], [0, 0, 0, 0], [630, 470, 700, 600], [1e5, 0, 2e5, 10]]
)
def test_boxes_out_of_the_image_are_no_error(box):
    value = depth_of(np.array(box, np.float64), CAMERA, depth_image(1.5))
    assert value is None or value > 0


def test_covariance_is_large_along_the_line_of_sight():
    point = np.array([1.0, 0.0, 1.0])
    matrix = covariance(point, 0.3, 0.02)
    sight = point / np.linalg.norm(point)
    assert sight @ matrix @ sight == pytest.approx(0.09)
    assert matrix[1, 1] == pytest.approx(0.0004)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_no_faces_give_no_positions():
    assert len(locate(np.zeros((0, 4)), CAMERA, 0.22, depth_image(1.0)).points) == 0
