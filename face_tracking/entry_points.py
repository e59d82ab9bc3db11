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


def pipeline() -> int:
    """Run `nodes.pipeline`."""
    return _run('pipeline')


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
