# SPDX-License-Identifier: Apache-2.0
"""Which faces are good enough, and what is said of the others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from face_tracking.recognition.alignment import TEMPLATE, align_face
from face_tracking.recognition.quality import assess_face, head_angles, sharpness_of
from face_tracking.recognition.recognition_options import QualityOptions

LANDMARKS = np.array([[206, 112], [244, 108], [229, 130], [212, 148], [246, 145]], float)
BOX = np.array([178.0, 63, 268, 176])


def assess(image, landmarks=LANDMARKS, box=BOX, score=0.9, **options):
    """Assess the astronaut's face, or a variant of it."""
    crop = align_face(image, landmarks)
    return assess_face(crop, landmarks, box, score, image.shape, QualityOptions(**options))


def test_sharp_frontal_face_is_good(astronaut):
    quality = assess(astronaut)
    assert quality.good, quality.reasons
    assert 0.3 < quality.weight <= 1


def test_blurred_face_is_refused(astronaut):
    sharp, blurred = (
        sharpness_of(align_face(image, LANDMARKS))
        for image in (astronaut, cv2.GaussianBlur(astronaut, (0, 0), 6))
    )
    assert blurred < 0.6 * sharp
    quality = assess(cv2.GaussianBlur(astronaut, (0, 0), 6), min_sharpness=(sharp + blurred) / 2)
    assert any('blurred' in reason for reason in quality.reasons)


def test_small_face_and_unsure_detection_are_refused(astronaut):
    quality = assess(astronaut, min_face_size=100, score=0.2)
    text = ', '.join(quality.reasons)
    assert '90 pixels small' in text
    assert 'unsure (score 0.20)' in text


def test_face_cut_by_the_edge_is_refused(astronaut):
    cut = np.ascontiguousarray(astronaut[:, 222:])
    shift = np.array([222.0, 0])
    quality = assess(cut, LANDMARKS - shift, BOX - [222, 0, 222, 0])
    assert any('cut off' in reason for reason in quality.reasons)


def face_turned(yaw: float, pitch: float = 0.0) -> np.ndarray:
    """Return the landmarks of a solid head turned by angles in radians, seen from afar."""
    solid = np.column_stack([TEMPLATE - TEMPLATE.mean(0), [0, 0, 20.5, 0, 0]])
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    return (solid @ turn.T @ nod.T)[:, :2] + 100


@pytest.mark.parametrize('degrees', [-45, -25, 0, 25, 45])
def test_yaw_follows_a_solid_head(degrees):
    yaw, _, roll = head_angles(face_turned(np.radians(degrees)))
    assert np.degrees(yaw) == pytest.approx(degrees, abs=12)
    assert abs(roll) < 0.1


def test_raised_and_lowered_heads_are_distinguished():
    up, down = (head_angles(face_turned(0, np.radians(angle)))[1] for angle in (-25, 25))
    assert up < -0.2 < 0.2 < down


def test_profile_is_refused(astronaut):
    landmarks = face_turned(np.radians(70)) + 120
    quality = assess(astronaut, landmarks, np.array([170.0, 170, 270, 270]))
    assert any('turned aside' in reason for reason in quality.reasons)


def test_eyes_and_mouth_in_one_line_are_a_profile():
    line = np.array([[0.0, 0], [10, 0], [5, 0], [2, 0.5], [8, 0.5]])
    assert head_angles(line)[0] == pytest.approx(np.pi / 2)


def test_points_of_no_face_are_refused(astronaut):
    scrambled = LANDMARKS[[3, 0, 4, 1, 2]]
    assert not assess(astronaut, scrambled).good
