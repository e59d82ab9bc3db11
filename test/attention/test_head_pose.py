# SPDX-License-Identifier: Apache-2.0
"""Head pose from projected landmarks: exact for the model head, bounded for noisy ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.attention.head_pose import LANDMARKS, estimate_head_pose, rotation_of
from face_tracking.camera_model import CameraModel

CAMERA = CameraModel.from_fov(640, 480, 1.15)
ANGLES = [(0, 0, 0), (30, 0, 0), (-45, 10, 0), (0, 25, 0), (0, -25, 15), (20, -15, -30)]


def seen(yaw, pitch, roll, position=(0.0, 0.0, 0.8), camera=CAMERA) -> np.ndarray:
    """Return the landmarks, (5, 2) pixels, of the model head in the middle of the image."""
    points = LANDMARKS @ rotation_of(yaw, pitch, roll).T + position
    return camera.project(points)


@pytest.mark.parametrize('degrees', ANGLES)
def test_angles_of_the_model_head_are_recovered(degrees):
    yaw, pitch, roll = map(math.radians, degrees)
    pose = estimate_head_pose(seen(yaw, pitch, roll), CAMERA)
    # The line of sight goes through the mean of the landmarks, not through the head's origin.
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((yaw, pitch, roll), abs=0.03)
    assert pose.residual < 0.01
    assert pose.position == pytest.approx((0, 0, 0.8), abs=0.03)


@pytest.mark.parametrize(
    ('degrees', 'sign'), [((20, 0, 0), (1, 0)), ((0, 20, 0), (0, -1)), ((-20, 0, 0), (-1, 0))]
)
def test_nose_points_where_the_signs_say(degrees, sign):
    """Yaw is positive to the right in the image, pitch is positive up."""
    points = seen(*map(math.radians, degrees))
    nose, others = points[2], points[[0, 1, 3, 4]].mean(axis=0)
    straight = seen(0, 0, 0)
    shift = nose - others - (straight[2] - straight[[0, 1, 3, 4]].mean(axis=0))
    assert np.sign(np.round(shift, 1)).tolist() == list(sign)


def test_face_at_the_edge_that_looks_into_the_camera_has_no_yaw():
    position = np.array([0.35, 0.0, 0.8])
    turn = math.atan2(position[0], position[2])
    points = CAMERA.project(LANDMARKS @ rotation_of(-turn, 0, 0).T + position)
    pose = estimate_head_pose(points, CAMERA)
    assert abs(pose.yaw) < 0.03
    assert pose.off_axis < 0.06


def test_roll_is_clockwise_in_the_image():
    pose = estimate_head_pose(seen(0, 0, math.radians(25)), CAMERA)
    right, left = seen(0, 0, math.radians(25))[:2]
    assert left[1] > right[1], 'the eye on the right of the image is lower'
    assert pose.roll == pytest.approx(math.radians(25), abs=0.02)


def test_noise_of_the_landmarks_causes_a_bounded_error():
    random = np.random.default_rng(1)
    errors = []
    for _ in range(200):
        points = seen(0.3, 0.1, 0.0)
        size = np.linalg.norm(points[0] - points[1])
        pose = estimate_head_pose(points + random.normal(0, 0.03 * size, (5, 2)), CAMERA)
        errors.append(abs(pose.yaw - 0.3))
    assert np.median(errors) < math.radians(6)


DEGENERATE = (
    np.full((5, 2), np.nan),
    np.zeros((5, 2)),
    np.zeros((4, 2)),
    np.array([[0.0, 0.0]] * 4 + [[0.0, 1.0]]),
)


@pytest.mark.parametrize('points', DEGENERATE)
def test_landmarks_without_a_pose_give_none(points):
    assert estimate_head_pose(points, CAMERA) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e4, 1e4, allow_nan=False), min_size=10, max_size=10).map(
        lambda values: np.array(values).reshape(5, 2)
    )
)
def test_any_landmarks_give_a_finite_pose_or_none(points):
    pose = estimate_head_pose(points, CAMERA)
    if pose is not None:
        assert np.isfinite([pose.yaw, pose.pitch, pose.roll, pose.residual]).all()
        assert np.isfinite(pose.position).all()
        assert 0 <= pose.off_axis <= math.pi
