# SPDX-License-Identifier: Apache-2.0
"""Alignment: the similarity transform, and faces in the standard position."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.recognition.alignment import TEMPLATE, align_face, estimate_similarity


def moved(points, angle, scale, shift):
    """Return points after a similarity transform, and its matrix."""
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ rotation.T + shift, np.column_stack([rotation, shift])


@settings(deadline=None, max_examples=50)
@given(
    st.floats(-3.1, 3.1),
    st.floats(0.05, 20),
    st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
)
def test_any_similarity_is_found_exactly(angle, scale, shift):
    target, matrix = moved(TEMPLATE, angle, scale, shift)
    assert np.allclose(
        estimate_similarity(TEMPLATE, target), matrix, atol=1e-6 * (1 + scale) * 1e3
    )


def test_noise_is_averaged_out_and_nothing_is_mirrored():
    target, matrix = moved(TEMPLATE, 0.3, 2.0, (10, 20))
    noisy = target + np.random.default_rng(0).normal(0, 0.5, target.shape)
    found = estimate_similarity(TEMPLATE, noisy)
    assert np.allclose(found[:, :2], matrix[:, :2], atol=0.1)
    mirrored = TEMPLATE * (-1, 1)
    assert np.linalg.det(estimate_similarity(TEMPLATE, mirrored)[:, :2]) > 0


@pytest.mark.parametrize(
    'bad', [np.full((5, 2), np.nan), np.zeros((5, 2)), np.full((5, 2), np.inf)]
)
def test_unusable_landmarks_are_refused(bad):
    with pytest.raises(ValueError, match='landmarks'):
        estimate_similarity(bad, TEMPLATE)


def test_turned_face_is_aligned_upright_with_the_template():
    image = np.zeros((300, 300, 3), np.uint8)
    points, _ = moved(TEMPLATE - 56, 0.5, 1.5, (150, 140))
    for point in points:
        cv2.circle(image, tuple(np.round(point).astype(int).tolist()), 3, (255, 255, 255), -1)
    crop = align_face(image, points)
    assert crop.shape == (112, 112, 3)
    for x, y in np.round(TEMPLATE).astype(int):
        assert crop[y, x].min() > 128


def test_face_beyond_the_image_is_black_there():
    image = np.full((50, 50, 3), 200, np.uint8)
    crop = align_face(image, TEMPLATE + (20, 0))
    assert crop[20, 100].max() == 0 or crop[20, 5].max() == 0
