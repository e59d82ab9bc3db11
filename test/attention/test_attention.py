# SPDX-License-Identifier: Apache-2.0
"""The decision who looks at the robot: hysteresis, times, and stamps that jump."""

from __future__ import annotations

import math

import numpy as np
import pytest

from face_tracking.attention.attention import AttentionEstimator
from face_tracking.attention.attention_options import AttentionOptions
from face_tracking.attention.calibration import BUNDLED_DETECTOR, EXACT_LANDMARKS, with_angles
from face_tracking.attention.head_pose import LANDMARKS, estimate_head_pose, rotation_of
from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError

CAMERA = CameraModel.from_fov(640, 480, 1.15)
SECOND = 10**9
EXACT = AttentionOptions(attention_calibration=False)


def face(degrees: float, track: int = 1, width: float = 60.0):
    """Return a face that is turned by a yaw."""
    points = LANDMARKS @ rotation_of(math.radians(degrees), 0, 0).T + (0.0, 0.0, 0.8)
    return track, CAMERA.project(points), width


def run(estimator, start, seconds, degrees, rate=30):
    """Show a face for some seconds and return the last result and the stamp after it."""
    result = None
    for index in range(int(seconds * rate)):
        stamp = start + index * SECOND // rate
        (result,) = estimator.update(stamp, [face(degrees)], CAMERA)
    return result, start + int(seconds * SECOND)


def test_face_turned_to_the_camera_looks_at_it():
    (result,) = AttentionEstimator().update(0, [face(5)], CAMERA)
    assert result.looking
    assert result.confidence > 0.7
    (exact,) = AttentionEstimator(EXACT).update(0, [face(5)], CAMERA)
    assert exact.confidence > 0.95, 'exact landmarks leave less doubt'
    (result,) = AttentionEstimator().update(0, [face(45)], CAMERA)
    assert not result.looking
    assert result.confidence > 0.9


def test_state_changes_after_the_set_time_only():
    estimator = AttentionEstimator(
        AttentionOptions(attention_smoothing=0.0, attention_time=0.5, attention_calibration=False)
    )
    _, stamp = run(estimator, 0, 1.0, 0)
    result, stamp = run(estimator, stamp, 0.4, 40)
    assert result.looking
    result, stamp = run(estimator, stamp, 0.4, 40)
    assert not result.looking
    assert result.since < stamp


def test_angle_between_the_thresholds_changes_nothing():
    options = AttentionOptions(attention_smoothing=0.0, attention_calibration=False)
    between = math.degrees(options.attention_angle + options.attention_hysteresis / 2)
    estimator = AttentionEstimator(options)
    _, stamp = run(estimator, 0, 1.0, 0)
    result, _ = run(estimator, stamp, 2.0, between)
    assert result.looking
    assert result.confidence > 0.5, 'the probability agrees with the state'
    estimator = AttentionEstimator(options)
    _, stamp = run(estimator, 0, 1.0, 60)
    result, stamp = run(estimator, stamp, 2.0, between)
    assert not result.looking
    # At once inside the threshold, where the angle alone would say the contrary.
    result, _ = run(estimator, stamp, 0.1, 5)
    assert not result.looking
    assert result.confidence > 0.5


def test_small_faces_are_left_out():
    assert AttentionEstimator().update(0, [face(0, width=10.0)], CAMERA) == []


def test_clock_that_is_set_back_starts_again():
    estimator = AttentionEstimator()
    run(estimator, 100 * SECOND, 1.0, 0)
    (result,) = estimator.update(SECOND, [face(60)], CAMERA)
    assert not result.looking
    assert result.since == SECOND


def test_tracks_are_kept_apart_and_forgotten():
    estimator = AttentionEstimator()
    both = estimator.update(0, [face(0, 1), face(60, 2)], CAMERA)
    assert [(entry.track, entry.looking) for entry in both] == [(1, True), (2, False)]
    estimator.update(10 * SECOND, [face(60, 1)], CAMERA)
    (result,) = estimator.update(20 * SECOND, [face(60, 1)], CAMERA)
    assert not result.looking


def test_angles_that_leave_no_looking_away_are_refused():
    with pytest.raises(UserError, match=r'more than 1\.3 rad together'):
        AttentionOptions(attention_angle=1.0, attention_hysteresis=0.4)


@pytest.mark.parametrize('smoothing', [0.0, 0.5])
def test_rotation_is_that_of_the_corrected_and_filtered_angles(smoothing):
    estimator = AttentionEstimator(AttentionOptions(attention_smoothing=smoothing))
    estimator.update(0, [face(0)], CAMERA)
    (result,) = estimator.update(SECOND // 2, [face(20)], CAMERA)
    share = 1 - math.exp(-0.5 / smoothing) if smoothing else 1.0
    yaw = BUNDLED_DETECTOR.yaw_gain * 20 * share
    assert math.degrees(result.pose.yaw) == pytest.approx(yaw, abs=1.5)
    out_of_the_face = -result.pose.rotation[:, 2]
    assert math.degrees(math.atan2(out_of_the_face[0], -out_of_the_face[2])) == pytest.approx(
        yaw, abs=1.5
    )


def test_correction_of_the_bundled_detector():
    pose = estimate_head_pose(face(20)[1], CAMERA)
    corrected = BUNDLED_DETECTOR(with_angles(pose, 0.2, BUNDLED_DETECTOR.pitch_offset, 0.1))
    assert corrected.yaw == pytest.approx(0.2 * BUNDLED_DETECTOR.yaw_gain)
    assert (corrected.pitch, corrected.roll) == pytest.approx((0.0, 0.1))
    unchanged = EXACT_LANDMARKS(pose)
    assert np.allclose(unchanged.rotation, pose.rotation)
