# SPDX-License-Identifier: Apache-2.0
"""Camera sources behind one interface: ``open_camera(uri, CaptureOptions(...)).read()``."""

from face_tracking.camera.opening import open_camera
from face_tracking.camera.reconnect import Backoff, ReconnectingCamera
from face_tracking.camera.source import CameraLost, CameraSource, CaptureOptions

__all__ = ['Backoff', 'CameraLost', 'CameraSource', 'CaptureOptions', 'ReconnectingCamera',
           'open_camera']
