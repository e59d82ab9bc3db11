# SPDX-License-Identifier: Apache-2.0
"""Intrinsics as messages: ``sensor_msgs/CameraInfo`` to and from a camera model."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from face_tracking.camera_model import DISTORTION_SIZES, CameraModel, distortion_of
from face_tracking.errors import UserError
from face_tracking.nodes.image_messages import MAX_SIDE


def to_camera_info(model: CameraModel, header: Header) -> CameraInfo:
    """Return the intrinsics of a camera as a message; not rectified, so R is 1 and P is K."""
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
    """Return the intrinsics of the images that a message describes.

    The calibration is that of the full sensor; the images are its region of interest, binned.

    :raises UserError: the camera is not calibrated, its distortion model is not supported, or a
        value is not finite or not plausible.
    """
    fx, _, cx, _, fy, cy = (float(value) for value in message.k[:6])
    if fx == 0 and fy == 0:
        raise UserError(
            'camera_info has no focal length',
            'calibrate the camera, or set its field of view in the camera driver',
        )
    model, distortion = distortion_of(message.distortion_model, message.d, 'camera_info')
    camera = CameraModel(
        message.width, message.height, fx, fy, cx, cy, distortion, model
    ).validated('camera_info')
    return _binned(_cropped(camera, message), message)


def image_size(message: CameraInfo) -> tuple[int, int]:
    """Return width and height of the images that a message describes, calibrated or not.

    :raises UserError: they are zero, or larger than an image can be.
    """
    width = (message.roi.width or message.width) // max(message.binning_x, 1)
    height = (message.roi.height or message.height) // max(message.binning_y, 1)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise UserError(
            f'camera_info has an image of {width}x{height} pixels',
            'correct width, height and binning in the camera driver',
        )
    return width, height


def _cropped(camera: CameraModel, message: CameraInfo) -> CameraModel:
    roi = message.roi
    if not (roi.x_offset or roi.y_offset or roi.width or roi.height):
        return camera
    width, height = roi.width or camera.width, roi.height or camera.height
    # Some drivers state the size of the region as the size of the sensor.
    if max(roi.x_offset + width, roi.y_offset + height) > 10 * max(camera.width, camera.height):
        raise UserError(
            f'camera_info has a region of interest of {width}x{height} at '
            f'{roi.x_offset},{roi.y_offset} in an image of {camera.width}x{camera.height}',
            'correct the region of interest in the camera driver',
        )
    return camera.cropped(roi.x_offset, roi.y_offset, width, height)


def _binned(camera: CameraModel, message: CameraInfo) -> CameraModel:
    x, y = max(message.binning_x, 1), max(message.binning_y, 1)
    if x > camera.width or y > camera.height:
        raise UserError(
            f'camera_info has a binning of {x}x{y} in an image of {camera.width}x{camera.height}',
            'correct the binning in the camera driver',
        )
    return camera.scaled_to(camera.width // x, camera.height // y)
