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


def pipeline() -> int:
    """Run `nodes.pipeline`."""
    return _run('pipeline')


def _run(name: str) -> int:
    # The system's own: the process ends (a shell calls that 130). `nodes.running` sets another.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return importlib.import_module(f'face_tracking.nodes.{name}').main()
