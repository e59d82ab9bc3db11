# SPDX-License-Identifier: Apache-2.0
"""Runs followers over sequences, all on the same images and the same detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter

from face_tracking.detector import FaceDetector
from face_tracking.evaluation.baselines import Follower
from face_tracking.evaluation.tracking_metrics import Sheet
from face_tracking.faces import Detections
from face_tracking.frame import Frame
from face_tracking.simulation.rendering import GroundTruth

Watched = Sequence[tuple[Frame, GroundTruth, Detections]]


def watch(
    sequence: Iterable[tuple[Frame, GroundTruth]], detector: FaceDetector, interval: int = 1
) -> Watched:
    """Return each image with its truth and what the detector finds in it.

    :param interval: look at every Nth only; nothing is found in the others.
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
    """Return what a detector that looks at every Nth image finds, None for the others."""
    return [
        found if index % interval == 0 else None for index, (_, _, found) in enumerate(watched)
    ]


def follow(
    watched: Watched,
    interval: int,
    makers: Mapping[str, Callable[[], Follower]],
    listener: Callable | None = None,
) -> dict[str, Sheet]:
    """Let a new follower of each kind watch one sequence.

    They take turns image by image, so that what else the machine does strikes all alike.

    :param interval: of detection, in images.
    :param listener: told each follower's name, the frame, its ids and its boxes.
    """
    followers = {name: make() for name, make in makers.items()}
    sheets = {name: Sheet() for name in makers}
    for (frame, truth, _), found in zip(watched, every(interval, watched), strict=True):
        for name, follower in followers.items():
            started = perf_counter()
            ids, boxes = follower.step(frame.image, frame.stamp, found)
            spent = 1e3 * (perf_counter() - started)
            sheets[name].add(truth, ids, boxes, (frame.width, frame.height), spent)
            if listener:
                listener(name, frame, ids, boxes)
    return sheets
