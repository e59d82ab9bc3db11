# SPDX-License-Identifier: Apache-2.0
"""What the nodes' executables call: a Ctrl-C while a node is still being imported ends it quietly.

Importing one takes a second, and Python's own handler would answer with a traceback from the
midst of some library.
"""

from __future__ import annotations

import importlib
import signal


def camera_node() -> int:
    """Run `nodes.camera_node`."""
    return _run('camera_node')


def detector_node() -> int:
    """Run `nodes.detector_node`."""
    return _run('detector_node')


def tracker_node() -> int:
    """Run `nodes.tracker_node`."""
    return _run('tracker_node')


def pan_tilt_node() -> int:
    """Run `nodes.pan_tilt_node`."""
    return _run('pan_tilt_node')


def recognizer_node() -> int:
    """Run `nodes.recognizer_node`."""
    return _run('recognizer_node')


def pipeline() -> int:
    """Run `nodes.pipeline`."""
    return _run('pipeline')


def events_node() -> int:
    """Run `nodes.events_node`."""
    return _run('events_node')


def speech_node() -> int:
    """Run `nodes.speech_node`."""
    return _run('speech_node')


def web_node() -> int:
    """Run `nodes.web_node`."""
    return _run('web_node')


def rtsp_node() -> int:
    """Run `nodes.rtsp_node`."""
    return _run('rtsp_node')


def mqtt_node() -> int:
    """Run `nodes.mqtt_node`."""
    return _run('mqtt_node')


def anonymizer_node() -> int:
    """Run `nodes.anonymizer_node`."""
    return _run('anonymizer_node')


def recorder_node() -> int:
    """Run `nodes.recorder_node`."""
    return _run('recorder_node')


def actions() -> int:
    """Run `nodes.actions`."""
    return _run('actions')


def _run(name: str) -> int:
    # The system's own: the process ends (a shell calls that 130). `nodes.running` sets another.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return importlib.import_module(f'face_tracking.nodes.{name}').main()
