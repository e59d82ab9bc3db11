# SPDX-License-Identifier: Apache-2.0
"""Intrinsics as messages: ``sensor_msgs/CameraInfo`` to and from a camera model."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from face_tracking.camera_model import DISTORTION_SIZES, CameraModel
from face_tracking.errors import UserError


def to_camera_info(model: CameraModel, header: Header) -> CameraInfo:
    """Return a camera's intrinsics as a message; not rectified, so R is 1 and P is K."""
    fx, fy, cx, cy = model.fx, model.fy, model.cx, model.cy
    return CameraInfo(
        header=header,
        width=model.width,
        height=model.height,
        distortion_model=model.distortion_model,
        d=list(model.distortion) or [0.0] * DISTORTION_SIZES[model.distortion_model][-1],
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def from_camera_info(message: CameraInfo) -> CameraModel:
    """Return the intrinsics that a message tells of.

    :raises UserError: the camera is not calibrated, or its lens of an unknown kind.
    """
    fx, _, cx, _, fy, cy = message.k[:6]
    if not (fx > 0 and fy > 0 and message.width and message.height):
        raise UserError(
            'camera_info tells no focal length',
            'calibrate the camera, or state its field of view to the camera driver',
        )
    distortion = tuple(message.d)
    model = message.distortion_model or 'plumb_bob'
    sizes = DISTORTION_SIZES.get(model, ())
    if distortion and len(distortion) not in sizes:
        raise UserError(
            f'camera_info has {len(distortion)} coefficients of the distortion model {model!r}',
            f'give one of {", ".join(DISTORTION_SIZES)}',
        )
    return CameraModel(message.width, message.height, fx, fy, cx, cy, distortion, model)
