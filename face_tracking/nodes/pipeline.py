# SPDX-License-Identifier: Apache-2.0
"""Camera, detector and tracker in one process: a picture is handed on by reference."""

from __future__ import annotations

from face_tracking.nodes.base import FaceNode
from face_tracking.nodes.camera_node import CameraNode
from face_tracking.nodes.detector_node import DetectorNode
from face_tracking.nodes.running import run
from face_tracking.nodes.tracker_node import TrackerNode


def compose(camera: CameraNode, detector: DetectorNode, tracker: TrackerNode) -> None:
    """Connect three nodes; the tracker gets a picture first, for it is the one in a hurry."""
    camera.on_frame += [tracker.submit, detector.submit]
    camera.on_camera_model.append(tracker.set_camera_model)
    detector.on_detections.append(tracker.add_detections)


def build() -> list[FaceNode]:
    """Return the nodes, connected, the camera reading."""
    camera, detector, tracker = (
        CameraNode(), DetectorNode(subscribe=False), TrackerNode(subscribe=False))
    compose(camera, detector, tracker)
    camera.begin()
    return [camera, detector, tracker]


def main() -> int:
    """Run the pipeline."""
    return run(build)
