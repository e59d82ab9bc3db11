# SPDX-License-Identifier: Apache-2.0
"""From a camera's URI to the source that reads it."""

from __future__ import annotations

import os
import re
from importlib import import_module
from urllib.parse import unquote

from face_tracking.camera.base import CameraSource, CaptureOptions
from face_tracking.errors import UserError
from face_tracking.files import expand

FORMS = (
    'v4l2:///dev/video0',
    'gstreamer:PIPELINE',
    'picamera2',
    'file:///path/video.mp4',
    'folder:///path',
    'virtual:portraits',
    'rtsp://host/stream',
    'http://host/video',
)

# Imported when asked for: a robot with a USB camera needs neither picamera2 nor the scenes.
_SOURCES = {
    'v4l2': ('face_tracking.camera.v4l2', 'V4l2Camera'),
    'gstreamer': ('face_tracking.camera.gstreamer', 'open_gstreamer'),
    'picamera2': ('face_tracking.camera.picamera', 'PiCamera'),
    'file': ('face_tracking.camera.video_file', 'VideoFile'),
    'folder': ('face_tracking.camera.image_folder', 'ImageFolder'),
    'virtual': ('face_tracking.simulation.virtual_camera', 'open_virtual'),
    'rtsp': ('face_tracking.camera.network_stream', 'open_stream'),
    'rtsps': ('face_tracking.camera.network_stream', 'open_stream'),
    'http': ('face_tracking.camera.network_stream', 'open_stream'),
    'https': ('face_tracking.camera.network_stream', 'open_stream'),
}
_URLS = ('rtsp', 'rtsps', 'http', 'https')
_LONGEST = 4096

# YAML reads "virtual:" as a mapping, so that ROS parameters are given without the colon.
_BARE_WORDS = ('picamera2', 'virtual')


def open_camera(uri: str, options: CaptureOptions | None = None) -> CameraSource:
    """Open the camera, video, folder or scene that a URI names.

    :param uri: ``v4l2:///dev/video0`` (or ``/dev/video0``, or ``0``), ``gstreamer:PIPELINE``,
        ``picamera2:`` or ``picamera2:1``, ``file:///path/video.mp4`` or a video's bare path,
        ``folder:///path`` or a folder's bare path, ``virtual:`` or ``virtual:SCENE`` with a
        built-in scene's name or a scene's YAML file, an ``rtsp://`` or ``http://`` URL. The bare
        words ``virtual`` and ``picamera2`` mean the same with and without their colon.
    :raises UserError: there is no such source, or it cannot be opened.
    """
    scheme, rest = split_uri(uri)
    module, name = _SOURCES[scheme]
    return getattr(import_module(module), name)(rest, options or CaptureOptions())


def split_uri(uri: str) -> tuple[str, str]:
    """Return a camera URI's scheme and what the scheme's source is to open."""
    text = uri.strip()
    if not text:
        raise UserError('no camera is given', f'give one of {", ".join(FORMS)}')
    if len(text) > _LONGEST or '\0' in text:
        raise UserError(
            f'a camera of {len(text)} characters is given', f'give one of {", ".join(FORMS)}'
        )
    if text in _BARE_WORDS:
        return text, ''
    scheme, colon, rest = text.partition(':')
    if scheme in _URLS and rest.startswith('//'):
        return scheme, text
    if colon and scheme in _SOURCES:
        return scheme, rest if scheme == 'gstreamer' else _path_of(rest)
    if colon and re.fullmatch(r'[a-z][a-z0-9+.-]+', scheme) and not os.path.exists(text):
        raise UserError(f'there is no camera source "{scheme}"', f'give one of {", ".join(FORMS)}')
    if text.isdecimal() or text.startswith('/dev/'):
        return 'v4l2', text
    return ('folder' if os.path.isdir(expand(text)) else 'file'), text


def without_password(uri: str) -> str:
    """Return a camera URI for logs and diagnostics."""
    return re.sub(r'(?<=://)[^/@\s]*@', '***@', uri)


def _path_of(rest: str) -> str:
    return unquote(rest[2:]) if rest.startswith('//') else rest
