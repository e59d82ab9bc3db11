# SPDX-License-Identifier: Apache-2.0
"""The closed form agrees with the textbook's matrices."""

import numpy as np
import pytest

from face_tracking.tracking import kalman
from face_tracking.tracking.kalman import States

BOXES = np.array([[100.0, 50, 180, 150], [10, 20, 50, 70]])


def random_states(seed=0):
    rng = np.random.default_rng(seed)
    states = States.from_boxes(BOXES).predicted(0.1)
    states.rates.T[:] = rng.normal(size=(2, 4)) * [50, 50, 0.3, 0.3]
    return states


def as_matrices(states, row, part):
    variance, joint, rate_variance = states.covariance[:, part, row]
    return states.mean[:, part, row], np.array([[variance, joint], [joint, rate_variance]])


@pytest.mark.parametrize('which', [0, 1])
def test_a_correction_is_that_of_the_matrix_filter(which):
    states = random_states()
    measured = states.mean[which] + np.array([[3.0, -2, 0.1, 0.2], [1, 1, -0.1, 0.0]]).T
    variance = np.full((4, 2), 0.5)
    variance[3, 1] = np.inf  # not measured
    after = states._corrected(measured, variance, which)
    observe = np.eye(2)[which : which + 1]
    for row in range(2):
        for part in range(4):
            mean, covariance = as_matrices(states, row, part)
            if np.isfinite(variance[part, row]):
                total = observe @ covariance @ observe.T + 0.5
                gain = covariance @ observe.T / total
                mean = mean + gain[:, 0] * (measured[part, row] - mean[which])
                covariance = (np.eye(2) - gain @ observe) @ covariance
            got_mean, got_covariance = as_matrices(after, row, part)
            np.testing.assert_allclose(got_mean, mean)
            np.testing.assert_allclose(got_covariance, covariance, atol=1e-12)


def test_a_prediction_is_that_of_the_matrix_filter():
    states, seconds = random_states(), 0.2
    after = states.predicted(seconds)
    for row in range(2):
        for part in range(4):
            mean, covariance = as_matrices(states, row, part)
            kept = np.exp(-seconds / kalman.RATE_DECAY[part, 0])
            transition = np.array([[1, kalman.RATE_DECAY[part, 0] * (1 - kept)], [0, kept]])
            got_mean, got_covariance = as_matrices(after, row, part)
            np.testing.assert_allclose(got_mean, transition @ mean)
            noise = got_covariance - transition @ covariance @ transition.T
            assert (np.linalg.eigvalsh(noise) > 0).all()


def test_two_short_predictions_move_as_far_as_one_long_one():
    states = random_states()
    twice, once = states.predicted(0.1).predicted(0.1), states.predicted(0.2)
    np.testing.assert_allclose(twice.mean, once.mean)


def test_a_measured_motion_becomes_the_prediction():
    states = States.from_boxes(BOXES)
    moved = np.tile([4.0, -3.0, 0.05, 0.02], (2, 1))
    after = states.moved(moved, 0.04, np.full((2, 4), 1e-4)).predicted(0.04)
    np.testing.assert_allclose((after.values - states.values).T, moved, rtol=1e-3)


def test_repeated_detections_pull_the_state_to_the_box():
    states = States.from_boxes(BOXES)
    there = BOXES + 15
    for _ in range(30):
        states = states.predicted(0.1).detected(there)
    np.testing.assert_allclose(states.boxes(), there, atol=0.5)


def test_a_new_resolution_scales_boxes_and_rates():
    states = random_states()
    after = states.scaled(2.0, 0.5)
    np.testing.assert_allclose(after.boxes(), states.boxes() * [2, 0.5, 2, 0.5])
    np.testing.assert_allclose(after.rates[:2].T, states.rates[:2].T * [2, 0.5])
