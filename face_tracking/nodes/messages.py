# SPDX-License-Identifier: Apache-2.0
"""Detections and tracks to and from ``vision_msgs/Detection2DArray``.

Every message is read and validated here: what the rest of the package receives is finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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

from face_tracking.boxes import from_center_size, to_center_size
from face_tracking.faces import Detections, Tracks
from face_tracking.nodes.images import from_time

FACE = 'face'
LARGEST_COORDINATE = 1e6
"""Pixels. Images are smaller, and the square still fits a float32."""
LARGEST_ID = 2**63 - 1
_Row = tuple[float, float, float, float, float]


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


def detections_from_message(message: Detection2DArray) -> tuple[Detections, int]:
    """Return the detections of a message, best first, and the number of entries left out.

    An entry is left out if it is of another class, if one of its numbers is not finite, if its
    box has no area, or if its score is not between 0 and 1.
    """
    rows = [row for row in map(_valid_row, message.detections) if row is not None]
    rows.sort(key=lambda row: -row[4])
    boxes, scores = _arrays(rows)
    detections = Detections(
        stamp=from_time(message.header.stamp),
        boxes=boxes,
        scores=scores,
        landmarks=np.full((len(rows), 5, 2), np.nan, np.float32),
    )
    return detections, len(message.detections) - len(rows)


def tracks_from_message(message: Detection2DArray) -> tuple[Tracks, int]:
    """Return the tracks of a message and the number of entries left out.

    An entry is left out for the reasons of :func:`detections_from_message`, or if its id is not a
    positive integer. Velocities and ages are not in the message; they are zero.
    """
    rows, ids = [], []
    for entry in message.detections:
        row = _valid_row(entry)
        number = _track_id(entry.id)
        if row is not None and number is not None:
            rows.append(row)
            ids.append(number)
    boxes, scores = _arrays(rows)
    count = len(rows)
    tracks = Tracks(
        stamp=from_time(message.header.stamp),
        ids=np.array(ids, np.int64),
        boxes=boxes,
        scores=scores,
        velocities=np.zeros((count, 2), np.float32),
        ages=np.zeros(count, np.float32),
        time_since_update=np.zeros(count, np.float32),
    )
    return tracks, len(message.detections) - count


def _to_message(
    boxes: np.ndarray, scores: np.ndarray, ids: Sequence[str], header: Header
) -> Detection2DArray:
    rows = to_center_size(boxes.astype(np.float64)).tolist()
    return Detection2DArray(
        header=header,
        detections=[
            _entry(header, row, score, identity)
            for row, score, identity in zip(rows, scores.tolist(), ids, strict=True)
        ],
    )


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


def _valid_row(entry: Detection2D) -> _Row | None:
    """Return center, size and score of an entry, None if it cannot be used."""
    if not entry.results or entry.results[0].hypothesis.class_id != FACE:
        return None
    box, score = entry.bbox, entry.results[0].hypothesis.score
    row = (box.center.position.x, box.center.position.y, box.size_x, box.size_y, score)
    if not all(map(math.isfinite, row)) or max(map(abs, row)) > LARGEST_COORDINATE:
        return None
    return row if box.size_x > 0 and box.size_y > 0 and 0 <= score <= 1 else None


def _track_id(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        return None
    return int(text) if 0 < int(text) <= LARGEST_ID else None


def _arrays(rows: Sequence[_Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes float32 (N, 4) and scores float32 (N,)."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    return from_center_size(table[:, :4]).astype(np.float32), table[:, 4].astype(np.float32)
