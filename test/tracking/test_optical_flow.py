# SPDX-License-Identifier: Apache-2.0
"""Motion measured in images is the motion there was."""

import math

import cv2
import numpy as np
import pytest

from face_tracking.camera_model import CameraModel
from face_tracking.evaluation.actors import find_people
from face_tracking.evaluation.sequences import Script, Sequence
from face_tracking.simulation.rendering import Renderer
from face_tracking.simulation.scene import Pose
from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.optical_flow import Warp, measure


@pytest.fixture(scope='module')
def room():
    """Return a function from azimuth and elevation to an image, and the camera."""
    sequence = Sequence(Script('room', (), seed=1), find_people()[:2])
    camera = CameraModel.from_fov(640, 480, math.radians(62))
    renderer = Renderer(sequence._renderer.scene, camera)
    return lambda *pose: ImagePyramid(renderer.render(Pose(*pose), 0.0)), camera


@pytest.mark.parametrize(
    ('pan', 'tilt', 'roll'),
    [(0.0, 0.0, 0.0), (0.01, 0.0, 0.0), (-0.03, 0.005, 0.0), (0.0, -0.012, 0.0), (0.0, 0.0, 0.02)],
)
def test_camera_rotation_is_measured_on_the_background(room, pan, tilt, roll):
    render, camera = room
    flow = measure(render(0, 0, 0), render(pan, -tilt, roll), np.zeros((0, 4)))
    center = np.array([[320.0, 240.0]])
    expected = Warp.of_rotation(camera, pan, tilt)(center)
    np.testing.assert_allclose(flow.warp(center), expected, atol=1.2)  # perspective
    turned = math.atan2(flow.warp.matrix[1, 0], flow.warp.matrix[0, 0])
    assert turned == pytest.approx(-roll, abs=4e-3)


def test_hint_finds_a_motion_that_is_too_fast_to_measure(shifted_face):
    image, box = shifted_face(0)
    before, after = ImagePyramid(image), ImagePyramid(np.roll(image, 160, axis=1))
    unaided = measure(before, after, box[None])
    assert unaided.warp is None or abs(unaided.warp.offset[0] - 160) > 20
    flow = measure(before, after, box[None], hint=Warp(np.eye(2), np.array([148.0, 5.0])))
    np.testing.assert_allclose(flow.warp.offset, [160, 0], atol=0.5)
    np.testing.assert_allclose(flow.motion[0, :2], [160, 0], atol=0.5)


def test_moving_face_is_not_taken_for_camera_motion(shifted_face):
    before, after = (shifted_face(offset) for offset in (0, 12))
    flow = measure(ImagePyramid(before[0]), ImagePyramid(after[0]), before[1][None])
    np.testing.assert_allclose(flow.warp.offset, 0, atol=0.1)
    np.testing.assert_allclose(flow.motion[0, :2], [12, 0], atol=0.4)
    np.testing.assert_allclose(flow.motion[0, 2:], 0, atol=0.02)


def test_approaching_face_grows(astronaut):
    box = np.array([[178.0, 63, 268, 176]])
    center = (223.0, 119.5)
    nearer = cv2.warpAffine(
        astronaut, cv2.getRotationMatrix2D((center[0] - 0.5, center[1] - 0.5), 0, 1.06), (512, 512)
    )
    flow = measure(ImagePyramid(astronaut), ImagePyramid(nearer), box, background=False)
    np.testing.assert_allclose(flow.motion[0, 2:], math.log(1.06), atol=0.012)
    np.testing.assert_allclose(flow.motion[0, :2], 0, atol=0.6)


def test_image_without_texture_gives_no_motion():
    blank = ImagePyramid(np.full((480, 640, 3), 128, np.uint8))
    flow = measure(blank, blank, np.array([[100.0, 100, 200, 220]]))
    assert flow.warp is None
    assert np.isinf(flow.deviation).all()


@pytest.mark.parametrize(
    'box', [[-500, -500, -400, -400], [0, 0, 1, 1], [-50, 400, 90, 700], [0, 0, 5000, 5000]]
)
def test_faces_outside_the_image_give_no_false_motion(astronaut, box):
    pyramid = ImagePyramid(astronaut)
    flow = measure(pyramid, pyramid, np.array([box], float))
    known = np.isfinite(flow.deviation)
    np.testing.assert_allclose(flow.motion[known], 0, atol=0.1)
