# SPDX-License-Identifier: Apache-2.0
"""Camera, detector and tracker in one process: an image is handed on by reference.

With ``--pan-tilt`` the head's controller joins them, with ``--recognize`` the recognizer.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from face_tracking.nodes.camera_node import CameraNode
from face_tracking.nodes.detector_node import DetectorNode
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.spin import run
from face_tracking.nodes.tracker_node import TrackerNode

if TYPE_CHECKING:
    from face_tracking.nodes.pan_tilt_node import PanTiltNode
    from face_tracking.nodes.recognizer_node import RecognizerNode


def compose(camera: CameraNode, detector: DetectorNode, tracker: TrackerNode) -> None:
    """Connect three nodes; the tracker gets an image first, for it is the one in a hurry."""
    camera.on_frame += [tracker.submit, detector.submit]
    camera.on_camera_model.append(tracker.set_camera_model)
    detector.on_detections.append(tracker.add_detections)
    tracker.on_tracks.append(detector.follow)


def join_head(camera: CameraNode, tracker: TrackerNode) -> PanTiltNode:
    """Return a pan-tilt node that follows the tracks; a scene's camera stands on its joints."""
    from face_tracking.nodes.pan_tilt_node import PanTiltNode

    head = PanTiltNode(subscribe=False)
    tracker.on_tracks.append(head.submit)
    camera.on_camera_model.append(head.set_camera_model)
    if camera.parameters.use_joint_states:
        camera.mount = head.angles_at
    return head


def join_recognizer(tracker: TrackerNode) -> RecognizerNode:
    """Return a recognizer that takes images and tracks by reference and names the tracks."""
    from face_tracking.nodes.recognizer_node import RecognizerNode

    recognizer = RecognizerNode(subscribe=False)
    tracker.on_tracks.append(recognizer.submit)
    recognizer.on_people.append(tracker.set_people)
    return recognizer


def build() -> list[FaceNode]:
    """Return the nodes, connected."""
    camera, detector, tracker = (
        CameraNode(),
        DetectorNode(subscribe=False),
        TrackerNode(subscribe=False),
    )
    compose(camera, detector, tracker)
    nodes: list[FaceNode] = [camera, detector, tracker]
    recognizer = join_recognizer(tracker) if '--recognize' in sys.argv else None
    if recognizer is not None:
        nodes.append(recognizer)
    if '--pan-tilt' in sys.argv:
        head = join_head(camera, tracker)
        nodes.insert(0, head)
        if recognizer is not None:
            recognizer.on_people.append(head.set_people)
    return nodes


def main() -> int:
    """Run the pipeline."""
    return run(build)
