# SPDX-License-Identifier: Apache-2.0
"""Camera, detector and tracker in one process: an image is passed by reference.

Switches in front of the ROS arguments choose the nodes:

``--pan-tilt``     the node that turns the head, too
``--recognize``    the node that recognizes people, too
``--events``       the node that turns tracks and names into events, too
``--no-camera``    images of another camera node, subscribed to once for all nodes
``--no-detector``  detections of another machine, subscribed to
``--standby``      detections of another machine, and a detector for when there are none
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from face_tracking.nodes.camera_node import CameraNode
from face_tracking.nodes.detector_node import DetectorNode
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.spin import run
from face_tracking.nodes.tracker_node import TrackerNode

if TYPE_CHECKING:
    from face_tracking.nodes.events_node import EventsNode
    from face_tracking.nodes.pan_tilt_node import PanTiltNode
    from face_tracking.nodes.recognizer_node import RecognizerNode

SWITCHES = ('--pan-tilt', '--recognize', '--events', '--no-camera', '--no-detector', '--standby')


def compose(
    camera: CameraNode | None,
    detector: DetectorNode | None,
    tracker: TrackerNode,
    standby: bool = False,
) -> None:
    """Connect the nodes.

    The detector gets an image first: it announces the size at which it needs color, from which
    the tracker then derives its gray image.

    :param camera: None if the tracker subscribes to images, which it then passes on.
    :param detector: None if the tracker subscribes to detections.
    :param standby: the tracker subscribes to detections, those of this detector among them.
    """
    if camera is not None:
        if detector is not None:
            camera.on_frame.append(detector.submit)
        camera.on_frame.append(tracker.submit)
        camera.on_camera_model.append(tracker.set_camera_model)
    elif detector is not None:
        tracker.on_frame.append(detector.submit)
    if detector is None:
        return
    if not standby:
        detector.on_detections.append(tracker.add_detections)
    tracker.on_tracks.append(detector.follow)


def join_head(camera: CameraNode | None, tracker: TrackerNode) -> PanTiltNode:
    """Return a pan-tilt node that follows the tracks; the camera of a scene is on its joints."""
    from face_tracking.nodes.pan_tilt_node import PanTiltNode

    if camera is None:
        return PanTiltNode()
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
    recognizer.on_people.append(tracker.set_names)
    return recognizer


def join_events(tracker: TrackerNode, recognizer: RecognizerNode | None) -> EventsNode:
    """Return an events node that takes tracks and names by reference."""
    from face_tracking.nodes.events_node import EventsNode

    events = EventsNode(subscribe=False)
    tracker.on_tracks.append(events.submit)
    if recognizer is not None:
        recognizer.on_people.append(events.set_names)
    return events


def build(switches: Collection[str] | None = None) -> list[FaceNode[Any]]:
    """Return the nodes, connected.

    :param switches: some of :data:`SWITCHES`; None reads the command line.
    """
    given = sys.argv if switches is None else switches
    camera = None if '--no-camera' in given else CameraNode()
    detector = None if '--no-detector' in given else DetectorNode(subscribe=False)
    standby = '--standby' in given
    subscribed = (
        *(('images',) if camera is None else ()),
        *(('detections',) if detector is None or standby else ()),
    )
    tracker = TrackerNode(subscribe=subscribed)
    compose(camera, detector, tracker, standby)
    nodes: list[FaceNode[Any]] = [node for node in (camera, detector, tracker) if node is not None]
    recognizer = join_recognizer(tracker) if '--recognize' in given else None
    if recognizer is not None:
        nodes.append(recognizer)
    if '--events' in given:
        nodes.append(join_events(tracker, recognizer))
    if '--pan-tilt' in given:
        head = join_head(camera, tracker)
        nodes.insert(0, head)
        if recognizer is not None:
            recognizer.on_people.append(head.set_names)
    return nodes


def main() -> int:
    """Run the pipeline."""
    return run(build)
