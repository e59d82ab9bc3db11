# SPDX-License-Identifier: Apache-2.0
"""Faces with their landmarks as ``sensor_msgs/PointCloud2``, a table of one row per face.

``vision_msgs/Detection2DArray`` has no place for landmarks; PointCloud2 describes its own columns,
and ``sensor_msgs_py.point_cloud2.read_points`` makes a NumPy array of it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from face_tracking.arrays import Array, FloatArray, IntArray
from face_tracking.boxes import from_center_size, to_center_size
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.nodes.image_messages import from_time
from face_tracking.nodes.messages import MAX_COORDINATE, MAX_FACES

POINTS = ('right_eye', 'left_eye', 'nose', 'right_mouth', 'left_mouth')
"""The landmarks in the order of ``Detections.landmarks``; right and left of the person."""
ROW = np.dtype(
    [
        ('id', np.int32),
        *((name, np.float32) for name in ('u', 'v', 'width', 'height', 'score')),
        *((f'{point}_{axis}', np.float32) for point in POINTS for axis in 'uv'),
    ]
)
"""Id of the track, or number of the detection from 1; center and size of the box, score, and the
five landmarks, in pixels of the source image; NaN for landmarks that are not known."""


def to_landmarks(
    ids: IntArray, boxes: Array, scores: Array, landmarks: Array, header: Header
) -> PointCloud2:
    """Return faces as rows of :data:`ROW`.

    :param ids: (N,), above 0.
    :param boxes: (N, 4), ``[x1, y1, x2, y2]`` in pixels.
    :param scores: (N,).
    :param landmarks: (N, 5, 2) in pixels, NaN where not known.
    :param header: the header of the source image.
    """
    rows = np.zeros(len(ids), ROW)
    rows['id'] = ids % 2**31
    columns = [*to_center_size(boxes).T, scores, *landmarks.reshape(-1, 10).T]
    for name, column in zip(ROW.names[1:], columns, strict=True):  # type: ignore[index]
        rows[name] = column
    return PointCloud2(
        header=header,
        height=1,
        width=len(rows),
        fields=_fields(),
        point_step=ROW.itemsize,
        row_step=ROW.itemsize * len(rows),
        data=rows.tobytes(),
        is_dense=bool(np.isfinite(landmarks).all()),
        is_bigendian=sys.byteorder == 'big',
    )


def from_landmarks(message: PointCloud2) -> tuple[IntArray, Detections]:
    """Return the ids, int64 (N,), and the faces of a message that :func:`to_landmarks` made.

    At most ``MAX_FACES`` rows are read; a row with a box or a score that cannot be is left out,
    and landmarks that are not finite are NaN as a whole.

    :raises UserError: the columns are others.
    """
    layout = [(field.name, field.offset, field.datatype, field.count) for field in message.fields]
    expected = [(field.name, field.offset, field.datatype, field.count) for field in _fields()]
    count = min(message.width * message.height, MAX_FACES)
    if (
        layout != expected
        or message.point_step != ROW.itemsize
        or len(message.data) < count * ROW.itemsize
        or message.is_bigendian != (sys.byteorder == 'big')
    ):
        raise UserError(
            'a table of landmarks with other columns was received',
            'publish the columns of faces/landmarks, see the reference of topics',
        )
    rows = np.frombuffer(bytes(message.data[: count * ROW.itemsize]), ROW)
    rows = rows[_valid(rows)]
    landmarks = _columns(rows, ROW.names[6:]).reshape(-1, 5, 2)  # type: ignore[index]
    usable = np.abs(landmarks) <= MAX_COORDINATE  # False for NaN
    landmarks[~usable.all(axis=(1, 2))] = np.nan
    return rows['id'].astype(np.int64), Detections(
        from_time(message.header.stamp),
        from_center_size(_columns(rows, ('u', 'v', 'width', 'height'))).astype(np.float32),
        rows['score'].copy(),
        landmarks,
    )


def _valid(rows: Array) -> Array:
    boxes = _columns(rows, ('u', 'v', 'width', 'height'))
    within = (np.abs(boxes) <= MAX_COORDINATE).all(axis=1)
    sized = (boxes[:, 2:] > 0).all(axis=1)
    return within & sized & (rows['score'] >= 0) & (rows['score'] <= 1) & (rows['id'] > 0)


def _columns(rows: Array, names: Any) -> FloatArray:
    return np.stack([rows[name] for name in names], axis=1).astype(np.float32)


def _fields() -> list[PointField]:
    assert ROW.fields is not None
    return [
        PointField(
            name=name,
            offset=entry[1],
            count=1,
            datatype=PointField.INT32 if name == 'id' else PointField.FLOAT32,
        )
        for name, entry in ROW.fields.items()
    ]
