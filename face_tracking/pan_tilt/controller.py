# SPDX-License-Identifier: Apache-2.0
"""The head's behavior: whom it follows, what it does without anybody, and how the joints move.

It works in angles around the base. A face's direction is measured from its pixels, the camera
model and the joints as they were when the image was taken; filtered; and predicted to the
moment when the joints will have done what they are told now. Hence the latency of camera,
detector and servos neither makes the head lag nor swing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from face_tracking.boxes import to_center_size
from face_tracking.camera_model import CameraModel
from face_tracking.faces import Tracks
from face_tracking.pan_tilt.angle_filter import AngleFilter
from face_tracking.pan_tilt.head_options import HeadOptions
from face_tracking.pan_tilt.kinematics import JointHistory, joint_angles
from face_tracking.pan_tilt.target_selector import Candidate, TargetSelector
from face_tracking.pan_tilt.trajectory import Trajectory

SEARCH_MARGIN = 0.9  # share of the range that searching sweeps
ARRIVED = math.radians(1.0)
FORGET = 10.0  # seconds after which a face that is gone is forgotten
WINDUP_ZONE = math.radians(10)  # farther off the face, the integral rests: that is a saccade
LARGEST_PIXEL = 1e6


class State(str, Enum):
    """What the head is doing."""

    IDLE = 'idle'
    TRACKING = 'tracking'
    LOST = 'lost'
    SEARCHING = 'searching'
    HOMING = 'homing'


@dataclass(frozen=True)
class Command:
    """What the joints are to do now.

    :ivar stamp: nanoseconds.
    :ivar positions: pan and tilt in radians.
    :ivar velocities: in rad/s.
    :ivar state: what the head is doing.
    :ivar target: the track it looks at or waits for, None for nobody.
    """

    stamp: int
    positions: tuple[float, float]
    velocities: tuple[float, float]
    state: State
    target: int | None


class HeadController:
    """Turns tracks into commands for two joints. It never reads a clock.

    Call :meth:`observe` with each round of tracks and :meth:`tick` at the control rate, both from
    one thread at a time.

    :param options: may be replaced by :meth:`configure` at any time.
    :ivar state: what the head is doing.
    :ivar stale: whether no tracks have come for too long.
    """

    def __init__(self, options: HeadOptions | None = None):
        self._options = options or HeadOptions()
        limits = self._options.limits()
        home = (self._options.home_pan, self._options.home_tilt)
        self._joints = [
            Trajectory(limit, angle) for limit, angle in zip(limits, home, strict=True)
        ]
        self._history = JointHistory()
        self._measured = False
        self._chooser = TargetSelector()
        self._faces: dict[int, AngleFilter] = {}
        self._integral = np.zeros(2)
        self._stands = [False, False]
        self._in_view: list[Candidate] = []
        self._held: int | None = None
        self._now: int | None = None
        self._heard: int | None = None
        self._newest: int | None = None
        self._sought_since = 0
        self._seek_side = 1.0
        self.state = State.IDLE

    @property
    def options(self) -> HeadOptions:
        """The options in force."""
        return self._options

    @property
    def target(self) -> int | None:
        """The track looked at or waited for."""
        return self._chooser.chosen

    @property
    def stale(self) -> bool:
        """Whether no tracks have come for too long, by the last tick."""
        if self._heard is None or self._now is None:
            return True
        return (self._now - self._heard) / 1e9 > self._options.stale_timeout

    @property
    def positions(self) -> tuple[float, float]:
        """Pan and tilt as commanded now."""
        return tuple(joint.state.position for joint in self._joints)

    @property
    def at_rest(self) -> bool:
        """Whether both joints are commanded to stand."""
        return all(joint.at_rest for joint in self._joints)

    def configure(self, options: HeadOptions) -> None:
        """Put other options in force; the motion goes on smoothly."""
        self._options = options
        for joint, limits in zip(self._joints, options.limits(), strict=True):
            joint.set_limits(limits)

    def start_from(self, pan: float, tilt: float) -> None:
        """Begin at rest where the joints were found."""
        for joint, position in zip(self._joints, (pan, tilt), strict=True):
            if math.isfinite(position):
                joint.restart(position)
        self._integral[:] = 0

    def measure(self, stamp: int, pan: float, tilt: float) -> None:
        """Take the joints' measured angles; from then on these count, not those commanded."""
        if math.isfinite(pan) and math.isfinite(tilt):
            if not self._measured:
                self._history = JointHistory()
                self._measured = True
            self._history.add(stamp, pan, tilt)

    def observe(self, tracks: Tracks, camera: CameraModel, now: int) -> None:
        """Take a round of tracks; an empty one is news too.

        Boxes that are not finite or have no area are left out, and rounds that are older than
        one already taken, or from the future.

        :param camera: for the size of the image that the boxes refer to.
        :param now: when it arrived, nanoseconds.
        """
        if tracks.stamp > now or (
            self._newest is not None and tracks.stamp < self._newest and self._newest <= now
        ):
            return
        interval = 0.0 if self._newest is None else (tracks.stamp - self._newest) / 1e9
        self._heard, self._newest = now, tracks.stamp
        boxes = np.asarray(tracks.boxes, np.float64).reshape(-1, 4)
        rows = _usable(boxes)
        taken = self._image_time(tracks.stamp)
        then = self._history.at(taken) or self.positions
        turning = self._history.rates(taken)
        places = to_center_size(boxes[rows])
        angles = joint_angles(places[:, :2], camera, *then)
        seen = []
        for identity, place, angle in zip(
            np.asarray(tracks.ids)[rows].tolist(), places, angles, strict=True
        ):
            bearing = self._sight(identity, angle, tracks.stamp, turning)
            offset = float(np.hypot(*(angle - then)))
            seen.append(
                Candidate(
                    identity,
                    math.sqrt(place[2] * place[3]),
                    offset,
                    (tracks.stamp - bearing.born) / 1e9,
                )
            )
        self._choose(seen, now)
        self._integrate(angles, seen, then, min(interval, 0.1))
        self._forget(now)

    def tick(self, now: int, stand: bool = False) -> Command:
        """Move on to ``now`` and return what the joints are to do.

        :param stand: watch, but bring the joints to rest: they cannot be commanded just now.
        """
        dt = 0.0 if self._now is None else max((now - self._now) / 1e9, 0.0)
        self._now = now
        self._change_state(now)
        velocities = np.zeros(2) if stand else self._wanted_velocities(now)
        for joint, velocity in zip(self._joints, velocities, strict=True):
            joint.step(float(velocity), dt)
        return self._command(now)

    def brake(self, now: int) -> Command:
        """Move on to ``now`` coming to rest, whatever there is to see."""
        dt = 0.0 if self._now is None else max((now - self._now) / 1e9, 0.0)
        self._now = now
        self.state = State.IDLE
        self._chooser.release()
        for joint in self._joints:
            joint.step(0.0, dt)
        return self._command(now)

    def look_at_next(self) -> int | None:
        """Turn to the face in view with the next id and hold it; return it, None without one."""
        in_view = sorted(face.identity for face in self._in_view)
        if not in_view:
            return None
        later = [identity for identity in in_view if identity > (self.target or 0)]
        self._held = (later or in_view)[0]
        return self._held

    def hold_target(self) -> int | None:
        """Hold the present target, whatever the policy; return it, None without one."""
        self._held = self.target
        return self._held

    def release_target(self) -> None:
        """Choose by the policy again."""
        self._held = None

    def _command(self, now: int) -> Command:
        if not self._measured:
            self._history.add(now, *self.positions)
        return Command(
            now,
            self.positions,
            tuple(joint.state.velocity for joint in self._joints),
            self.state,
            self._chooser.chosen,
        )

    def _image_time(self, stamp: int) -> int:
        """Return when a command was given that the joints had carried out at a stamp."""
        return stamp if self._measured else stamp - round(self._options.servo_delay * 1e9)

    def _sight(
        self, identity: int, angle: np.ndarray, stamp: int, turning: np.ndarray
    ) -> AngleFilter:
        options = self._options
        face = self._faces.get(identity)
        if face is None:
            face = self._faces[identity] = AngleFilter(
                angle, stamp, options.angle_noise, options.target_accel_stddev
            )
        else:
            # What crosses the image quickly is carried less exactly, and lags.
            face.update(
                angle, stamp, options.motion_blur_noise * float(np.hypot(*(face.rates - turning)))
            )
        return face

    def _choose(self, seen: list[Candidate], now: int) -> None:
        options, before = self._options, self._chooser.chosen
        if before is not None and all(face.identity != before for face in seen):
            self._rejoin(seen, now)
        self._in_view = seen
        policy, identity = (
            (options.target, options.target_id) if self._held is None else ('id', self._held)
        )
        self._chooser.choose(
            seen, now, policy, identity, options.switch_margin, options.switch_time
        )
        if self._chooser.chosen != before:
            self._integral[:] = 0

    def _rejoin(self, seen: list[Candidate], now: int) -> None:
        """Take a new face near the place of the lost one for it: the tracker lost the thread."""
        lost = self._faces.get(self._chooser.chosen)
        if lost is None or (self._options.target == 'id' and self._held is None):
            return
        for face in seen:
            bearing = self._faces[face.identity]
            place, _ = lost.at(bearing.stamp)
            if (
                bearing.born > lost.stamp
                and np.hypot(*(bearing.angles - place)) <= self._options.reacquire_angle
            ):
                self._chooser.adopt(face.identity)
                self._held = None if self._held is None else face.identity
                return

    def _integrate(
        self, angles: np.ndarray, seen: list[Candidate], then: tuple[float, float], interval: float
    ) -> None:
        """Add up how far off the middle the target stays, unless the head is on its way to it."""
        row = next(
            (row for row, face in enumerate(seen) if face.identity == self._chooser.chosen), None
        )
        if row is None or self._options.ki == 0:
            self._integral *= 0
            return
        error = angles[row] - then
        near = np.abs(error) < WINDUP_ZONE
        limit = self._options.integral_limit
        grown = np.clip(self._integral + near * error * interval, -limit, limit)
        self._integral = np.where(self._saturated(error), self._integral, grown)

    def _saturated(self, error: np.ndarray) -> np.ndarray:
        """Return which joints cannot follow: growing their integral would only wind it up."""
        result = []
        for joint, off in zip(self._joints, error, strict=True):
            state, limits = joint.state, joint.limits
            room = limits.upper - state.position if off > 0 else state.position - limits.lower
            result.append(room < ARRIVED or abs(state.velocity) > 0.95 * limits.velocity)
        return np.array(result)

    def _forget(self, now: int) -> None:
        for identity in [
            identity for identity, face in self._faces.items() if (now - face.stamp) / 1e9 > FORGET
        ]:
            if identity != self._chooser.chosen:
                del self._faces[identity]

    def _change_state(self, now: int) -> None:
        unseen = self._unseen(now)
        if self.stale:
            # Without news there is nothing to follow, search or know: the head stands.
            self.state = State.IDLE
            self._chooser.release()
        elif unseen is not None and unseen <= self._patience():
            self.state = State.TRACKING
        elif unseen is not None and unseen <= self._options.lost_timeout:
            self.state = State.LOST
        elif unseen is not None or self.state in (State.TRACKING, State.LOST):
            self._give_up(now)
        elif (
            self.state is State.SEARCHING
            and (now - self._sought_since) / 1e9 > self._options.search_time
        ):
            self.state = State.HOMING
        elif self.state is State.HOMING and self._is_home():
            self.state = State.IDLE

    def _unseen(self, now: int) -> float | None:
        """Return the seconds since the target was last seen, None without one."""
        face = self._faces.get(self._chooser.chosen)
        if face is None or self._newest is None:
            return None
        # Against the newest image's stamp, so that latency does not count as absence.
        return max(self._newest - face.stamp, 0) / 1e9

    def _patience(self) -> float:
        """Return the seconds for which an unseen target is not yet called lost."""
        return min(0.15, self._options.lost_timeout)

    def _give_up(self, now: int) -> None:
        face = self._faces.get(self._chooser.chosen)
        if face is not None:
            self._seek_side = 1.0 if face.at(now)[0][0] >= self.positions[0] else -1.0
        self._chooser.release()
        self._held = None
        self._sought_since = now
        self.state = {'search': State.SEARCHING, 'home': State.HOMING, 'stay': State.IDLE}[
            self._options.lost_behavior
        ]

    def _is_home(self) -> bool:
        home = self._home()
        return bool(np.abs(np.array(self.positions) - home).max() < ARRIVED) and self.at_rest

    def _home(self) -> np.ndarray:
        return np.array(
            [
                joint.reachable(angle)
                for joint, angle in zip(
                    self._joints, (self._options.home_pan, self._options.home_tilt), strict=True
                )
            ]
        )

    def _wanted_velocities(self, now: int) -> np.ndarray:
        if self.state in (State.TRACKING, State.LOST):
            return self._follow(now)
        if self.state is State.SEARCHING:
            return self._walk_to(self._sweep())
        if self.state is State.HOMING:
            return self._walk_to(self._home())
        return np.zeros(2)

    def _follow(self, now: int) -> np.ndarray:
        """PID on the angle between the head and where the face will be, with feed-forward."""
        options = self._options
        ahead = now + round(options.servo_delay * 1e9)
        angles, rates = self._faces[self._chooser.chosen].at(ahead)
        wanted = np.zeros(2)
        for axis, joint in enumerate(self._joints):
            position, velocity, _ = joint.state
            error = joint.reachable(angles[axis]) - position
            if self._may_stand(axis, error, rates[axis]):
                continue
            # No faster than that the head, coming from a face that stands, could still stop.
            speed = min(abs(options.kp * error), abs(joint.approach(error)))
            wanted[axis] = (
                options.feed_forward * rates[axis]
                + math.copysign(speed, error)
                + options.ki * self._integral[axis]
                + options.kd * (rates[axis] - velocity)
            )
        return wanted

    def _may_stand(self, axis: int, error: float, rate: float) -> bool:
        """Tell whether a joint may stand: near enough to a face that stands, with hysteresis.

        While it stands the images are at their best, and what the joints are not told they
        cannot do wrong: so the loop comes to rest instead of hunting within the gears' play.
        """
        factor = 1.5 if self._stands[axis] else 1.0
        self._stands[axis] = (
            abs(error) <= factor * self._options.dead_zone
            and abs(rate) <= factor * self._options.stationary_speed
        )
        return self._stands[axis]

    def _walk_to(self, angles: np.ndarray) -> np.ndarray:
        speed = self._options.search_speed
        result = []
        for joint, angle in zip(self._joints, angles, strict=True):
            error = angle - joint.state.position
            limit = min(speed, abs(joint.approach(error)), abs(4 * error))
            result.append(math.copysign(limit, error))
        return np.array(result)

    def _sweep(self) -> np.ndarray:
        """Return the end of the range that is searched now; turn round when it is reached."""
        pan, home = self._joints[0], self._home()
        middle = (pan.limits.lower + pan.limits.upper) / 2
        reach = SEARCH_MARGIN * (pan.limits.upper - pan.limits.lower) / 2
        end = middle + self._seek_side * reach
        if abs(end - pan.state.position) < ARRIVED:
            self._seek_side = -self._seek_side
            end = middle + self._seek_side * reach
        return np.array([end, home[1]])


def _usable(boxes: np.ndarray) -> np.ndarray:
    """Return the rows of boxes (N, 4) that are boxes in an image."""
    finite = np.isfinite(boxes).all(axis=1) & (np.abs(boxes) < LARGEST_PIXEL).all(axis=1)
    return np.flatnonzero(finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
