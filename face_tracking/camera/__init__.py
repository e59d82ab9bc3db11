# SPDX-License-Identifier: Apache-2.0
"""Camera sources behind one interface: ``open_camera(uri, CaptureOptions(...)).read()``."""

from face_tracking.camera.base import CameraLostError, CameraSource, CaptureOptions
from face_tracking.camera.factory import open_camera
from face_tracking.camera.reconnecting import ReconnectingCamera

__all__ = [
    'CameraLostError',
    'CameraSource',
    'CaptureOptions',
    'ReconnectingCamera',
    'open_camera',
]
