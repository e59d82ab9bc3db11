# SPDX-License-Identifier: Apache-2.0
"""Faces as messages: detections and tracks to and from ``vision_msgs/Detection2DArray``."""

from __future__ import annotations

import math

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

from face_tracking.boxes import from_centre_size, to_centre_size
from face_tracking.faces import Detections, Tracks
from face_tracking.nodes.images import from_time

FACE = 'face'
# No camera has a side of so many pixels, and its square still fits a float32.
_FARTHEST = 1e6


def to_detections(faces: Detections | Tracks, header: Header) -> Detection2DArray:
    """Return detections, or tracks under their ids, as a message; empty where there is no face.

    :param faces: boxes in pixels of the source image.
    :param header: the source image's.
    """
    ids = faces.ids.tolist() if isinstance(faces, Tracks) else [''] * len(faces)
    rows = to_centre_size(faces.boxes.astype(np.float64)).tolist()
    return Detection2DArray(header=header, detections=[
        _detection(header, row, score, str(number))
        for row, score, number in zip(rows, faces.scores.tolist(), ids, strict=True)])


def _detection(header: Header, row: list[float], score: float, number: str) -> Detection2D:
    x, y, width, height = row
    return Detection2D(
        header=header, id=number,
        results=[ObjectHypothesisWithPose(
            hypothesis=ObjectHypothesis(class_id=FACE, score=score))],
        bbox=BoundingBox2D(
            center=Pose2D(position=Point2D(x=x, y=y)), size_x=width, size_y=height))


def from_detections(message: Detection2DArray) -> tuple[Detections, int]:
    """Return the faces of a message, best first, and how many of its entries were no use.

    An entry is left out if it is of another class, if a number of it is not finite, if its box
    has no area, or if its score is not between 0 and 1.
    """
    rows = [row for row in map(_row, message.detections) if row is not None]
    rows.sort(key=lambda row: -row[4])
    table = np.array(rows, np.float64).reshape(-1, 5)
    detections = Detections(
        stamp=from_time(message.header.stamp),
        boxes=from_centre_size(table[:, :4]).astype(np.float32),
        scores=table[:, 4].astype(np.float32),
        landmarks=np.full((len(table), 5, 2), np.nan, np.float32))
    return detections, len(message.detections) - len(rows)


def _row(entry: Detection2D) -> tuple[float, float, float, float, float] | None:
    if not entry.results or entry.results[0].hypothesis.class_id != FACE:
        return None
    box, score = entry.bbox, entry.results[0].hypothesis.score
    row = (box.center.position.x, box.center.position.y, box.size_x, box.size_y, score)
    if not all(map(math.isfinite, row)) or max(map(abs, row)) > _FARTHEST:
        return None
    return row if box.size_x > 0 and box.size_y > 0 and 0 <= score <= 1 else None
