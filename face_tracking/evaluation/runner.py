# SPDX-License-Identifier: Apache-2.0
"""Runs trackers over sequences, all on the same images and the same detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter

from face_tracking.arrays import FloatArray, IntArray
from face_tracking.detector import FaceDetector
from face_tracking.evaluation.baselines import EvaluatedTracker
from face_tracking.evaluation.tracking_metrics import Sheet
from face_tracking.faces import Detections
from face_tracking.frame import Frame
from face_tracking.simulation.rendering import GroundTruth

Watched = Sequence[tuple[Frame, GroundTruth, Detections]]
"""Each image of a sequence with its ground truth and its detections."""
Makers = Mapping[str, Callable[[], EvaluatedTracker]]
"""What makes a new tracker, by its name."""
Listener = Callable[[str, Frame, IntArray, FloatArray], None]
"""Called with a tracker's name, an image, and the ids and boxes that the tracker gave it."""


def watch(
    sequence: Iterable[tuple[Frame, GroundTruth]], detector: FaceDetector, interval: int = 1
) -> Watched:
    """Return each image with its ground truth and its detections.

    :param interval: detect in every Nth image only; there are no detections in the others.
    """
    return [
        (
            frame,
            truth,
            detector.detect(frame.image, frame.stamp)
            if index % interval == 0
            else Detections(frame.stamp),
        )
        for index, (frame, truth) in enumerate(sequence)
    ]


def every(interval: int, watched: Watched) -> list[Detections | None]:
    """Return the detections of every Nth image, None for the others."""
    return [
        found if index % interval == 0 else None for index, (_, _, found) in enumerate(watched)
    ]


def follow(
    watched: Watched,
    interval: int,
    makers: Makers,
    listeners: Sequence[Listener] = (),
) -> dict[str, Sheet]:
    """Run a new tracker of each kind over one sequence.

    They take turns image by image, so that other load on the machine affects all alike.

    :param interval: of detection, in images.
    :param listeners: called with each tracker's name, the frame, its ids and its boxes.
    """
    trackers = {name: make() for name, make in makers.items()}
    sheets = {name: Sheet() for name in makers}
    for (frame, truth, _), found in zip(watched, every(interval, watched), strict=True):
        for name, tracker in trackers.items():
            started = perf_counter()
            ids, boxes = tracker.step(frame.image, frame.stamp, found)
            spent = 1e3 * (perf_counter() - started)
            sheets[name].add(truth, ids, boxes, (frame.width, frame.height), spent)
            for listener in listeners:
                listener(name, frame, ids, boxes)
    return sheets
