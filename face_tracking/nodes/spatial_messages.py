# SPDX-License-Identifier: Apache-2.0
"""Depth images and poses in space to and from messages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Vector3
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    BoundingBox3D,
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
)

from face_tracking.arrays import Array, FloatArray
from face_tracking.attention.attention import Attention
from face_tracking.boxes import to_center_size
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.image_header import MAX_LIVE_IMAGE
from face_tracking.nodes.messages import FACE
from face_tracking.nodes.people_messages import LOOKING
from face_tracking.spatial.face_positions import FacePositions, covariance

_UNKNOWN_ANGLE = math.pi**2  # rad^2: any orientation
# From the axes of a head (x right in the image, y down, z away while it looks into the camera) to
# those of a body as in REP 103: x out of the face, y to the person's left, z up.
_TO_BODY = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def from_depth(message: Image) -> FloatArray:
    """Return a depth image in meters, float32 (H, W), 0 where it is unknown (REP 118).

    :raises UserError: the encoding is not that of a depth image, or data is missing.
    """
    types = {'16UC1': (np.uint16, 0.001), 'mono16': (np.uint16, 0.001), '32FC1': (np.float32, 1.0)}
    if message.encoding not in types:
        raise UserError(
            f'a depth image with the encoding {message.encoding[:40]!r} was received',
            'publish 16UC1 (millimeters) or 32FC1 (meters), registered to the color image',
        )
    kind, unit = types[message.encoding]
    height, width = message.height, message.width
    dtype = np.dtype(kind).newbyteorder('>' if message.is_bigendian else '<')
    if not 0 < width * height <= MAX_LIVE_IMAGE:
        raise UserError(f'a depth image of {width}x{height} was received', 'check its driver')
    if message.step < width * dtype.itemsize or len(message.data) < message.step * height:
        raise UserError('a depth image with too few bytes was received', 'check its driver')
    rows = np.frombuffer(message.data, np.uint8)[: message.step * height].reshape(height, -1)
    values = rows[:, : width * dtype.itemsize].copy().view(dtype).astype(np.float32)
    return np.nan_to_num(values * np.float32(unit), nan=0.0, posinf=0.0, neginf=0.0)


def to_tracks_3d(
    tracks: Tracks, places: FacePositions, header: Header, face_height: float
) -> Detection3DArray:
    """Return tracks with their positions; the covariance is smaller for a measured distance."""
    return Detection3DArray(
        header=header,
        detections=[
            _detection_3d(tracks, places, row, header, face_height) for row in range(len(tracks))
        ],
    )


def _detection_3d(
    tracks: Tracks, places: FacePositions, row: int, header: Header, face_height: float
) -> Detection3D:
    x, y, z = places.points[row].tolist()
    along, across = places.spread[row].tolist()
    pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
    spread = covariance(places.points[row], along, across)
    return Detection3D(
        header=header,
        id=str(tracks.ids[row]),
        results=[
            ObjectHypothesisWithPose(
                hypothesis=ObjectHypothesis(class_id=FACE, score=float(tracks.scores[row])),
                pose=PoseWithCovariance(pose=pose, covariance=_six(spread, _UNKNOWN_ANGLE)),
            )
        ],
        bbox=BoundingBox3D(
            center=pose, size=Vector3(x=0.75 * face_height, y=face_height, z=face_height)
        ),
    )


def to_attention(found: Sequence[Attention], boxes: Array, header: Header) -> Detection2DArray:
    """Return who looks at the robot, with the pose of each head in the optical frame.

    :param boxes: (N, 4) of the faces in ``found``, in pixels.
    """
    rows = to_center_size(np.asarray(boxes, np.float64).reshape(-1, 4)).tolist()
    return Detection2DArray(
        header=header,
        detections=[
            _attention(entry, row, header) for entry, row in zip(found, rows, strict=True)
        ],
    )


def _attention(entry: Attention, row: Sequence[float], header: Header) -> Detection2D:
    x, y, z = entry.pose.position.tolist()
    probability = entry.confidence if entry.looking else 1 - entry.confidence
    distance = float(np.linalg.norm(entry.pose.position))
    spread = covariance(entry.pose.position, 0.12 * distance, 0.02 * distance)
    errors = entry.calibration
    # About x, y and z of the optical frame.
    deviations = errors.pitch_stddev, errors.yaw_stddev, errors.roll_stddev
    pose = PoseWithCovariance(
        pose=Pose(
            position=Point(x=x, y=y, z=z), orientation=quaternion(entry.pose.rotation @ _TO_BODY.T)
        ),
        covariance=_six(spread, np.diag(deviations) ** 2),
    )
    return Detection2D(
        header=header,
        id=str(entry.track),
        results=[
            ObjectHypothesisWithPose(
                hypothesis=ObjectHypothesis(class_id=LOOKING, score=probability), pose=pose
            )
        ],
        bbox=BoundingBox2D(
            center=Pose2D(position=Point2D(x=row[0], y=row[1])), size_x=row[2], size_y=row[3]
        ),
    )


def quaternion(rotation: Array) -> Quaternion:
    """Return a rotation matrix (3, 3) as a unit quaternion."""
    m = rotation
    # The largest of the four components is computed first: the others are divided by it.
    squares = np.array(
        [
            1 + m[0, 0] + m[1, 1] + m[2, 2],
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    best = int(np.argmax(squares))
    products = {
        0: [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
        1: [m[2, 1] - m[1, 2], squares[1], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0]],
        2: [m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], squares[2], m[2, 1] + m[1, 2]],
        3: [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], squares[3]],
    }[best]
    w, x, y, z = (np.array(products) / (2 * math.sqrt(squares[best]))).tolist()
    return Quaternion(w=w, x=x, y=y, z=z)


def _six(position: Array, angles: float | Array) -> FloatArray:
    """Return the covariance of a pose, 36 numbers.

    :param position: (3, 3).
    :param angles: (3, 3), or one variance for all.
    """
    whole = np.zeros((6, 6))
    whole[:3, :3] = position
    whole[3:, 3:] = angles * np.eye(3)
    return whole.ravel()
