# SPDX-License-Identifier: Apache-2.0
"""The nodes that act on what is seen, in one process beside the pipeline.

``actions events speech web`` runs those three; without names, events alone. One process costs less
than one for each, and what happens in it cannot hold up the pipeline.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from rclpy.utilities import remove_ros_args

from face_tracking.errors import UserError
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.spin import run

PARTS = {
    'events': ('events_node', 'EventsNode'),
    'speech': ('speech_node', 'SpeechNode'),
    'web': ('web_node', 'WebNode'),
    'rtsp': ('rtsp_node', 'RtspNode'),
    'mqtt': ('mqtt_node', 'MqttNode'),
    'anonymizer': ('anonymizer_node', 'AnonymizerNode'),
    'recorder': ('recorder_node', 'RecorderNode'),
}
"""Name on the command line: (module, class)."""


def build_parts(names: Sequence[str]) -> list[FaceNode[Any]]:
    """Return the named nodes.

    :raises UserError: a name is not in :data:`PARTS`.
    """
    for name in names:
        if name not in PARTS:
            raise UserError(f'there is no part {name[:40]!r}', f'use {", ".join(PARTS)}')
    chosen = [PARTS[name] for name in dict.fromkeys(names)] or [PARTS['events']]
    return [
        getattr(import_module(f'face_tracking.nodes.{module}'), cls)() for module, cls in chosen
    ]


def main() -> int:
    """Run the nodes that the command line names."""
    return run(lambda: build_parts(remove_ros_args(sys.argv)[1:]))
