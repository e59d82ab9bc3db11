# SPDX-License-Identifier: Apache-2.0
"""Whether an id survives: a second behind a board, three seconds out of sight."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.arrays import FloatArray, IntArray
from face_tracking.evaluation.baselines import EvaluatedTracker
from face_tracking.evaluation.sequences import Person, Pillar, Script
from face_tracking.faces import Detections
from face_tracking.frame import Frame
from face_tracking.simulation.rendering import GroundTruth
from face_tracking.tracking.association import assign

_SEEN, _HIDDEN = 0.9, 0.02
_BOARD = 0.9  # meters to a board


def occlusion(seed: int, seconds: float = 1.0) -> Script:
    """Return a case of a person who is fully hidden by a board for so many seconds.

    Even seeds walk behind a board that stands, odd ones stand while a board passes by.
    """
    rng = np.random.default_rng(seed)
    distance = rng.uniform(1.2, 1.8)
    speed = rng.uniform(5, 10)
    # What hides a whole head, with its hair, for the time, as the camera sees it.
    angle = math.radians(speed * seconds) + 2 * math.atan(0.11 / distance)
    width = 2 * _BOARD * math.tan(angle / 2)
    side = rng.choice([-1.0, 1.0])
    if seed % 2 == 0:
        people = (Person('pass', speed, (distance, distance), reach=22, side=side),)
        pillars = (Pillar(rng.uniform(-3, 3), width, _BOARD),)
        duration = 44 / speed
    else:
        people = (Person('stay', 3, (distance, distance), reach=0),)
        start = side * (math.degrees(angle) / 2 + 16)
        pillars = (Pillar(start, width, _BOARD, -side * speed),)
        duration = 2 * abs(start) / speed
    bystander = Person('stay', 3, (2.2, 2.2), height=9, reach=14, side=-side)
    return Script(f'occlusion {seed}', (*people, bystander), seed, duration, pillars=pillars)


def absence(seed: int, seconds: float = 3.0) -> Script:
    """Return a case of two people, one of which leaves for so many seconds."""
    rng = np.random.default_rng(seed)
    speed, start = rng.uniform(12, 20), 2.0
    side = rng.choice([-1.0, 1.0])
    leaver = Person(
        'leave',
        speed,
        tuple(np.sort(rng.uniform(1.1, 1.6, 2))),
        reach=20,
        side=side,
        start=start,
        away=seconds,
    )
    stayer = Person(
        'stroll', rng.uniform(4, 9), tuple(np.sort(rng.uniform(1.5, 2.0, 2))), height=3, reach=12
    )
    return Script(
        f'absence {seed}', (leaver, stayer), seed, start + seconds + 2 * 36 / speed + 1.5
    )


@dataclass(frozen=True)
class Outcome:
    """How a case ended for person 1.

    :ivar hidden: seconds for which nothing could be seen.
    :ivar survived: whether the id before was the only one given after.
    """

    hidden: float
    survived: bool


def judge(
    sequence: Iterable[tuple[Frame, GroundTruth]],
    found: Iterable[Detections | None],
    tracker: EvaluatedTracker,
) -> Outcome:
    """Run a tracker on one case.

    :param found: for each image what the detector found, None where it did not look.
    """
    before: int | None = None
    gone_since, back_at, last = None, None, 0
    after: set[int] = set()
    for (frame, truth), detections in zip(sequence, found, strict=True):
        last = frame.stamp
        ids, boxes = tracker.step(frame.image, frame.stamp, detections)
        visibility, name = _person_one(truth, ids, boxes)
        if visibility >= _SEEN:
            if gone_since is None:
                before = name if name is not None else before
            else:
                back_at = back_at or frame.stamp
                if name is not None:
                    after.add(name)
        elif visibility <= _HIDDEN and before is not None and back_at is None:
            gone_since = gone_since or frame.stamp
        elif back_at is None and gone_since is not None and visibility > _HIDDEN:
            back_at = frame.stamp
    hidden = ((back_at or last) - gone_since) / 1e9 if gone_since is not None else 0.0
    return Outcome(hidden, before is not None and after == {before})


def _person_one(truth: GroundTruth, ids: IntArray, boxes: FloatArray) -> tuple[float, int | None]:
    """Return how visible person 1 is, and the id that is on their face."""
    row = np.flatnonzero(truth.ids == 1)
    if not len(row):
        return 0.0, None
    overlap = box_arithmetic.iou(truth.boxes.astype(float), np.asarray(boxes, float))
    rows, columns = assign(1 - overlap, overlap >= 0.5)
    mine = columns[rows == row[0]]
    return float(truth.visibility[row[0]]), int(ids[mine[0]]) if len(mine) else None
