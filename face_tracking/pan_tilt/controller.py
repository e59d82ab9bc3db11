# SPDX-License-Identifier: Apache-2.0
"""The controller of the head: from tracks to commands for two joints.

It works in angles in the frame of the base. The direction of a face follows from its pixels, the
camera model and the joint angles at the time of the image. It is filtered and predicted to the
time when the joints will have executed the present command, so that the latency of camera,
detector and servos causes neither lag nor oscillation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from face_tracking.arrays import Array
from face_tracking.boxes import to_center_size
from face_tracking.camera_model import CameraModel
from face_tracking.faces import Tracks
from face_tracking.pan_tilt.angle_filter import AngleFilter
from face_tracking.pan_tilt.command import Command, State
from face_tracking.pan_tilt.head_options import HeadOptions
from face_tracking.pan_tilt.kinematics import JointHistory, joint_angles
from face_tracking.pan_tilt.target_selector import Candidate, TargetRequest, TargetSelector
from face_tracking.pan_tilt.trajectory import MAX_STEP, Trajectory

SEARCH_RANGE_FRACTION = 0.9
"""Fraction of the pan range that a search sweeps."""
POSITION_TOLERANCE = math.radians(1.0)
"""Distance from the end of a move within which it has arrived, and from a joint limit within
which a joint is at the limit; radians."""
LOST_DELAY = 0.15
"""Seconds out of view after which a face is lost: some images at 30 Hz, so that a single missed
detection does not change the state."""
FILTER_TIMEOUT = 10.0
"""Seconds after which the filter of a face out of view is deleted."""
MAX_FACES = 200
"""Faces of one message that are considered, the largest ones."""
MAX_FILTERS = 1000
"""Faces whose filters are kept, the latest ones."""
MAX_PIXEL = 1e6
MAX_ANGLE = 2 * math.pi
"""Radians; a measured joint angle beyond it is rejected."""
INTEGRATION_ZONE = math.radians(10)
"""Error above which the integral does not grow (anti-windup): the head is turning; radians."""
MAX_INTEGRATION_STEP = 0.1
"""Seconds; after a gap in the tracks the error does not count for the whole gap."""
SATURATION = 0.95
"""Fraction of its velocity limit from which a joint is saturated: a jerk-limited profile levels
off before the limit."""
REST_HYSTERESIS = 1.5
"""Factor on dead_zone and stationary_speed above which a joint at rest starts to move: noise at
their edge must not start and stop it."""
MOVE_GAIN = 4.0
"""Proportional gain of moves without a face, 1/s: slow enough to end without overshoot."""


class HeadController:
    """Turns tracks into commands for two joints. It never reads a clock.

    Call :meth:`observe` with the tracks of each image and :meth:`tick` at the control rate, from
    one thread at a time. All times are nanoseconds of a monotonic clock.

    :param options: replaced by :meth:`configure` at any time.
    :param longest_step: seconds; a longer pause between two ticks counts as this long.
    :ivar state: what the head is doing.
    """

    def __init__(self, options: HeadOptions | None = None, longest_step: float = MAX_STEP):
        self._options = options or HeadOptions()
        self._longest_step = longest_step
        limits = self._options.limits()
        home = (self._options.home_pan, self._options.home_tilt)
        self._joints = [
            Trajectory(limit, angle) for limit, angle in zip(limits, home, strict=True)
        ]
        self._history = JointHistory()
        self._has_feedback = False
        self._selector = TargetSelector()
        self._filters: dict[int, AngleFilter] = {}
        self._people: dict[int, str] = {}
        self._attentive: set[int] = set()
        self._integral = np.zeros(2)
        self._resting = [False, False]
        self._in_view: list[Candidate] = []
        self._held: int | None = None
        self._now: int | None = None
        self._last_arrival: int | None = None
        self._last_stamp: int | None = None
        self._search_start = 0
        # Set when tracks stop while the state is not IDLE, and the time at which they resumed.
        self._interrupted = False
        self._resumed: int | None = None
        self._search_side = 1.0
        self.state = State.IDLE

    @property
    def options(self) -> HeadOptions:
        """The options in use."""
        return self._options

    @property
    def target(self) -> int | None:
        """The track id that the head follows or waits for."""
        return self._selector.selected

    @property
    def stale(self) -> bool:
        """Whether no tracks were received for too long, as of the last tick."""
        if self._last_arrival is None or self._now is None:
            return True
        return (self._now - self._last_arrival) / 1e9 > self._options.stale_timeout

    @property
    def positions(self) -> tuple[float, float]:
        """Commanded pan and tilt, radians."""
        pan, tilt = self._joints
        return pan.state.position, tilt.state.position

    @property
    def at_rest(self) -> bool:
        """Whether both joints are commanded to stand still."""
        return all(joint.at_rest for joint in self._joints)

    def configure(self, options: HeadOptions) -> None:
        """Use other options; the motion stays smooth."""
        self._options = options
        for joint, limits in zip(self._joints, options.limits(), strict=True):
            joint.set_limits(limits)

    def start_from(self, pan: float, tilt: float) -> bool:
        """Start at rest at measured joint angles, moved into the range of the joints.

        :returns: whether the angles are plausible; otherwise nothing changes.
        """
        if not _is_plausible(pan, tilt):
            return False
        for joint, position in zip(self._joints, (pan, tilt), strict=True):
            joint.restart(joint.reachable(position))
        self._integral[:] = 0
        return True

    def measure(self, stamp: int, pan: float, tilt: float) -> bool:
        """Use measured joint angles instead of the commanded ones from now on.

        :returns: whether the angles are plausible; otherwise they are ignored.
        """
        if not _is_plausible(pan, tilt):
            return False
        if not self._has_feedback:
            self._history = JointHistory()
            self._has_feedback = True
        self._history.add(stamp, pan, tilt)
        return True

    def set_names(self, people: Mapping[int, str]) -> None:
        """Set the names of the people by track id, for the target policy ``person``."""
        self._people = dict(people)

    def set_attentive(self, ids: Collection[int]) -> None:
        """Set the track ids that look at the robot, for the policy ``looking_at_me``."""
        self._attentive = set(ids)

    def observe(self, tracks: Tracks, camera: CameraModel, now: int) -> None:
        """Process the tracks of one image; an image without tracks is information, too.

        Boxes that are not finite or have no area are left out. Tracks older than those already
        processed are ignored.

        :param camera: the intrinsics of the image that the boxes refer to.
        :param now: the time of arrival, nanoseconds.
        """
        stamp = min(tracks.stamp, now)
        if self._last_stamp is not None and stamp < self._last_stamp:
            return
        interval = 0.0 if self._last_stamp is None else (stamp - self._last_stamp) / 1e9
        self._last_arrival, self._last_stamp = now, stamp
        commanded = self._command_time(stamp)
        joints = self._history.at(commanded) or self.positions
        ids, sizes, angles = self._directions(tracks, camera, joints)
        in_view = self._update_filters(ids, sizes, angles, joints, stamp, commanded)
        self._select(in_view, now)
        self._integrate(angles, in_view, joints, min(interval, MAX_INTEGRATION_STEP))
        self._delete_old_filters(now)

    def tick(self, now: int, hold_still: bool = False) -> Command:
        """Advance to ``now`` and return what the joints are to do.

        :param hold_still: process tracks, but bring the joints to rest, since they cannot be
            commanded now.
        """
        dt = self._advance_clock(now)
        self._update_state(now)
        velocities = np.zeros(2) if hold_still else self._desired_velocities(now)
        for joint, velocity in zip(self._joints, velocities, strict=True):
            joint.step(float(velocity), dt)
        return self._command(now)

    def brake(self, now: int) -> Command:
        """Advance to ``now`` while coming to rest, whatever is in view."""
        dt = self._advance_clock(now)
        self.state = State.IDLE
        self._selector.release()
        for joint in self._joints:
            joint.step(0.0, dt)
        return self._command(now)

    def look_at_next(self) -> int | None:
        """Turn to the face with the next id and hold it; return the id, None without one."""
        in_view = sorted(face.track_id for face in self._in_view)
        if not in_view:
            return None
        later = [track_id for track_id in in_view if track_id > (self.target or 0)]
        self._held = (later or in_view)[0]
        return self._held

    def hold_target(self) -> int | None:
        """Hold the present target, whatever the policy; return its id, None without one."""
        self._held = self.target
        return self._held

    def release_target(self) -> None:
        """Select the target by the policy again."""
        self._held = None

    def _advance_clock(self, now: int) -> float:
        """Return the seconds since the last tick, bounded."""
        dt = 0.0 if self._now is None else (now - self._now) / 1e9
        self._now = now
        return min(max(dt, 0.0), self._longest_step)

    def _command(self, now: int) -> Command:
        if not self._has_feedback:
            self._history.add(now, *self.positions)
        pan, tilt = self._joints
        return Command(
            now,
            self.positions,
            (pan.state.velocity, tilt.state.velocity),
            self.state,
            self._selector.selected,
        )

    def _command_time(self, stamp: int) -> int:
        """Return when the command was given that the joints had executed at ``stamp``."""
        return stamp if self._has_feedback else stamp - round(self._options.servo_delay * 1e9)

    def _directions(
        self, tracks: Tracks, camera: CameraModel, joints: tuple[float, float]
    ) -> tuple[list[int], Array, Array]:
        """Return ids (N), sizes (N,) in pixels and angles (N, 2) in radians of the valid boxes."""
        boxes = np.asarray(tracks.boxes, np.float64).reshape(-1, 4)
        rows = _valid_rows(boxes)
        centers = to_center_size(boxes[rows])
        sizes = np.sqrt(centers[:, 2] * centers[:, 3])
        angles = joint_angles(centers[:, :2], camera, *joints)
        valid = np.isfinite(angles).all(axis=1)
        if np.count_nonzero(valid) > MAX_FACES:
            valid &= sizes >= np.partition(sizes[valid], -MAX_FACES)[-MAX_FACES]
        ids = np.asarray(tracks.ids)[rows][valid].tolist()
        return ids, sizes[valid], angles[valid]

    def _update_filters(
        self,
        ids: list[int],
        sizes: Array,
        angles: Array,
        joints: tuple[float, float],
        stamp: int,
        commanded: int,
    ) -> list[Candidate]:
        """Correct the filter of each face, and return the faces in view."""
        head_rates = self._history.rates(commanded)
        in_view = []
        for track_id, size, angle in zip(ids, sizes.tolist(), angles, strict=True):
            face = self._update_filter(track_id, angle, stamp, head_rates)
            in_view.append(
                Candidate(
                    track_id,
                    size,
                    offset=float(np.hypot(*(angle - joints))),
                    age=(stamp - face.created) / 1e9,
                    attentive=track_id in self._attentive,
                    person=self._people.get(track_id, ''),
                )
            )
        return in_view

    def _update_filter(
        self, track_id: int, angle: Array, stamp: int, head_rates: Array
    ) -> AngleFilter:
        options = self._options
        face = self._filters.get(track_id)
        if face is None:
            face = self._filters[track_id] = AngleFilter(
                angle, stamp, options.angle_noise, options.target_accel_stddev
            )
        else:
            # A face that moves fast across the image is located less exactly, and with a lag.
            speed = float(np.hypot(*(face.rates - head_rates)))
            face.update(angle, stamp, options.motion_blur_noise * speed)
        return face

    def _select(self, in_view: list[Candidate], now: int) -> None:
        options, before = self._options, self._selector.selected
        if before is not None and all(face.track_id != before for face in in_view):
            self._reacquire(in_view)
        self._in_view = in_view
        policy, track_id = options.target, options.target_id
        if self._held is not None:
            policy, track_id = 'id', self._held
        self._selector.select(
            in_view,
            now,
            TargetRequest(
                policy, track_id, options.target_person, options.switch_margin, options.switch_time
            ),
        )
        if self._selector.selected != before:
            self._integral[:] = 0

    def _reacquire(self, in_view: list[Candidate]) -> None:
        """Adopt a new face near the predicted position of the lost one as the same face."""
        lost = self._target_filter()
        if lost is None or (self._options.target == 'id' and self._held is None):
            return
        for face in in_view:
            found = self._filters[face.track_id]
            predicted, _ = lost.at(found.stamp)
            distance = np.hypot(*(found.angles - predicted))
            if found.created > lost.stamp and distance <= self._options.reacquire_angle:
                self._selector.adopt(face.track_id)
                self._held = None if self._held is None else face.track_id
                return

    def _integrate(
        self,
        angles: Array,
        in_view: list[Candidate],
        joints: tuple[float, float],
        interval: float,
    ) -> None:
        """Integrate the error of the target, except while the head turns to it (anti-windup)."""
        row = next(
            (row for row, face in enumerate(in_view) if face.track_id == self._selector.selected),
            None,
        )
        if row is None or self._options.ki == 0:
            self._integral[:] = 0
            return
        error = angles[row] - joints
        near = np.abs(error) < INTEGRATION_ZONE
        limit = self._options.integral_limit
        grown = np.clip(self._integral + near * error * interval, -limit, limit)
        self._integral = np.where(self._saturated(error), self._integral, grown)

    def _saturated(self, error: Array) -> Array:
        """Return which joints are at a limit of position or velocity, bool (2,)."""
        result = []
        for joint, off in zip(self._joints, error, strict=True):
            state, limits = joint.state, joint.limits
            margin = limits.upper - state.position if off > 0 else state.position - limits.lower
            at_limit = margin < POSITION_TOLERANCE
            result.append(at_limit or abs(state.velocity) > SATURATION * limits.velocity)
        return np.array(result)

    def _target_filter(self) -> AngleFilter | None:
        """Return the filter of the selected face, None without one."""
        selected = self._selector.selected
        return None if selected is None else self._filters.get(selected)

    def _delete_old_filters(self, now: int) -> None:
        self._filters = {
            track_id: face
            for track_id, face in self._filters.items()
            if (now - face.stamp) / 1e9 <= FILTER_TIMEOUT or track_id == self._selector.selected
        }
        if len(self._filters) > MAX_FILTERS:
            latest = sorted(self._filters.items(), key=lambda item: item[1].stamp)
            self._filters = dict(latest[-MAX_FILTERS:])

    def _update_state(self, now: int) -> None:
        unseen = self._time_unseen()
        if self.stale:
            # Without tracks there is nothing to follow or to search for.
            self._interrupted |= self.state is not State.IDLE
            self._resumed = None
            self.state = State.IDLE
            self._selector.release()
        elif unseen is not None and unseen <= min(LOST_DELAY, self._options.lost_timeout):
            self.state = State.TRACKING
            self._interrupted = False
        elif unseen is not None and unseen <= self._options.lost_timeout:
            self.state = State.LOST
        elif unseen is not None or self.state in (State.TRACKING, State.LOST):
            self._give_up(now)
        elif self._interrupted:
            # Otherwise the head would stay turned to where the face was.
            self._resumed = now if self._resumed is None else self._resumed
            if (now - self._resumed) / 1e9 > self._options.lost_timeout:
                self._give_up(now)
        elif (
            self.state is State.SEARCHING
            and (now - self._search_start) / 1e9 > self._options.search_time
        ):
            self.state = State.HOMING
        elif self.state is State.HOMING and self._is_home():
            self.state = State.IDLE

    def _time_unseen(self) -> float | None:
        """Return the seconds since the target was last in view, None without a target."""
        face = self._target_filter()
        if face is None or self._last_stamp is None:
            return None
        # Relative to the newest image, so that latency does not count as absence.
        return max(self._last_stamp - face.stamp, 0) / 1e9

    def _give_up(self, now: int) -> None:
        """Release a target that was out of view for too long."""
        face = self._target_filter()
        if face is not None:
            self._search_side = 1.0 if face.at(now)[0][0] >= self.positions[0] else -1.0
        self._selector.release()
        self._held = None
        self._interrupted = False
        self._search_start = now
        self.state = {'search': State.SEARCHING, 'home': State.HOMING, 'stay': State.IDLE}[
            self._options.lost_behavior
        ]

    def _is_home(self) -> bool:
        distance = np.abs(np.array(self.positions) - self._home()).max()
        return bool(distance < POSITION_TOLERANCE) and self.at_rest

    def _home(self) -> Array:
        home = (self._options.home_pan, self._options.home_tilt)
        return np.array(
            [joint.reachable(angle) for joint, angle in zip(self._joints, home, strict=True)]
        )

    def _desired_velocities(self, now: int) -> Array:
        """Return the desired velocities of pan and tilt, rad/s (2,)."""
        if self.state in (State.TRACKING, State.LOST):
            return self._follow(now)
        if self.state is State.SEARCHING:
            return self._move_to(self._sweep_end())
        if self.state is State.HOMING:
            return self._move_to(self._home())
        return np.zeros(2)

    def _follow(self, now: int) -> Array:
        """PID on the angle between the head and the predicted face, with feed-forward."""
        options, face = self._options, self._target_filter()
        if face is None:
            return np.zeros(2)
        execution = now + round(options.servo_delay * 1e9)
        angles, rates = face.at(execution)
        velocities = np.zeros(2)
        for axis, joint in enumerate(self._joints):
            position, velocity, _ = joint.state
            error = joint.reachable(angles[axis]) - position
            if self._may_rest(axis, error, rates[axis]):
                continue
            # At most the speed from which the head could still stop at a stationary face.
            speed = min(abs(options.kp * error), abs(joint.approach(error)))
            velocities[axis] = (
                options.feed_forward * rates[axis]
                + math.copysign(speed, error)
                + options.ki * self._integral[axis]
                + options.kd * (rates[axis] - velocity)
            )
        return velocities

    def _may_rest(self, axis: int, error: float, rate: float) -> bool:
        """Return whether a joint may rest: near enough to a stationary face, with hysteresis.

        Images are sharpest while the camera is at rest, and the loop comes to rest instead of
        hunting within the backlash of the gears.
        """
        factor = REST_HYSTERESIS if self._resting[axis] else 1.0
        self._resting[axis] = (
            abs(error) <= factor * self._options.dead_zone
            and abs(rate) <= factor * self._options.stationary_speed
        )
        return self._resting[axis]

    def _move_to(self, angles: Array) -> Array:
        speed = self._options.search_speed
        result = []
        for joint, angle in zip(self._joints, angles, strict=True):
            error = angle - joint.state.position
            limit = min(speed, abs(joint.approach(error)), abs(MOVE_GAIN * error))
            result.append(math.copysign(limit, error))
        return np.array(result)

    def _sweep_end(self) -> Array:
        """Return the end of the range that the search moves to; it alternates."""
        pan = self._joints[0]
        middle = (pan.limits.lower + pan.limits.upper) / 2
        reach = SEARCH_RANGE_FRACTION * (pan.limits.upper - pan.limits.lower) / 2
        end = middle + self._search_side * reach
        if abs(end - pan.state.position) < POSITION_TOLERANCE:
            self._search_side = -self._search_side
            end = middle + self._search_side * reach
        return np.array([end, self._home()[1]])


def _is_plausible(pan: float, tilt: float) -> bool:
    return all(math.isfinite(angle) and abs(angle) <= MAX_ANGLE for angle in (pan, tilt))


def _valid_rows(boxes: Array) -> Array:
    """Return the rows of boxes (N, 4) that are finite and have an area."""
    with np.errstate(invalid='ignore'):
        finite = np.isfinite(boxes).all(axis=1) & (np.abs(boxes) < MAX_PIXEL).all(axis=1)
        return np.flatnonzero(finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
