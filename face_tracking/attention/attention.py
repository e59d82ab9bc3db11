# SPDX-License-Identifier: Apache-2.0
"""Who looks at the robot: head poses filtered over each track, and a decision with hysteresis.

Only the direction of the head is measured. Eyes can look elsewhere, so that the result means
"turned to the robot", which is what people do when they address it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from face_tracking.arrays import Array
from face_tracking.attention.attention_options import AttentionOptions
from face_tracking.attention.calibration import (
    BUNDLED_DETECTOR,
    EXACT_LANDMARKS,
    Calibration,
    with_angles,
)
from face_tracking.attention.head_pose import HeadPose, estimate_head_pose
from face_tracking.camera_model import CameraModel

FORGET_AFTER = 2.0
"""Seconds without a pose after which the state of a track is discarded."""
_NANOSECONDS = 1e9


@dataclass(frozen=True, eq=False)
class Attention:
    """What is known of one track.

    :ivar track: the id of the track.
    :ivar pose: the filtered pose.
    :ivar looking: whether the person looks at the robot.
    :ivar confidence: probability that ``looking`` is right, by Gaussian errors of yaw and pitch;
        at least :data:`MIN_CONFIDENCE`, also where hysteresis keeps a state on the other side of
        the threshold.
    :ivar since: stamp, in nanoseconds, of the last change of ``looking``.
    """

    track: int
    pose: HeadPose
    looking: bool
    confidence: float
    since: int
    calibration: Calibration = BUNDLED_DETECTOR


MIN_CONFIDENCE = 0.51
"""Above one half, so that a threshold of 0.5 on the probability gives the decision itself."""
_STEPS = np.linspace(-3, 3, 13)  # standard deviations
_DENSITY = np.exp(-(_STEPS**2) / 2)
_WEIGHTS = np.outer(_DENSITY, _DENSITY) / _DENSITY.sum() ** 2


@dataclass
class _State:
    stamp: int
    pose: HeadPose
    looking: bool
    since: int
    other_side_from: int | None = None


class AttentionEstimator:
    """Keeps the pose and the decision of each track.

    :param options: thresholds and times.
    """

    def __init__(self, options: AttentionOptions | None = None):
        self.options = options or AttentionOptions()
        self._states: dict[int, _State] = {}

    def update(
        self, stamp: int, faces: Iterable[tuple[int, Array, float]], camera: CameraModel
    ) -> list[Attention]:
        """Return the attention of each face whose pose can be estimated.

        A stamp that goes back, as after a change of the clock, discards all states.

        :param stamp: of the image, in nanoseconds.
        :param faces: (track id, landmarks (5, 2) in pixels, width of the box in pixels) each.
        :param camera: the intrinsics of the image.
        """
        if any(state.stamp > stamp for state in self._states.values()):
            self._states.clear()
        found: list[Attention] = []
        for track, landmarks, width in faces:
            if width < self.options.attention_min_size:
                continue
            pose = estimate_head_pose(landmarks, camera)
            if pose is not None:
                found.append(self._update(track, stamp, self.calibration(pose)))
        self._forget(stamp)
        return found

    @property
    def calibration(self) -> Calibration:
        """The corrections of the angles, and the errors that remain."""
        return BUNDLED_DETECTOR if self.options.attention_calibration else EXACT_LANDMARKS

    def _update(self, track: int, stamp: int, pose: HeadPose) -> Attention:
        state = self._states.get(track)
        if state is None:
            looking = pose.off_axis < self.options.attention_angle
            state = self._states[track] = _State(stamp, pose, looking, stamp)
        else:
            state.pose = self._filtered(state, stamp, pose)
            state.stamp = stamp
            self._decide(state, stamp)
        confidence = self._confidence(state)
        return Attention(
            track, state.pose, state.looking, confidence, state.since, self.calibration
        )

    def _filtered(self, state: _State, stamp: int, pose: HeadPose) -> HeadPose:
        constant = self.options.attention_smoothing
        if constant <= 0:
            return pose
        share = 1 - math.exp(-(stamp - state.stamp) / _NANOSECONDS / constant)
        old = state.pose
        return with_angles(
            pose,
            old.yaw + share * (pose.yaw - old.yaw),
            old.pitch + share * (pose.pitch - old.pitch),
            old.roll + share * math.remainder(pose.roll - old.roll, math.tau),
        )

    def _decide(self, state: _State, stamp: int) -> None:
        limit = self.options.attention_angle
        if state.looking:
            limit += self.options.attention_hysteresis
        if (state.pose.off_axis < limit) == state.looking:
            state.other_side_from = None
            return
        if state.other_side_from is None:
            state.other_side_from = stamp
        if stamp - state.other_side_from >= self.options.attention_time * _NANOSECONDS:
            state.looking = not state.looking
            state.since, state.other_side_from = stamp, None

    def _confidence(self, state: _State) -> float:
        pose, errors = state.pose, self.calibration
        yaws = pose.yaw + errors.yaw_stddev * _STEPS[:, None]
        pitches = pose.pitch + errors.pitch_stddev * _STEPS
        inside = np.cos(yaws) * np.cos(pitches) > math.cos(self.options.attention_angle)
        looks = float(_WEIGHTS[inside].sum())
        return max(looks if state.looking else 1 - looks, MIN_CONFIDENCE)

    def _forget(self, stamp: int) -> None:
        self._states = {
            track: state
            for track, state in self._states.items()
            if stamp - state.stamp <= FORGET_AFTER * _NANOSECONDS
        }
