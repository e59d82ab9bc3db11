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


def moving(count):
    """Return states in arrays, with rates and correlations."""
    states = States.from_boxes(some_boxes(count)).predicted(0.1)
    return States(
        np.stack([states.values, RANDOM.normal(size=(4, count))]), states.covariance.copy()
    )


def assert_equal(found, expected):
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-12)
    np.testing.assert_allclose(found.boxes(), expected.boxes())


FEW_AND_MANY = pytest.mark.parametrize('count', [0, 1, 2, 4, 7, scalar_kalman.MOST + 1])
TIMES = pytest.mark.parametrize('seconds', [1 / 30, 0.5, 100.0])


@FEW_AND_MANY
@TIMES
@pytest.mark.parametrize('share', [1.0, 0.3])
def test_faces_that_move_are_where_the_arrays_say(count, seconds, share):
    states = moving(count)
    motion, deviation = RANDOM.normal(size=(count, 4)), RANDOM.uniform(0.01, 2, (count, 4))
    deviation[:1, 1] = np.inf  # not measured
    expected = states.moved(share * motion, seconds, share * deviation).predicted(seconds)
    assert_equal(scalar_kalman.followed(states, motion, seconds, deviation, share), expected)


@FEW_AND_MANY
@TIMES
def test_faces_are_predicted_as_the_arrays_say(count, seconds):
    states = moving(count)
    assert_equal(scalar_kalman.predicted(states, seconds), states.predicted(seconds))


@FEW_AND_MANY
def test_faces_that_are_detected_are_where_the_arrays_say(count):
    states, boxes, noise = moving(count), some_boxes(count), RANDOM.uniform(1, 3, count)
    assert_equal(scalar_kalman.detected(states, boxes, noise), states.detected(boxes, noise))


@pytest.mark.parametrize('count', [0, 1, 3])
def test_states_in_plain_numbers_are_those_in_arrays(count):
    arrays = moving(count)
    numbers = States.of_faces(arrays.faces)
    assert_equal(numbers, arrays)
    for name in ('box_rows', 'velocity_rows'):
        rows = [getattr(states, name)() for states in (numbers, moving(0).joined(arrays))]
        np.testing.assert_allclose(*rows)


@pytest.mark.parametrize(
    'limits', [(10.0, 10.0, 10.0), (0.01, 10, 10), (10, 0.01, 10), (10, 10, 0.01)]
)
def test_faces_are_as_calm_in_plain_numbers_as_in_arrays(limits):
    arrays = moving(3)
    arrays.mean[1] = 0.5 * np.exp((arrays.values[2] + arrays.values[3]) / 2)
    arrays.mean[1, 2:] = 0.5
    arrays.covariance[2] = 0.25 * np.exp(arrays.values[2] + arrays.values[3])
    arrays = States(arrays.mean, arrays.covariance)
    assert States.of_faces(arrays.faces).are_calm(*limits) == (min(limits) > 1)
    assert moving(0).joined(arrays).are_calm(*limits) == (min(limits) > 1)
    assert States.of_faces([]).are_calm(*limits) and moving(0).are_calm(*limits)


def test_a_size_stays_within_its_limits():
    states = States.from_boxes(np.array([[0.0, 0, 1, 1]]))
    states.values[2:] = -5.0
    found = scalar_kalman.predicted(states, 0.1)
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
