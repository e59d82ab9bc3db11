# SPDX-License-Identifier: Apache-2.0
"""What is computed in plain numbers for a few faces is what the arrays give."""

import numpy as np
import pytest

from face_tracking.tracking import face_flow, scalar_kalman
from face_tracking.tracking.kalman import States

RANDOM = np.random.default_rng(5)


def some_boxes(count):
    corners = RANDOM.uniform(0, 400, (count, 2))
    return np.concatenate([corners, corners + RANDOM.uniform(20, 200, (count, 2))], axis=1)


@pytest.mark.parametrize('count', [1, 2, 4, 7])
@pytest.mark.parametrize('seconds', [1 / 30, 0.5, 100.0])
def test_the_motion_model_in_plain_numbers_is_that_of_the_arrays(count, seconds):
    states = States.from_boxes(some_boxes(count)).predicted(0.1)
    states.rates[:] = RANDOM.normal(size=(4, count))
    motion, deviation = RANDOM.normal(size=(count, 4)), RANDOM.uniform(0.01, 2, (count, 4))
    deviation[0, 1] = np.inf  # not measured
    expected = states.moved(motion, seconds, deviation).predicted(seconds)
    found = scalar_kalman.followed(states, motion, seconds, deviation)
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-12)


def test_a_size_stays_within_its_limits():
    states = States.from_boxes(np.array([[0.0, 0, 1, 1]]))
    states.values[2:] = -5.0
    found = scalar_kalman.followed(states, np.zeros((1, 4)), 0.1, np.full((1, 4), np.inf))
    np.testing.assert_allclose(found.mean, states.predicted(0.1).mean)


@pytest.mark.parametrize('count', [1, 3, 6])
@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_the_sums_over_the_points_of_faces_are_those_of_the_arrays(count, share):
    points = len(face_flow._GRID)
    shift = RANDOM.normal(size=(count * points, 2)) * 3
    good = RANDOM.random(count * points) < share
    sizes = RANDOM.uniform(10, 200, count).tolist()
    expected, counts = face_flow._sums(shift, good, sizes)
    found, counted = face_flow._sums_of_few(shift, good, sizes)
    assert counts == counted
    for few, many in zip(found, expected, strict=True):
        np.testing.assert_allclose(few[0], many[0], atol=1e-12)
        np.testing.assert_allclose(few[1][:2], many[1][:2], atol=1e-12)
        np.testing.assert_allclose(few[2][::2], [many[2][0], many[2][2]], atol=1e-12)


def test_points_on_a_face_lie_around_its_center():
    points = face_flow.points_on(np.array([[100.0, 40, 200, 140]]), np.array([0.5, 0.25]))
    assert points.mean(axis=0) == pytest.approx([75, 22.5])
    np.testing.assert_allclose(np.ptp(points, axis=0), [30, 15], rtol=1e-6)
