# SPDX-License-Identifier: Apache-2.0
"""Nodes composed in one process hand images on as they are."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import ReliabilityPolicy
from vision_msgs.msg import Detection2DArray
from visualization_msgs.msg import MarkerArray

from face_tracking.nodes.camera_node import CameraNode
from face_tracking.nodes.detector_node import DetectorNode
from face_tracking.nodes.image_messages import from_time
from face_tracking.nodes.pipeline import build, compose
from face_tracking.nodes.tracker_node import TrackerNode

RELIABLE = ReliabilityPolicy.RELIABLE


@pytest.fixture
def pipeline(make, model, album):
    """Return camera, detector and tracker, composed, the camera not yet reading."""
    camera = make(CameraNode, wait=False, camera=str(album), width=0, height=0, frame_rate=20.0)
    detector = make(DetectorNode, wait=False, subscribe=False, model=model, detect_interval=2)
    tracker = make(TrackerNode, wait=False, subscribe=False)
    compose(camera, detector, tracker)
    return camera, detector, tracker


def test_frames_are_passed_by_reference_and_not_converted(probe, pipeline, monkeypatch):
    for module in ('camera_node', 'detector_node', 'tracker_node'):
        for name in ('to_image', 'from_image', 'tracks_to_message', 'to_markers'):
            monkeypatch.setattr(
                f'face_tracking.nodes.{module}.{name}',
                lambda *_, name=name: pytest.fail(name),
                raising=False,
            )
    camera, detector, tracker = pipeline
    shown, found, tracked = [], [], []
    camera.on_frame.append(shown.append)
    detector.on_detections.append(found.append)
    tracker.on_tracks.append(lambda frame, tracks: tracked.append((frame, tracks)))
    probe.until(lambda: tracked and len(tracked[-1][1]))
    by_stamp = {frame.stamp: frame for frame in shown}
    assert all(frame is by_stamp[frame.stamp] for frame, _ in tracked)
    assert all(tracks.stamp == frame.stamp for frame, tracks in tracked)
    assert {detections.stamp for detections in found} <= set(by_stamp)
    probe.until(lambda: len(probe.status) == 3)
    assert all(probe.value(node, 'failures') == '0' for node in probe.status)


def test_all_topics_have_the_stamps_of_the_same_images(probe, pipeline):
    camera, _, _ = pipeline
    shown = []
    camera.on_frame.append(lambda frame: shown.append(frame.stamp))
    probe.hear(Detection2DArray, 'faces/detections', 'faces/tracks')
    probe.hear(MarkerArray, 'faces/markers')
    probe.until(
        lambda: (
            len(probe.heard) == 3
            and any(len(message.markers) > 1 for message in probe.heard['faces/markers'])
        )
    )
    for topic in ('faces/detections', 'faces/tracks'):
        assert {from_time(message.header.stamp) for message in probe.heard[topic]} <= set(shown)
    sphere = probe.heard['faces/markers'][-1].markers[1]
    assert 0.3 < sphere.pose.position.z < 3


def test_qos_is_that_of_the_table(pipeline):
    found = {
        publisher.topic_name: (publisher.qos_profile.reliability, publisher.qos_profile.depth)
        for node in pipeline
        for publisher in node.publishers
    }
    sensor_data, reliable = (ReliabilityPolicy.SYSTEM_DEFAULT, 0), (RELIABLE, 10)
    assert (
        found
        | {
            '/camera/image_raw': sensor_data,
            '/camera/image_raw/compressed': sensor_data,
            '/camera/camera_info': sensor_data,
            '/faces/annotated': sensor_data,
            '/faces/annotated/compressed': sensor_data,
            '/faces/detections': reliable,
            '/faces/detections_low_confidence': reliable,
            '/faces/tracks': reliable,
            '/faces/markers': reliable,
            '/diagnostics': reliable,
        }
        == found
    )


def test_paused_nodes_do_nothing_and_go_on(probe, pipeline):
    camera, detector, tracker = pipeline
    found, tracked = [], []
    detector.on_detections.append(found.append)
    tracker.on_tracks.append(lambda frame, tracks: tracked.append(frame))
    probe.until(lambda: found and tracked)
    for node in ('detector_node', 'tracker_node'):
        probe.enable(node, False)
        probe.until(
            lambda node=node: (
                probe.says(node) == (ord(DiagnosticStatus.OK), 'paused')
                and probe.value(node, 'rate (Hz)') == '0.0'
            )
        )
    before = len(found), len(tracked)
    shown = []
    camera.on_frame.append(shown.append)
    probe.until(lambda: len(shown) > 6)
    assert (len(found), len(tracked)) == before
    for node in ('detector_node', 'tracker_node'):
        probe.enable(node, True)
    probe.until(lambda: len(found) > before[0] and len(tracked) > before[1])


def test_camera_and_tracker_work_without_a_model(probe, make, album, model):
    camera = make(CameraNode, wait=False, camera=str(album), width=0, height=0, frame_rate=20.0)
    detector = make(
        DetectorNode,
        wait=False,
        subscribe=False,
        model='/nowhere.onnx',
        detect_interval=1,
        allow_remote_sources=True,
    )
    tracker = make(TrackerNode, wait=False, subscribe=False)
    compose(camera, detector, tracker)
    probe.hear(Detection2DArray, 'faces/tracks')
    probe.until(
        lambda: len(probe.heard['faces/tracks']) > 5 and probe.says('detector_node')[0] == 2
    )
    assert not any(message.detections for message in probe.heard['faces/tracks'])
    assert probe.set('detector_node', model=model)[0].successful
    probe.until(lambda: any(message.detections for message in probe.heard['faces/tracks']))


def test_images_of_another_camera_node_are_received_once_for_all_nodes(
    probe, make, model, portrait
):
    detector = make(DetectorNode, wait=False, subscribe=False, model=model, detect_interval=2)
    tracker = make(TrackerNode, wait=False, subscribe=('images',))
    compose(None, detector, tracker)
    probe.hear(Detection2DArray, 'faces/tracks')
    probe.show_until(
        lambda: any(message.detections for message in probe.heard['faces/tracks']), portrait
    )
    infos = probe.node.get_subscriptions_info_by_topic('camera/image_raw')
    assert [info.node_name for info in infos] == ['tracker_node']


def test_detections_of_another_machine_are_received(probe, make, model, album, portrait):
    camera = make(CameraNode, wait=False, camera=str(album), width=0, height=0, frame_rate=20.0)
    tracker = make(TrackerNode, wait=False, subscribe=('detections',))
    compose(camera, None, tracker)
    make(DetectorNode, wait=False, model=model, detect_interval=1)
    probe.hear(Detection2DArray, 'faces/tracks')
    probe.until(lambda: any(message.detections for message in probe.heard['faces/tracks']))


@pytest.mark.parametrize(
    ('switches', 'names'),
    [
        ((), ['camera_node', 'detector_node', 'tracker_node']),
        (('--no-camera',), ['detector_node', 'tracker_node']),
        (('--no-detector', '--pan-tilt'), ['pan_tilt_node', 'camera_node', 'tracker_node']),
        (('--no-camera', '--pan-tilt'), ['pan_tilt_node', 'detector_node', 'tracker_node']),
    ],
)
def test_switches_choose_the_nodes(probe, switches, names):
    nodes = build(switches)
    for node in nodes:
        probe.add(node)
    assert [node.get_name() for node in nodes] == names
