# SPDX-License-Identifier: Apache-2.0
"""The whole loop in simulated time: scene, camera on servos, detector, tracker, control.

Everything is what the robot runs, but for the light and the servos. Time is simulated, so that
the result does not depend on the machine; latencies are therefore stated, not measured.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from face_tracking import boxes
from face_tracking.camera_model import CameraModel
from face_tracking.faces import Detections, Tracks
from face_tracking.frame import Frame
from face_tracking.simulation.rendering import Renderer
from face_tracking.simulation.scene import Pose, Scene, direction
from face_tracking.simulation.servo_model import ServoRig

SECOND = 1_000_000_000
START = 10 * SECOND  # stamps are counted from here; none is 0


class Detector(Protocol):
    """What finds faces."""

    def detect(self, image: np.ndarray, stamp: int) -> Detections: ...


class Tracker(Protocol):
    """What follows them."""

    def step(self, image: np.ndarray, stamp: int) -> Tracks: ...

    def add_detections(self, detections: Detections) -> None: ...


class Head(Protocol):
    """What moves the joints; ``tick`` returns something with ``positions`` and ``target``."""

    def observe(self, tracks: Tracks, camera: CameraModel, now: int) -> None: ...

    def tick(self, now: int): ...


@dataclass(frozen=True)
class Timing:
    """When things happen, in seconds and hertz.

    :ivar latency: from exposure to the tracks, all told.
    :ivar detection: by which detections come later than that.
    :ivar detect_interval: every so many frames are searched for faces.
    """

    rate: float = 30.0
    latency: float = 0.06
    detection: float = 0.03
    detect_interval: int = 5
    control_rate: float = 100.0


@dataclass
class Log:
    """What happened, one row for each control step.

    :ivar time: seconds since the start.
    :ivar joints: true pan and tilt, radians (N, 2).
    :ivar commands: commanded pan and tilt, radians (N, 2).
    :ivar faces: true pan and tilt of each person, radians (N, people, 2).
    :ivar looked_at: who in truth bears the track that the head follows; 0 for nobody (N,).
    :ivar states: what the head was doing.
    """

    time: list[float] = field(default_factory=list)
    joints: list[tuple[float, float]] = field(default_factory=list)
    commands: list[tuple[float, float]] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    looked_at: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    def error(self, identity: int) -> np.ndarray:
        """Return the angle, radians (N,), between the view's middle and a person's face."""
        joints, faces = np.array(self.joints), np.array(self.faces)[:, identity - 1]
        cosine = [
            Pose(*(joint * [1, -1])).axes()[2] @ direction(face[0], -face[1])
            for joint, face in zip(joints, faces, strict=True)
        ]
        return np.arccos(np.clip(cosine, -1, 1))


class ClosedLoop:
    """Runs one scene.

    :param on_frame: called with each frame, its tracks and the log so far, e.g. to video it.
    :ivar who: by track id, whom in truth it was last on.
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
        progress=iter,
        at: Mapping[float, Callable[[], None]] | None = None,
    ) -> Log:
        """Run for some seconds (the scene's duration by default) and return the log.

        :param progress: wraps the iterable of control steps, e.g. tqdm.
        :param at: what to call at which second.
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
        """Take an image; what follows from it comes later."""
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

    def _track(self, frame: Frame, truth) -> None:
        tracks = self.tracker.step(frame, frame.stamp)
        self._identify(tracks, truth)
        self.head.observe(tracks, self.model, frame.stamp + round(self.timing.latency * SECOND))
        if self._on_frame is not None:
            self._on_frame(frame, tracks, self.log)

    def _identify(self, tracks: Tracks, truth) -> None:
        """Note whom each track is on."""
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
        log.looked_at.append(self.who.get(command.target, 0))
        log.states.append(str(getattr(command.state, 'value', command.state)))
