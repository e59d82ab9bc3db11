# SPDX-License-Identifier: Apache-2.0
"""The overlap of a few boxes in plain numbers is what the arrays give."""

import numpy as np
import pytest

from face_tracking import boxes

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('counts', [(0, 3), (1, 1), (1, 4), (2, 2)])
def test_the_overlap_of_few_boxes_is_that_of_the_arrays(counts, dtype):
    # Some are inverted or without an area.
    first, second = (RANDOM.integers(0, 6, (count, 4)).astype(dtype) for count in counts)
    found, expected = boxes.iou(first, second), boxes._iou_of_many(first, second)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)
