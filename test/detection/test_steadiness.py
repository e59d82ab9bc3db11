# SPDX-License-Identifier: Apache-2.0
"""The box of a face stays where the face is while the camera moves by parts of a cell."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import steadiness
from face_tracking.errors import UserError


def test_the_mean_jumps_less_than_the_best_box(portraits):
    images = [image for image, _ in portraits]
    mean, best = steadiness.measured(steadiness.bundled_detector(), images, 24)
    assert mean['found'] == best['found'] == 1 and mean['faces'] == 2
    assert mean['jump'] < 0.85 * best['jump']


def test_shifted_views_show_the_same_content():
    image = np.zeros((200, 300, 3), np.uint8)
    image[80:100, 120:140] = 255
    for look, scale, shift in steadiness.looks(image, 6, np.random.default_rng(2)):
        rows, columns = np.nonzero(look[..., 0] > 127)
        middle = np.array([columns.mean(), rows.mean()])
        np.testing.assert_allclose(middle, np.array([129.5, 89.5]) * scale + shift, atol=0.6)


def test_images_without_faces_are_reported():
    with pytest.raises(UserError, match='no face was found'):
        steadiness.measured(steadiness.bundled_detector(), [np.zeros((240, 320, 3), np.uint8)], 2)
