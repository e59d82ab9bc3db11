# SPDX-License-Identifier: Apache-2.0
"""The nodes of the package with their parameters, for the reference pages and the tests."""

from __future__ import annotations

from importlib import import_module

from face_tracking.options import Option, Options, rows_of

NODES = {
    'camera_node': ('CameraParameters',),
    'detector_node': ('DetectorParameters',),
    'tracker_node': ('TrackerParameters',),
    'pan_tilt_node': ('PanTiltParameters',),
    'recognizer_node': ('RecognizerParameters',),
    'events_node': ('EventsParameters',),
    'speech_node': ('SpeechParameters',),
    'web_node': ('WebParameters',),
    'rtsp_node': ('RtspParameters',),
    'mqtt_node': ('MqttParameters',),
    'anonymizer_node': ('AnonymizerParameters',),
    'recorder_node': ('RecordingOptions',),
    'attention_node': ('AttentionParameters',),
    'tracks_3d_node': ('Tracks3dParameters',),
    'hri_node': ('HriParameters',),
}
"""The names of the option classes in the module of each node."""
COMPOSED = {'pipeline': ('camera_node', 'detector_node', 'tracker_node', 'pan_tilt_node')}
"""The nodes of the processes that run several."""


def node_parameters(node: str) -> list[Option]:
    """Return the parameters of a node, those of its drivers included."""
    module = import_module(f'face_tracking.nodes.{node}')
    classes: list[type[Options]] = [getattr(module, name) for name in NODES[node]]
    classes.append(import_module('face_tracking.nodes.node_base').NodeOptions)
    classes += [driver.options for driver in getattr(module, 'DRIVERS', {}).values()]
    return [row for options in classes for row in rows_of(options)]
