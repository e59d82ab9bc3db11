# SPDX-License-Identifier: Apache-2.0
"""Attention and positions in space, on topics."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray, Detection3DArray

from face_tracking.attention.attention_options import AttentionOptions
from face_tracking.attention.calibration import BUNDLED_DETECTOR
from face_tracking.attention.head_pose import LANDMARKS, rotation_of
from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.nodes.attention_node import AttentionNode
from face_tracking.nodes.camera_info import to_camera_info
from face_tracking.nodes.events_node import EventsNode
from face_tracking.nodes.image_messages import to_header
from face_tracking.nodes.landmarks import to_landmarks
from face_tracking.nodes.messages import tracks_to_message
from face_tracking.nodes.pan_tilt_node import PanTiltNode
from face_tracking.nodes.people_messages import attention_from_message
from face_tracking.nodes.qos import publisher_qos
from face_tracking.nodes.spatial_messages import from_depth, quaternion
from face_tracking.nodes.topics import TOPICS
from face_tracking.nodes.tracks_3d_node import Tracks3dNode

CAMERA = CameraModel.from_fov(640, 480, 1.15)
BOXES = np.array([[300.0, 200.0, 380.0, 300.0]], np.float32)
LATCHED = publisher_qos(TOPICS['faces/camera_info'])


def landmarks_at(degrees: float, stamp: int) -> PointCloud2:
    """Return track 7, turned by a yaw."""
    points = LANDMARKS @ rotation_of(math.radians(degrees), 0, 0).T + (0.0, 0.0, 0.8)
    return to_landmarks(
        np.array([7]),
        BOXES,
        np.array([0.9]),
        CAMERA.project(points).reshape(1, 5, 2),
        to_header(stamp, 'camera_optical_frame'),
    )


def depth_message(meters: float, stamp: int, encoding: str) -> Image:
    """Return a wall at a distance as a depth image."""
    kind, factor = (np.uint16, 1000) if encoding == '16UC1' else (np.float32, 1)
    pixels = np.full((480, 640), meters * factor, kind)
    return Image(
        header=to_header(stamp, 'camera_optical_frame'),
        height=480,
        width=640,
        encoding=encoding,
        step=640 * pixels.itemsize,
        data=pixels.tobytes(),
    )


def latch_camera_info(probe):
    """Publish the intrinsics as the tracker does."""
    info = to_camera_info(CAMERA, to_header(1, 'camera_optical_frame'))
    probe.publisher(CameraInfo, 'faces/camera_info', LATCHED).publish(info)


def test_turned_head_stops_looking(probe, make):
    make(AttentionNode, attention_time=0.1, attention_smoothing=0.0)
    probe.hear(Detection2DArray, 'faces/attention')
    latch_camera_info(probe)
    publisher = probe.publisher(PointCloud2, 'faces/landmarks')
    stamps = iter(range(10**9, 10**12, 10**8))

    def look(degrees: float, probability) -> bool:
        publisher.publish(landmarks_at(degrees, next(stamps)))
        heard = probe.heard['faces/attention']
        return bool(heard) and probability(heard[-1].detections[0].results[0].hypothesis.score)

    probe.until(lambda: look(0, lambda score: score > 0.7))
    message = probe.heard['faces/attention'][-1]
    assert message.detections[0].id == '7'
    assert message.detections[0].results[0].hypothesis.class_id == 'looking'
    assert attention_from_message(message) == {'7': True}
    pose = message.detections[0].results[0].pose
    assert pose.pose.position.z == pytest.approx(0.8, abs=0.05)
    errors = BUNDLED_DETECTOR.pitch_stddev, BUNDLED_DETECTOR.yaw_stddev
    assert pose.covariance[[21, 28]] == pytest.approx(np.square(errors)), 'about x, about y'
    probe.until(lambda: look(50, lambda score: score < 0.1))
    assert attention_from_message(probe.heard['faces/attention'][-1]) == {'7': False}


def test_head_that_looks_into_the_camera_points_at_it():
    from face_tracking.nodes.spatial_messages import _TO_BODY

    q = quaternion(np.eye(3) @ _TO_BODY.T)
    # x out of the face: towards the camera, against the optical axis.
    x = 1 - 2 * (q.y**2 + q.z**2), 2 * (q.x * q.y + q.z * q.w), 2 * (q.x * q.z - q.y * q.w)
    assert x == pytest.approx((0, 0, -1), abs=1e-9)


@pytest.mark.parametrize('degrees', [(0, 0, 0), (170, 0, 0), (0, 179, 0), (10, 80, -175)])
def test_quaternion_is_that_of_the_matrix(degrees):
    matrix = rotation_of(*map(math.radians, degrees))
    q = quaternion(matrix)
    w, x, y, z = q.w, q.x, q.y, q.z
    again = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    assert again == pytest.approx(matrix, abs=1e-9)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_tracks_get_the_measured_distance(probe, make, encoding):
    make(Tracks3dNode)
    probe.hear(Detection3DArray, 'faces/tracks_3d')
    latch_camera_info(probe)
    tracks = Tracks(10**9, np.array([7]), BOXES, np.array([0.9], np.float32))
    header = to_header(10**9, 'camera_optical_frame')
    depths = probe.publisher(Image, 'camera/depth/image_raw')
    publisher = probe.publisher(Detection2DArray, 'faces/tracks')

    def measured() -> bool:
        depths.publish(depth_message(2.5, 10**9, encoding))
        publisher.publish(tracks_to_message(tracks, header))
        heard = probe.heard['faces/tracks_3d']
        return bool(heard) and abs(heard[-1].detections[0].bbox.center.position.z - 2.5) < 0.01

    probe.until(measured)
    found = probe.heard['faces/tracks_3d'][-1]
    assert found.header == header
    assert found.detections[0].id == '7'
    assert found.detections[0].results[0].pose.covariance[14] < 0.01


def test_tracks_without_depth_get_the_distance_by_height(probe, make):
    make(Tracks3dNode)
    probe.hear(Detection3DArray, 'faces/tracks_3d')
    latch_camera_info(probe)
    tracks = Tracks(10**9, np.array([7]), BOXES, np.array([0.9], np.float32))
    message = tracks_to_message(tracks, to_header(10**9, 'camera_optical_frame'))
    publisher = probe.publisher(Detection2DArray, 'faces/tracks')
    probe.until(lambda: publisher.publish(message) or probe.heard['faces/tracks_3d'])
    (entry,) = probe.heard['faces/tracks_3d'][-1].detections
    assert entry.bbox.center.position.z == pytest.approx(1.09, abs=0.05)
    assert entry.results[0].pose.covariance[14] > 0.01, 'the covariance says that it is a guess'


@pytest.mark.parametrize(
    'change',
    [
        {'encoding': 'rgb8'},
        {'step': 3},
        {'width': 10**6},
        {'data': b''},
        {'height': 0},
        {'width': 2**13, 'height': 2**13},
    ],
)
def test_damaged_depth_image_is_refused(change):
    message = depth_message(1.0, 1, '16UC1')
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(UserError, match='depth image'):
        from_depth(message)


def test_depth_images_that_are_kept_are_bounded(probe, make, monkeypatch):
    monkeypatch.setattr('face_tracking.nodes.tracks_3d_node.MAX_LIVE_IMAGE', 3 * 640 * 480)
    node = make(Tracks3dNode)
    for stamp in range(1, 9):
        node._on_depth(depth_message(1.0, stamp, '16UC1'))
    assert [stamp for stamp, _ in node._depths] == [6, 7, 8]


def test_head_takes_who_looks_at_it(probe, make):
    head = make(PanTiltNode, target='looking_at_me', subscribe=True)
    heard = []
    head._head.set_attentive = heard.append
    make(AttentionNode)
    latch_camera_info(probe)
    publisher = probe.publisher(PointCloud2, 'faces/landmarks')
    stamps = iter(range(10**9, 10**12, 10**8))
    probe.until(lambda: publisher.publish(landmarks_at(0, next(stamps))) or {7} in heard)


def test_events_node_understands_the_attention_node(probe, make):
    """Both real: landmarks of a head that turns to the robot and away become events."""
    make(AttentionNode, attention_time=0.1, attention_smoothing=0.0)
    make(EventsNode, arrive_after=0.1, look_after=0.2, look_away_after=0.2, event_rate=30.0)
    probe.hear(String, 'faces/events/json')
    latch_camera_info(probe)
    landmarks = probe.publisher(PointCloud2, 'faces/landmarks')
    tracks = probe.publisher(Detection2DArray, 'faces/tracks')

    def turned(degrees: float) -> list[str]:
        stamp = time.time_ns()
        landmarks.publish(landmarks_at(degrees, stamp))
        tracks.publish(
            tracks_to_message(
                Tracks(stamp, np.array([7]), BOXES, np.array([0.9], np.float32)),
                to_header(stamp, 'camera_optical_frame'),
            )
        )
        return [json.loads(each.data)['event'] for each in probe.heard['faces/events/json']]

    probe.until(lambda: 'arrived' in turned(50))
    probe.until(lambda: 'looked_at_me' in turned(0))
    # Between the thresholds the state holds, on the topic as in the node.
    options = AttentionOptions()
    between = math.degrees(options.attention_angle + options.attention_hysteresis / 2)
    between /= BUNDLED_DETECTOR.yaw_gain
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        assert 'looked_away' not in turned(between)
        probe.executor.spin_once(timeout_sec=0.02)
    probe.until(lambda: 'looked_away' in turned(50))
