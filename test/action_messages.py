# SPDX-License-Identifier: Apache-2.0
"""Messages of tracks, names and attention, for the tests of the nodes that act on them."""

from __future__ import annotations

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

from face_tracking.nodes.image_messages import to_time

BOX = (100.0, 80.0, 160.0, 150.0)


def detections(stamp, *rows):
    """Return a message; a row is (id, class, score) or (id, class, score, box)."""
    header = Header(stamp=to_time(stamp), frame_id='camera_optical_frame')
    entries = []
    for identity, kind, score, *box in rows:
        x1, y1, x2, y2 = box[0] if box else BOX
        entries.append(
            Detection2D(
                header=header,
                id=identity,
                results=[
                    ObjectHypothesisWithPose(
                        hypothesis=ObjectHypothesis(class_id=kind, score=float(score))
                    )
                ],
                bbox=BoundingBox2D(
                    center=Pose2D(position=Point2D(x=(x1 + x2) / 2, y=(y1 + y2) / 2)),
                    size_x=x2 - x1,
                    size_y=y2 - y1,
                ),
            )
        )
    return Detection2DArray(header=header, detections=entries)


def tracks(stamp, *ids, box=BOX):
    """Return tracks under their ids."""
    return detections(stamp, *((identity, 'face', 0.9, box) for identity in ids))
