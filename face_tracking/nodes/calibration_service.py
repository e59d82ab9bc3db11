# SPDX-License-Identifier: Apache-2.0
"""``~/set_camera_info``: use a calibration and keep it, as camera_calibration's Commit asks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import yaml
from rclpy.node import Node
from sensor_msgs.srv import SetCameraInfo

from face_tracking.camera_model import CameraModel, resolve_url
from face_tracking.errors import UserError
from face_tracking.files import expand, write_text
from face_tracking.nodes.camera_info import from_camera_info
from face_tracking.nodes.topics import SERVICES


class CalibrationService:
    """Offers the service.

    :param node: the camera node.
    :param path: returns the file to write.
    :param use: called with the calibration after it was written.
    """

    def __init__(self, node: Node, path: Callable[[], Path], use: Callable[[CameraModel], None]):
        self._node = node
        self._path = path
        self._use = use
        node.create_service(SetCameraInfo, SERVICES['~/set_camera_info'].name, self._serve)

    def _serve(
        self, request: SetCameraInfo.Request, response: SetCameraInfo.Response
    ) -> SetCameraInfo.Response:
        try:
            model = from_camera_info(request.camera_info)
            path = self._path()
            write_calibration(model, path)
        except UserError as error:
            response.success, response.status_message = False, str(error)
            return response
        self._use(model)
        response.success, response.status_message = True, f'written to {path}'
        self._node.get_logger().info(f'a new calibration was written to {path}')
        return response


def calibration_file(url: str, camera: str) -> Path:
    """Return the file of a camera's calibration.

    :param url: the parameter ``camera_info_url``; empty takes the folder of camera_info_manager.
    :param camera: the parameter ``camera``, from which the name of the file follows.
    """
    if url:
        return resolve_url(url)
    home = expand(os.environ.get('ROS_HOME') or '~/.ros')
    name = re.sub(r'\W+', '_', camera, flags=re.ASCII).strip('_')[:80] or 'camera'
    return home / 'camera_info' / f'{name}.yaml'


def write_calibration(model: CameraModel, path: Path) -> None:
    """Write intrinsics as camera_info_manager does; the old file stays until the new one is whole.

    :raises UserError: the file cannot be written.
    """
    rows = {'rows': 3, 'cols': 3}
    content = {
        'image_width': model.width,
        'image_height': model.height,
        'camera_name': path.stem,
        'camera_matrix': {**rows, 'data': [float(value) for value in model.matrix.ravel()]},
        'distortion_model': model.distortion_model,
        'distortion_coefficients': {
            'rows': 1,
            'cols': len(model.distortion),
            'data': [float(value) for value in model.distortion],
        },
        'rectification_matrix': {**rows, 'data': [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]},
        'projection_matrix': {
            'rows': 3,
            'cols': 4,
            'data': [
                *(model.fx, 0.0, model.cx, 0.0),
                *(0.0, model.fy, model.cy, 0.0),
                *(0.0, 0.0, 1.0, 0.0),
            ],
        },
    }
    write_text(path, yaml.safe_dump(content, sort_keys=False))
