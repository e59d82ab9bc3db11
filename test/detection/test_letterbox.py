# SPDX-License-Identifier: Apache-2.0
"""Images of any size fit, keep their aspect, and find their way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.detection.letterbox import Letterbox
from face_tracking.errors import UserError


def test_image_of_the_right_size_is_handed_on_as_it_is(astronaut):
    fitted, fit = Letterbox(512, 512)(astronaut)
    assert fitted is astronaut and fit == (1, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.sampled_from([(320, 240), (64, 64)]),
    st.sampled_from([None, 40]),
)
def test_content_keeps_its_position(width, height, size, long_side):
    letterbox = Letterbox(*size, long_side)
    letterbox(np.full((7, 5, 3), 9, np.uint8))  # leaves traces, were the border not cleared
    fitted, fit = letterbox(np.full((height, width, 3), 200, np.uint8))
    assert fitted.shape == (size[1], size[0], 3) and fitted.dtype == np.uint8
    lit = np.argwhere(fitted[..., 0] > 0)
    rows, columns = lit.max(axis=0) + 1
    assert columns * fit.x == pytest.approx(width) and rows * fit.y == pytest.approx(height)
    assert len(lit) == rows * columns and (fitted[:rows, :columns] == 200).all()
    if long_side:
        assert max(rows, columns) <= long_side
    else:
        assert columns == size[0] or rows == size[1]


@pytest.mark.parametrize('factor', [1.5, 2, 2.6, 3, 4, 5.2, 9])
def test_large_images_are_not_sampled_but_averaged(astronaut, factor):
    source = cv2.resize(astronaut, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    side = round(1024 / factor)
    fitted, _ = Letterbox(side, side)(source)
    exact = cv2.resize(source, (side, side), interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(fitted, exact) > 27


@pytest.mark.parametrize('shape', [(0, 0, 3), (10, 0, 3), (10, 10), (10, 10, 4), (10, 10, 1)])
def test_array_that_is_not_an_image_is_refused(shape):
    with pytest.raises(UserError, match='image'):
        Letterbox(32, 32)(np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match='float32'):
        Letterbox(32, 32)(np.zeros((10, 10, 3), np.float32))
