# SPDX-License-Identifier: Apache-2.0
"""The pinhole model and its calibration files."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_tracking.camera_model import CameraModel, resolve_url
from face_tracking.errors import UserError

CALIBRATION = """
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix: {rows: 3, cols: 3, data: [500, 0, 310, 0, 505, 245, 0, 0, 1]}
distortion_model: MODEL
distortion_coefficients: {rows: 1, cols: COUNT, data: DATA}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [500, 0, 310, 0, 0, 505, 245, 0, 0, 0, 1, 0]}
"""


def calibration(tmp_path, model='plumb_bob', data='[-0.2, 0.05, 0.001, -0.002, 0.0]'):
    path = tmp_path / 'ost.yaml'
    path.write_text(
        CALIBRATION.replace('MODEL', model)
        .replace('DATA', data)
        .replace('COUNT', str(data.count(',') + 1))
    )
    return path


def test_field_of_view_reaches_from_edge_to_edge():
    model = CameraModel.from_fov(640, 480, math.radians(60))
    left, right, center = model.rays(np.array([[0, 240], [640, 240], [320, 240]]))
    assert math.degrees(math.acos(left @ right)) == pytest.approx(60)
    assert center == pytest.approx([0, 0, 1])
    assert model.horizontal_fov == pytest.approx(math.radians(60))


@pytest.mark.parametrize(
    ('model', 'data'),
    [
        ('plumb_bob', '[-0.2, 0.05, 0.001, -0.002, 0.0]'),
        ('rational_polynomial', '[0.1, 0.01, 0.001, 0.0005, 0.002, 0.08, 0.01, 0.001]'),
        ('equidistant', '[0.05, -0.01, 0.004, -0.001]'),
    ],
)
def test_calibration_is_read_and_rays_come_back_to_their_pixels(tmp_path, model, data):
    camera = CameraModel.from_yaml(calibration(tmp_path, model, data))
    assert (camera.fx, camera.cy, camera.name) == (500, 245, 'narrow_stereo')
    assert camera.distortion_model == model
    points = np.array([[20.0, 30], [320, 240], [600, 400]])
    rays = camera.rays(points)
    assert np.linalg.norm(rays, axis=1) == pytest.approx(1)
    assert camera.project(rays * 3) == pytest.approx(points, abs=0.05)


@given(
    st.integers(2, 4000),
    st.integers(2, 4000),
    st.floats(0.1, 3.0),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_any_pixel_survives_the_way_to_a_ray_and_back(width, height, fov, x, y):
    camera = CameraModel.from_fov(width, height, fov)
    point = np.array([[x * width, y * height]])
    assert camera.project(camera.rays(point)) == pytest.approx(point, abs=1e-4 * width)


def test_scaling_keeps_directions(tmp_path):
    camera = CameraModel.from_yaml(calibration(tmp_path))
    half = camera.scaled_to(320, 240)
    assert half.rays([[100, 50]]) == pytest.approx(camera.rays([[200, 100]]), abs=1e-6)


def test_what_is_behind_the_camera_has_no_pixel():
    camera = CameraModel.from_fov(640, 480, 1.0)
    assert np.isnan(camera.project([[0, 0, -1], [1, 1, 0]])).all()


def test_no_points_are_no_rays():
    camera = CameraModel.from_fov(640, 480, 1.0)
    assert camera.rays(np.zeros((0, 2))).shape == (0, 3)
    assert camera.project(np.zeros((0, 3))).shape == (0, 2)


def test_urls(tmp_path):
    path = calibration(tmp_path)
    assert resolve_url(f'file://{path}') == path
    assert resolve_url('package://face_tracking/package.xml').is_file()
    with pytest.raises(UserError, match='no URL'):
        resolve_url('http://example.org/a.yaml')
    with pytest.raises(UserError, match='no ROS package "no_such_package"'):
        resolve_url('package://no_such_package/a.yaml')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (': : not yaml [', 'is not YAML'),
        ('just words', 'lacks'),
        ('image_width: 640', 'lacks camera_matrix'),
        (
            CALIBRATION.replace('MODEL', 'magic').replace('DATA', '[]').replace('COUNT', '0'),
            'unknown distortion model "magic"',
        ),
        (
            CALIBRATION.replace('MODEL', 'plumb_bob')
            .replace('DATA', '[1, 2]')
            .replace('COUNT', '2'),
            '2 numbers where',
        ),
        (
            CALIBRATION.replace('MODEL', 'plumb_bob')
            .replace('DATA', '[.nan, 0, 0, 0]')
            .replace('COUNT', '4'),
            'not finite',
        ),
        (
            CALIBRATION.replace('MODEL', 'plumb_bob')
            .replace('DATA', '[]')
            .replace('COUNT', '0')
            .replace('[500, 0, 310', '[-5, 0, 310'),
            'not above 0',
        ),
    ],
)
def test_bad_calibration_is_said_in_one_line(tmp_path, text, words):
    path = tmp_path / 'ost.yaml'
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        CameraModel.from_yaml(path)
    assert words in str(caught.value) and '\n' not in str(caught.value)


def test_missing_calibration_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match='cannot be read .No such file'):
        CameraModel.from_yaml(tmp_path / 'none.yaml')


def test_impossible_field_of_view():
    with pytest.raises(UserError, match='between 0 and pi'):
        CameraModel.from_fov(640, 480, 3.2)
