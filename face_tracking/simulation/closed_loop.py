# SPDX-License-Identifier: Apache-2.0
"""The closed loop in simulated time: scene, camera on servos, detector, tracker, control.

Detector, tracker and controller are the code that runs on the robot; images and servos are
simulated. Since time is simulated, the result does not depend on the speed of the machine, and
latencies are given, not measured.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from face_tracking import boxes
from face_tracking.arrays import Array
from face_tracking.camera_model import CameraModel
from face_tracking.faces import Detections, Tracks
from face_tracking.frame import Frame
from face_tracking.pan_tilt.command import Command
from face_tracking.simulation.rendering import GroundTruth, Renderer
from face_tracking.simulation.scene import Pose, Scene, direction
from face_tracking.simulation.servo_model import ServoRig
from face_tracking.time_units import SECOND

START = 10 * SECOND  # stamps are counted from here; none is 0


class Detector(Protocol):
    """The interface of the detector."""

    def detect(self, image: Array, stamp: int) -> Detections:
        """Return the faces in an image."""
        ...


class Tracker(Protocol):
    """The interface of the tracker."""

    def step(self, image: Array | Frame, stamp: int) -> Tracks:
        """Return the tracks in the next image."""
        ...

    def add_detections(self, detections: Detections) -> None:
        """Add the detections of an image, which may be late."""


class Head(Protocol):
    """The interface of the controller."""

    def observe(self, tracks: Tracks, camera: CameraModel, now: int) -> None:
        """Process the tracks of one image."""

    def tick(self, now: int) -> Command:
        """Return the command for the joints."""
        ...


@dataclass(frozen=True)
class Timing:
    """Latencies in seconds and rates in hertz.

    :ivar latency: from the exposure of an image to its tracks.
    :ivar detection: additional delay of the detections.
    :ivar detect_interval: the detector runs in every Nth frame.
    """

    rate: float = 30.0
    latency: float = 0.06
    detection: float = 0.03
    detect_interval: int = 5
    control_rate: float = 100.0


@dataclass
class Log:
    """The record of a run, one row for each control step.

    :ivar time: seconds since the start.
    :ivar joints: true pan and tilt, radians (N, 2).
    :ivar commands: commanded pan and tilt, radians (N, 2).
    :ivar faces: true pan and tilt of each person, radians (N, people, 2).
    :ivar looked_at: the person (ground truth) of the track that the head follows; 0 for none (N,).
    :ivar states: what the head was doing.
    """

    time: list[float] = field(default_factory=list)
    joints: list[tuple[float, float]] = field(default_factory=list)
    commands: list[tuple[float, float]] = field(default_factory=list)
    faces: list[Array] = field(default_factory=list)
    looked_at: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    def error(self, identity: int) -> Array:
        """Return the angle, radians (N,), between the view's middle and a person's face."""
        joints, faces = np.array(self.joints), np.array(self.faces)[:, identity - 1]
        cosine = [
            Pose(*(joint * [1, -1])).axes()[2] @ direction(face[0], -face[1])
            for joint, face in zip(joints, faces, strict=True)
        ]
        return np.arccos(np.clip(cosine, -1, 1))


class ClosedLoop:
    """Runs one scene.

    :param on_frame: called with each frame, its tracks and the log so far.
    :ivar who: the person (ground truth) that each track was last on, by track id.
    """

    def __init__(
        self,
        scene: Scene,
        model: CameraModel,
        detector: Detector,
        tracker: Tracker,
        head: Head,
        rig: ServoRig | None = None,
        timing: Timing | None = None,
        on_frame: Callable[[Frame, Tracks, Log], None] | None = None,
    ):
        self.scene, self.model = scene, model
        self.detector, self.tracker, self.head = detector, tracker, head
        self.rig = rig or ServoRig()
        self.timing = timing or Timing()
        self.log = Log()
        self._renderer = Renderer(scene, model)
        self._on_frame = on_frame
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.who: dict[int, int] = {}

    def run(
        self,
        duration: float | None = None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
        at: Mapping[float, Callable[[], None]] | None = None,
    ) -> Log:
        """Run for some seconds (the scene's duration by default) and return the log.

        :param progress: wraps the iterable of control steps, e.g. tqdm.
        :param at: functions to call, by the second at which to call them.
        """
        duration = duration or self.scene.duration
        timing = self.timing
        for index in range(math.ceil(duration * timing.rate)):
            stamp = START + round(index * SECOND / timing.rate)
            self._schedule(stamp, lambda k=index, s=stamp: self._expose(k, s))
        for seconds, action in (at or {}).items():
            self._schedule(START + round(seconds * SECOND), action)
        for step in progress(range(round(duration * timing.control_rate))):
            now = START + round(step * SECOND / timing.control_rate)
            while self._events and self._events[0][0] <= now:
                heapq.heappop(self._events)[2]()
            self._control(now)
        return self.log

    def _schedule(self, stamp: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (stamp, next(self._order), action))

    def _pose(self, stamp: int) -> Pose:
        pan, tilt = self.rig.angles_at(stamp)
        return Pose(pan, -tilt)

    def _expose(self, index: int, stamp: int) -> None:
        """Render an image and schedule its processing."""
        t = (stamp - START) / SECOND
        pose, before = self._pose(stamp), self._pose(stamp - SECOND // 100)
        turning = (
            100 * (pose.azimuth - before.azimuth),
            100 * (pose.elevation - before.elevation),
        )
        image = self._renderer.render(pose, t, index, turning)
        frame = Frame(image, stamp, sequence=index)
        truth = self._renderer.truth(pose, t, stamp)
        arrival = stamp + round(self.timing.latency * SECOND)
        self._schedule(arrival, lambda: self._track(frame, truth))
        if index % self.timing.detect_interval == 0:
            found = self.detector.detect(image, stamp)
            self._schedule(
                arrival + round(self.timing.detection * SECOND),
                lambda: self.tracker.add_detections(found),
            )

    def _track(self, frame: Frame, truth: GroundTruth) -> None:
        tracks = self.tracker.step(frame, frame.stamp)
        self._identify(tracks, truth)
        self.head.observe(tracks, self.model, frame.stamp + round(self.timing.latency * SECOND))
        if self._on_frame is not None:
            self._on_frame(frame, tracks, self.log)

    def _identify(self, tracks: Tracks, truth: GroundTruth) -> None:
        """Record the person that each track is on."""
        overlap = boxes.iou(tracks.boxes, truth.boxes)
        for row, identity in enumerate(tracks.ids.tolist()):
            if len(truth) and overlap[row].max() > 0.3:
                self.who[identity] = int(truth.ids[overlap[row].argmax()])

    def _control(self, now: int) -> None:
        command = self.head.tick(now)
        self.rig.command(*command.positions, now)
        t = (now - START) / SECOND
        people = [actor for actor in self.scene.actors if actor.identity]
        log = self.log
        log.time.append(t)
        log.joints.append(self.rig.angles_at(now))
        log.commands.append(command.positions)
        log.faces.append(np.array([actor.path.at(t)[:2] * [1, -1] for actor in people]))
        log.looked_at.append(0 if command.target is None else self.who.get(command.target, 0))
        log.states.append(str(getattr(command.state, 'value', command.state)))
