# SPDX-License-Identifier: Apache-2.0
"""Descriptors of one face agree in other light, size and roll, also half hidden."""

import cv2
import numpy as np
import pytest

from face_tracking.tracking.appearance import SIZE, distance, extract_descriptors, roll_angles
from face_tracking.tracking.image_pyramid import ImagePyramid

ALIKE, UNLIKE = 0.35, 0.6


def describe(image, box, angle=0.0):
    return extract_descriptors(ImagePyramid(image), np.array([box], float), np.array([angle]))


def turned(image, center, degrees, scale):
    matrix = cv2.getRotationMatrix2D(center, degrees, scale)
    return cv2.warpAffine(image, matrix, image.shape[1::-1])


@pytest.fixture
def face(portraits):
    return portraits[0]


def test_descriptors_of_two_people_are_far_apart(portraits):
    first, second = (describe(*portrait) for portrait in portraits)
    assert distance(first, second)[0] > UNLIKE


@pytest.mark.parametrize('gain', [0.5, 0.8, 1.15])
def test_descriptor_does_not_depend_on_light(face, gain):
    image, box = face
    darker = cv2.convertScaleAbs(image, alpha=gain)
    assert distance(describe(image, box), describe(darker, box))[0] < ALIKE


@pytest.mark.parametrize('scale', [0.4, 0.7])
def test_descriptor_does_not_depend_on_size(face, scale):
    image, box = face
    smaller = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    assert distance(describe(image, box), describe(smaller, box * scale))[0] < ALIKE


def test_tilted_head_is_set_upright(face):
    image, box = face
    center = tuple(((box[:2] + box[2:]) / 2).tolist())
    leaning = turned(image, center, -25, 1.0)
    eyes = np.array([[[-1, 0], [1, 0]] + [[0, 0]] * 3], float)
    angle = np.radians(25)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = roll_angles(eyes @ rotation.T)
    assert found[0] == pytest.approx(angle)
    upright = describe(image, box)
    assert distance(upright, describe(leaning, box, found[0]))[0] < ALIKE
    assert distance(upright, describe(leaning, box, found[0])) < distance(
        upright, describe(leaning, box)
    )


@pytest.mark.parametrize('side', ['left', 'right', 'below'])
def test_half_hidden_face_still_matches_itself(face, side):
    image, box = face[0].copy(), face[1]
    x, y = ((box[:2] + box[2:]) / 2).astype(int)
    part = {'left': np.s_[:, : x - 10], 'right': np.s_[:, x + 10 :], 'below': np.s_[y + 15 :]}[
        side
    ]
    image[part] = (60, 90, 120)
    assert distance(describe(face[0], box), describe(image, box))[0] < UNLIKE


def test_missing_landmarks_mean_an_upright_head():
    marks = np.full((2, 5, 2), np.nan)
    marks[1] = [[0, 0], [0, 5], [0, 0], [0, 0], [0, 0]]  # eyes above each other: nonsense
    assert roll_angles(marks).tolist() == [0, 0]


def test_many_faces_and_none_are_described():
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    boxes = np.tile([100.0, 100, 150, 160], (2500, 1))
    looks = extract_descriptors(ImagePyramid(image), boxes, np.zeros(2500))
    assert looks.shape == (2500, SIZE)
    assert np.ptp(looks, axis=0).max() < 1e-5
    assert extract_descriptors(ImagePyramid(image), boxes[:0], np.zeros(0)).shape == (0, SIZE)
