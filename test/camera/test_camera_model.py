# SPDX-License-Identifier: Apache-2.0
"""The pinhole model and its calibration files."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_tracking.camera_model import CameraModel, distortion_of, resolve_url
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
def test_calibration_is_read_and_rays_project_to_their_pixels(tmp_path, model, data):
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
def test_pixel_to_ray_and_back_is_the_identity(width, height, fov, x, y):
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


def test_no_points_give_no_rays():
    camera = CameraModel.from_fov(640, 480, 1.0)
    assert camera.rays(np.zeros((0, 2))).shape == (0, 3)
    assert camera.project(np.zeros((0, 3))).shape == (0, 2)


def test_urls(tmp_path):
    path = calibration(tmp_path)
    assert resolve_url(f'file://{path}') == path
    assert resolve_url('package://face_tracking/package.xml').is_file()
    with pytest.raises(UserError, match='not a valid URL'):
        resolve_url('http://example.org/a.yaml')
    with pytest.raises(UserError, match='no ROS package "no_such_package"'):
        resolve_url('package://no_such_package/a.yaml')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (': : not yaml [', 'is not valid YAML'),
        ('just words', 'is not a YAML mapping'),
        ('image_width: 640', 'no valid camera_matrix'),
        (
            CALIBRATION.replace('MODEL', 'magic').replace('DATA', '[]').replace('COUNT', '0'),
            "unknown distortion model 'magic'",
        ),
        (
            CALIBRATION.replace('MODEL', 'plumb_bob')
            .replace('DATA', '[1, 2]')
            .replace('COUNT', '2'),
            '2 coefficients',
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
            'focal lengths of -5',
        ),
    ],
)
def test_bad_calibration_is_reported_in_one_line(tmp_path, text, words):
    path = tmp_path / 'ost.yaml'
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        CameraModel.from_yaml(path)
    assert words in str(caught.value) and '\n' not in str(caught.value)


def test_missing_calibration_is_reported_in_one_line(tmp_path):
    with pytest.raises(UserError, match='cannot be read .No such file'):
        CameraModel.from_yaml(tmp_path / 'none.yaml')


def test_impossible_field_of_view_is_refused():
    with pytest.raises(UserError, match='between 0 and pi'):
        CameraModel.from_fov(640, 480, 3.2)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('camera_matrix: {data: [1, 0, 1, 0, 1, 1, 0, 0, 1]}', 'image_width'),
        ('image_width: 1e999\nimage_height: 480', 'camera_matrix'),
        (
            'image_width: 99999999999\nimage_height: 480\ncamera_matrix: {data: MATRIX}',
            'image size',
        ),
        (
            'image_width: ' + '9' * 400 + '\nimage_height: 480\ncamera_matrix: {data: MATRIX}',
            'image_width',
        ),
        ('image_width: 640\nimage_height: 480\ncamera_matrix: {data: [1, 2]}', 'of 2 numbers'),
        ('image_width: 640\nimage_height: 480\ncamera_matrix: 7', 'camera_matrix'),
        ('image_width: 2001-99-99', 'not valid YAML'),
        ('[' * 5000, 'not valid YAML'),
        (
            'image_width: 640\nimage_height: 480\n'
            'camera_matrix: {data: [99999999999999999999999, 0, 1, 0, 1, 1, 0, 0, 1]}',
            'focal lengths',
        ),
    ],
)
def test_malformed_calibration_is_refused_with_its_reason(tmp_path, content, words):
    path = tmp_path / 'ost.yaml'
    path.write_text(content.replace('MATRIX', '[500, 0, 310, 0, 505, 245, 0, 0, 1]'))
    with pytest.raises(UserError) as caught:
        CameraModel.from_yaml(path)
    assert words in str(caught.value)


@pytest.mark.parametrize('kind', ['pipe', 'device', 'endless', 'folder', 'large'])
def test_a_calibration_that_is_not_a_small_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / 'ost.yaml'
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'large':
        path.write_bytes(b' ' * 1_000_001)
    else:
        path = Path('/dev/null' if kind == 'device' else '/dev/zero')
    with pytest.raises(UserError, match='is not a file|more than 1000000|cannot be read'):
        CameraModel.from_yaml(path)


@pytest.mark.parametrize(
    ('model', 'coefficients', 'expected'),
    [
        ('pinhole', [], ('plumb_bob', ())),
        ('none', [0.0] * 5, ('plumb_bob', ())),
        ('', [0.0] * 8, ('plumb_bob', ())),
        ('plumb_bob', [0.1, 0, 0, 0], ('plumb_bob', (0.1, 0, 0, 0))),
        ('fisheye', [0.0] * 4, ('equidistant', (0.0,) * 4)),
        ('fisheye', [0.0] * 5, ('equidistant', (0.0,) * 4)),
        ('Fisheye', [0.1, 0, 0, 0], ('equidistant', (0.1, 0, 0, 0))),
    ],
)
def test_names_of_other_drivers_and_zeros_are_accepted(model, coefficients, expected):
    assert distortion_of(model, coefficients, 'it') == expected


def test_an_equidistant_lens_without_distortion_is_not_a_pinhole():
    camera = CameraModel(640, 480, 300, 300, 319.5, 239.5, (0.0,) * 4, 'equidistant')
    (ray,) = camera.rays(np.array([[320 + 300 * 0.9, 240]]))
    assert math.acos(ray[2]) == pytest.approx(0.9, abs=1e-3)
    assert camera.project(ray[None]) == pytest.approx(np.array([[590, 240]]), abs=0.01)
