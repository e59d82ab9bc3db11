# SPDX-License-Identifier: Apache-2.0
"""How faces move, for subscribers: ``sensor_msgs/PointCloud2``, a table of one row per face.

``vision_msgs/Detection2DArray`` has no place for velocities; PointCloud2 describes its own
columns, and ``sensor_msgs_py.point_cloud2.read_points`` makes a NumPy array of it.
"""

from __future__ import annotations

import sys

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from face_tracking.boxes import to_center_size
from face_tracking.faces import Tracks

ROW = np.dtype(
    [
        ('id', np.int32),
        *(
            (name, np.float32)
            for name in (
                'u',
                'v',
                'width',
                'height',
                'u_rate',
                'v_rate',
                'score',
                'age',
                'time_since_update',
            )
        ),
    ]
)
"""Id; center and size of the box in pixels; velocity of the center in pixels per second; score;
seconds since the face was first and last detected."""


def to_track_states(tracks: Tracks, header: Header) -> PointCloud2:
    """Return the tracks as rows of :data:`ROW`; no row where there is no face.

    :param header: the source image's.
    """
    rows = np.zeros(len(tracks), ROW)
    rows['id'] = tracks.ids % 2**31
    for name, column in zip(
        ('u', 'v', 'width', 'height'), to_center_size(tracks.boxes).T, strict=True
    ):
        rows[name] = column
    rows['u_rate'], rows['v_rate'] = tracks.velocities.T
    rows['score'], rows['age'], rows['time_since_update'] = (
        tracks.scores,
        tracks.ages,
        tracks.time_since_update,
    )
    assert ROW.fields is not None
    fields = [
        PointField(
            name=name,
            offset=entry[1],
            count=1,
            datatype=PointField.INT32 if name == 'id' else PointField.FLOAT32,
        )
        for name, entry in ROW.fields.items()
    ]
    return PointCloud2(
        header=header,
        height=1,
        width=len(rows),
        fields=fields,
        point_step=ROW.itemsize,
        row_step=ROW.itemsize * len(rows),
        data=rows.tobytes(),
        is_dense=True,
        is_bigendian=sys.byteorder == 'big',
    )
