# SPDX-License-Identifier: Apache-2.0
"""Intrinsics of other drivers: applied as they are meant, or refused with the reason."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.nodes.camera_info import from_camera_info, image_size, to_camera_info


def info(width=640, height=480, f=600.0, cx=319.5, cy=239.5, **more):
    """Return a message of a camera that looks through the center of its image."""
    return CameraInfo(
        width=width,
        height=height,
        distortion_model=more.pop('model', 'plumb_bob'),
        d=more.pop('d', [0.0] * 5),
        k=[f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0],
        **more,
    )


def test_intrinsics_survive():
    camera = CameraModel(640, 480, 500, 505, 310, 245, (0.1, -0.2, 0.0, 0.0, 0.3))
    assert from_camera_info(to_camera_info(camera, Header())) == camera


def test_binning_makes_the_image_smaller():
    camera = from_camera_info(info(1280, 960, 1200.0, 639.5, 479.5, binning_x=2, binning_y=2))
    assert (camera.width, camera.height, camera.fx) == (640, 480, 600)
    assert camera.rays(np.array([[320, 240]]))[0] == pytest.approx([0, 0, 1])


def test_a_region_of_interest_moves_the_axis():
    message = info(1280, 960, 1200.0, 639.5, 239.5)
    message.roi.x_offset, message.roi.width, message.roi.height = 600, 640, 480
    camera = from_camera_info(message)
    assert (camera.width, camera.height) == (640, 480)
    assert camera.rays(np.array([[40, 240]]))[0] == pytest.approx([0, 0, 1])


def test_region_of_interest_and_binning_together():
    message = info(1280, 960, 1200.0, 639.5, 479.5, binning_x=2, binning_y=2)
    message.roi.x_offset, message.roi.y_offset = 320, 240
    message.roi.width, message.roi.height = 640, 480
    camera = from_camera_info(message)
    assert (camera.width, camera.height) == (320, 240)
    assert camera.rays(np.array([[160, 120]]))[0] == pytest.approx([0, 0, 1])


@pytest.mark.parametrize(
    ('model', 'd'),
    [('pinhole', []), ('none', [0.0] * 5), ('fisheye', [0.0] * 4), ('', []), ('plumb_bob', [])],
)
def test_names_of_other_drivers_are_accepted(model, d):
    camera = from_camera_info(info(model=model, d=d))
    assert camera.rays(np.array([[320, 240]]))[0] == pytest.approx([0, 0, 1])


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (info(cx=math.nan), 'not finite'),
        (info(f=math.inf), 'not finite'),
        (info(d=[math.nan] * 5), 'not finite'),
        (info(f=0.0), 'no focal length'),
        (info(f=-5.0), 'focal length'),
        (info(f=1e-3), 'focal length'),
        (info(cx=1e9), 'principal point'),
        (info(width=0), 'image size'),
        (info(d=[1e30] * 5), 'too large'),
        (info(model='magic'), 'unknown distortion model'),
        (info(d=[0.1, 0.2]), '2 coefficients'),
        (info(binning_x=4000), 'binning'),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(message, words):
    with pytest.raises(UserError, match=words):
        from_camera_info(message)


numbers = st.floats(allow_nan=True, allow_infinity=True)
sizes = st.integers(0, 2**32 - 1)


@given(
    sizes,
    sizes,
    st.lists(numbers, min_size=9, max_size=9),
    st.lists(numbers, max_size=15),
    st.sampled_from(['plumb_bob', 'rational_polynomial', 'equidistant', 'none', 'x']),
    st.tuples(sizes, sizes, sizes, sizes),
    st.tuples(sizes, sizes),
)
def test_any_message_gives_finite_intrinsics_or_is_refused(width, height, k, d, model, roi, bins):
    message = CameraInfo(width=width, height=height, k=k, d=d, distortion_model=model)
    message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = roi
    message.binning_x, message.binning_y = bins
    try:
        camera = from_camera_info(message)
    except UserError:
        return
    assert np.isfinite([camera.fx, camera.fy, camera.cx, camera.cy]).all()
    assert camera.width > 0 and camera.height > 0


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, (640, 480)),
        ({'binning_x': 2, 'binning_y': 2}, (320, 240)),
        ({'roi': RegionOfInterest(x_offset=10, width=200, height=100)}, (200, 100)),
    ],
)
def test_the_size_of_the_images_needs_no_calibration(changes, expected):
    assert image_size(CameraInfo(width=640, height=480, **changes)) == expected


@pytest.mark.parametrize('size', [(0, 480), (2**32 - 1, 480), (640, 2**31)])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(UserError, match='correct width, height and binning'):
        image_size(CameraInfo(width=size[0], height=size[1]))
