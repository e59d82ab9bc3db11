# SPDX-License-Identifier: Apache-2.0
"""The trials of the head and their measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from face_tracking.pan_tilt.controller import HeadController
from face_tracking.pan_tilt.head_options import HeadOptions
from face_tracking.simulation.closed_loop import ClosedLoop, Log
from face_tracking.simulation.pixel_p_baseline import PixelProportionalController

NEAR = 3.0  # degrees: a face within this angle of the view center counts as looked at
STEP_AT = 3.0  # seconds into the scene ``step`` at which the head is commanded to the other person
WALK = (2.0, 4.0)  # seconds between which a person walks in the scene ``walk``
DEGREES = 180 / math.pi


@dataclass(frozen=True)
class StepResult:
    """A turn from one person to another, 30 degrees apart.

    :ivar seconds: time until the head stays within 3 degrees of the face.
    :ivar overshoot: how far the head went past the face, as a share of the turn.
    :ivar wobble: degrees, from end to end, by which the view still moves in the end.
    """

    seconds: float
    overshoot: float
    wobble: float


@dataclass(frozen=True)
class WalkResult:
    """A person walks past at 30 degrees per second.

    :ivar rms: degrees between the view center and the face, root mean square.
    :ivar worst: the maximum.
    """

    rms: float
    worst: float


@dataclass(frozen=True)
class CrossingResult:
    """Two people walk past each other, and one hides the other for a moment.

    :ivar stayed: share of the time, from its choice on, for which the head followed the person
        chosen first or waited for that one.
    :ivar ended_on_chosen: whether that was so at the end.
    :ivar rms: degrees between the view center and that face, once found.
    """

    stayed: float
    ended_on_chosen: bool
    rms: float


@dataclass(frozen=True)
class Trial:
    """A scene and the measure of its log.

    :ivar name: of the trial.
    :ivar scene: the name of a built-in scene.
    :ivar person: whose face the error is measured to.
    :ivar measure: from the log to the figures.
    """

    name: str
    scene: str
    person: int
    measure: Callable[[Log], StepResult | WalkResult | CrossingResult]


def look_at(loop: ClosedLoop, person: int) -> None:
    """Command the head to a person, by the track id."""
    identity = next((track for track, who in loop.who.items() if who == person), 0)
    if isinstance(loop.head, HeadController):
        loop.head.configure(replace(loop.head.options, target='id', target_id=identity))
    elif isinstance(loop.head, PixelProportionalController):
        loop.head.wanted = identity


def run(
    loop: ClosedLoop, trial: Trial, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> Log:
    """Run a trial in the loop of its scene and return the log."""
    orders = {
        'step': {1.0: lambda: look_at(loop, 1), STEP_AT: lambda: look_at(loop, 2)},
        'hidden': {1.5: lambda: look_at(loop, 2)},
    }
    return loop.run(progress=progress, at=orders.get(trial.name))


def measure_step(log: Log) -> StepResult:
    """Measure the turn in the scene ``step``."""
    time, error = np.array(log.time), log.error(2) * DEGREES
    after = time >= STEP_AT
    late = np.flatnonzero(after & (error > NEAR))
    settled = time[late[-1]] + time[1] - STEP_AT if len(late) else 0.0
    pan, face = np.array(log.joints)[:, 0], np.array(log.faces)[:, 1, 0]
    start = int(np.argmax(after))
    turn = face[start] - pan[start]
    past = (pan - face)[after] * np.sign(turn)
    last = time > time[-1] - 1.0
    wobble = np.ptp((pan - face)[last]) * DEGREES
    return StepResult(float(settled), float(max(past.max() / abs(turn), 0.0)), float(wobble))


def measure_walk(log: Log) -> WalkResult:
    """Measure how the head kept up in the scene ``walk``."""
    time, error = np.array(log.time), log.error(1) * DEGREES
    walking = error[(time >= WALK[0]) & (time < WALK[1])]
    return WalkResult(float(np.sqrt(np.mean(walking**2))), float(walking.max()))


def measure_crossing(log: Log) -> CrossingResult:
    """Measure whether the head stayed with the person it chose in the scene ``crossing``."""
    who = np.array(log.looked_at)
    start = int(np.argmax(who > 0))
    return _loyalty(log, int(who[start]), log.time[start])


def measure_hidden(log: Log) -> CrossingResult:
    """Measure whether the head stayed with the person that the other one occludes."""
    return _loyalty(log, 2, 2.0)


def _loyalty(log: Log, person: int, since: float) -> CrossingResult:
    time, who = np.array(log.time), np.array(log.looked_at)
    error = log.error(person)[time >= since + 1.0] * DEGREES
    return CrossingResult(
        float(np.mean(who[time >= since] == person)),
        bool(who[-1] == person),
        float(np.sqrt(np.mean(error**2))),
    )


STEP = Trial('step', 'step', 2, measure_step)
WALK_ACROSS = Trial('walk', 'walk', 1, measure_walk)
CROSSING = Trial('crossing', 'crossing', 1, measure_crossing)
HIDDEN = Trial('hidden', 'crossing', 2, measure_hidden)
ALL = (STEP, WALK_ACROSS, CROSSING, HIDDEN)


def head_controller(options: HeadOptions | None = None) -> HeadController:
    """Return the controller with the given options."""
    return HeadController(options)


def pixel_p_controller(share: float, focal_length: float) -> PixelProportionalController:
    """Return the baseline with a gain given as the share of the offset per image."""
    return PixelProportionalController(share / focal_length)
