# SPDX-License-Identifier: Apache-2.0
"""The executables of the nodes: quiet on Ctrl-C from the first moment, and ``--help``.

Importing a node takes a second, and Python's own handler would print a traceback from inside some
library if it were interrupted there.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

from face_tracking import exit_codes


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


def attention_node() -> int:
    """Run `nodes.attention_node`."""
    return _run('attention_node')


def hri_node() -> int:
    """Run `nodes.hri_node`."""
    return _run('hri_node')


def tracks_3d_node() -> int:
    """Run `nodes.tracks_3d_node`."""
    return _run('tracks_3d_node')


def actions() -> int:
    """Run `nodes.actions`."""
    return _run('actions')


def _run(name: str) -> int:
    # An orderly end, as launch and systemd see it; `nodes.spin` sets other handlers.
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: os._exit(exit_codes.OK))
    own = sys.argv[1 : sys.argv.index('--ros-args')] if '--ros-args' in sys.argv else sys.argv[1:]
    if {'-h', '--help'} & set(own):
        from face_tracking.nodes.node_help import help_text

        sys.stdout.write(help_text(name))
        return exit_codes.OK
    return importlib.import_module(f'face_tracking.nodes.{name}').main()
