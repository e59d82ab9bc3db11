# SPDX-License-Identifier: Apache-2.0
"""Detections and tracks to and from ``vision_msgs/Detection2DArray``.

Every message is read and validated here: what the rest of the package receives is finite and
bounded. What is refused is counted by its reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
)

from face_tracking.arrays import Array, FloatArray
from face_tracking.boxes import from_center_size, to_center_size
from face_tracking.faces import Detections, Tracks
from face_tracking.nodes.cdr import boxes_to_cdr
from face_tracking.nodes.image_messages import from_time

FACE = 'face'
MAX_COORDINATE = 1e6
"""Pixels. Images are smaller, and the square still fits a float32."""
MAX_ID = 2**63 - 1
MAX_FACES = 500
"""Detections or tracks of one message that are used, those with the best scores."""
_MAX_HYPOTHESES = 32  # of one detection
Refused = Counter[str]
"""Number of entries that were left out, by reason."""
_Row = tuple[float, float, float, float, float]
_Item = TypeVar('_Item')


def detections_to_message(detections: Detections, header: Header) -> Detection2DArray:
    """Return detections as a message, with empty ids.

    :param detections: boxes in pixels of the source image.
    :param header: the header of the source image.
    """
    return _to_message(detections.boxes, detections.scores, [''] * len(detections), header)


def tracks_to_message(tracks: Tracks, header: Header) -> Detection2DArray:
    """Return tracks as a message, with the track ids.

    :param tracks: boxes in pixels of the source image.
    :param header: the header of the source image.
    """
    return _to_message(tracks.boxes, tracks.scores, list(map(str, tracks.ids.tolist())), header)


def detections_to_cdr(detections: Detections, stamp: int, frame_id: str) -> bytes:
    """Return the message of :func:`detections_to_message`, serialized.

    :param stamp: of the source image, nanoseconds.
    :param frame_id: of the source image.
    """
    return _to_cdr(detections.boxes, detections.scores, [''] * len(detections), stamp, frame_id)


def tracks_to_cdr(tracks: Tracks, stamp: int, frame_id: str) -> bytes:
    """Return the message of :func:`tracks_to_message`, serialized.

    :param stamp: of the source image, nanoseconds.
    :param frame_id: of the source image.
    """
    ids = list(map(str, tracks.ids.tolist()))
    return _to_cdr(tracks.boxes, tracks.scores, ids, stamp, frame_id)


def detections_from_message(
    message: Detection2DArray, accepted: Collection[str] = (FACE,)
) -> tuple[Detections, Refused]:
    """Return the detections of a message, best first, and what was left out.

    An entry is left out if none of its hypotheses is of an accepted class, if one of its numbers
    is not finite, if its box has no area, if its score is not between 0 and 1, or if there are
    :data:`MAX_FACES` better ones.

    :param accepted: class ids that mean a face; empty for all.
    """
    refused: Refused = Counter()
    rows: list[_Row] = []
    for entry in message.detections:
        row = _valid_row(entry, _best_score(entry, accepted))
        if isinstance(row, str):
            refused[row] += 1
        else:
            rows.append(row)
    rows.sort(key=lambda row: -row[4])
    boxes, scores = _arrays(_best(rows, refused))
    detections = Detections(
        stamp=from_time(message.header.stamp),
        boxes=boxes,
        scores=scores,
        landmarks=np.full((len(boxes), 5, 2), np.nan, np.float32),
    )
    return detections, refused


def tracks_from_message(message: Detection2DArray) -> tuple[Tracks, Refused]:
    """Return the tracks of a message and what was left out.

    An entry is left out if its id is not a positive integer or is used twice, if one of its
    numbers is not finite, if its box has no area, or beyond :data:`MAX_FACES`. A track without a
    hypothesis has the score 1. Velocities and ages are not in the message; they are zero, so that
    a propagated track looks like a detected one.
    """
    refused: Refused = Counter()
    rows: dict[int, _Row] = {}
    for entry in message.detections:
        number = _track_id(entry.id)
        score = entry.results[0].hypothesis.score if entry.results else 1.0
        row = _valid_row(entry, score)
        if number is None:
            refused['id that is not a positive integer'] += 1
        elif number in rows:
            refused['id that is used twice'] += 1
        elif isinstance(row, str):
            refused[row] += 1
        else:
            rows[number] = row
    kept = _best(list(rows.items()), refused)
    boxes, scores = _arrays([row for _, row in kept])
    count = len(kept)
    tracks = Tracks(
        stamp=from_time(message.header.stamp),
        ids=np.array([number for number, _ in kept], np.int64),
        boxes=boxes,
        scores=scores,
        velocities=np.zeros((count, 2), np.float32),
        ages=np.zeros(count, np.float32),
        time_since_update=np.zeros(count, np.float32),
    )
    return tracks, refused


def _to_message(
    boxes: Array, scores: Array, ids: Sequence[str], header: Header
) -> Detection2DArray:
    rows = to_center_size(boxes.astype(np.float64)).tolist()
    return Detection2DArray(
        header=header,
        detections=[
            _entry(header, row, score, identity)
            for row, score, identity in zip(rows, scores.tolist(), ids, strict=True)
        ],
    )


def _to_cdr(boxes: Array, scores: Array, ids: Sequence[str], stamp: int, frame_id: str) -> bytes:
    rows = to_center_size(boxes.astype(np.float64)).tolist()
    return boxes_to_cdr(rows, scores.tolist(), ids, FACE, stamp, frame_id)


def _entry(header: Header, row: list[float], score: float, identity: str) -> Detection2D:
    x, y, width, height = row
    return Detection2D(
        header=header,
        id=identity,
        results=[
            ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=FACE, score=score))
        ],
        bbox=BoundingBox2D(center=Pose2D(position=Point2D(x=x, y=y)), size_x=width, size_y=height),
    )


def _best_score(entry: Detection2D, accepted: Collection[str]) -> float | str:
    """Return the best score of the accepted classes, or why there is none."""
    if not entry.results:
        return 'no hypothesis'
    scores = [
        result.hypothesis.score
        for result in islice(entry.results, _MAX_HYPOTHESES)
        if not accepted or result.hypothesis.class_id in accepted
    ]
    return max(scores) if scores else 'class not among accepted_class_ids'


def _valid_row(entry: Detection2D, score: float | str) -> _Row | str:
    """Return center, size and score of an entry, or why it cannot be used."""
    if isinstance(score, str):
        return score
    box = entry.bbox
    row = (box.center.position.x, box.center.position.y, box.size_x, box.size_y, score)
    if not all(map(math.isfinite, row)):
        return 'number that is not finite'
    if max(map(abs, row)) > MAX_COORDINATE:
        return 'coordinate out of range'
    if not (box.size_x > 0 and box.size_y > 0):
        return 'box without an area'
    return row if 0 <= score <= 1 else 'score not from 0 to 1'


def _best(rows: list[_Item], refused: Refused) -> list[_Item]:
    if len(rows) > MAX_FACES:
        refused[f'more than {MAX_FACES} in one message'] += len(rows) - MAX_FACES
    return rows[:MAX_FACES]


def _track_id(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        return None
    return int(text) if 0 < int(text) <= MAX_ID else None


def _arrays(rows: Sequence[_Row]) -> tuple[FloatArray, FloatArray]:
    """Return boxes float32 (N, 4) and scores float32 (N,)."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    return from_center_size(table[:, :4]).astype(np.float32), table[:, 4].astype(np.float32)
