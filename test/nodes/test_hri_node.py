# SPDX-License-Identifier: Apache-2.0
"""The bridge to REP 155, with its message definitions built as an overlay."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from face_tracking.attention.head_pose import LANDMARKS
from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.nodes import hri_node as bridge
from face_tracking.nodes.camera_info import to_camera_info
from face_tracking.nodes.image_messages import from_image, to_header, to_image
from face_tracking.nodes.landmarks import to_landmarks
from face_tracking.nodes.people_messages import PERSON
from face_tracking.nodes.qos import publisher_qos
from face_tracking.nodes.topics import TOPICS

hri_msgs = pytest.importorskip('hri_msgs.msg', reason='needs hri_msgs, which is not here')
CAMERA = CameraModel.from_fov(640, 480, 1.15)
BOX = np.array([[290.0, 190.0, 350.0, 270.0]], np.float32)


def landmarks_at(stamp: int, track: int = 7) -> PointCloud2:
    """Return one track in the middle of the image."""
    points = CAMERA.project(LANDMARKS + (0.0, 0.0, 0.8)).reshape(1, 5, 2)
    header = to_header(stamp, 'camera_optical_frame')
    return to_landmarks(np.array([track]), BOX, np.array([0.9]), points, header)


@pytest.fixture
def hri(probe, make):
    """Return the bridge, with the intrinsics latched."""
    node = make(bridge.HriNode)
    info = to_camera_info(CAMERA, to_header(1, 'camera_optical_frame'))
    qos = publisher_qos(TOPICS['faces/camera_info'])
    probe.publisher(CameraInfo, 'faces/camera_info', qos).publish(info)
    return node


def test_faces_have_the_topics_of_the_rep(probe, hri):
    probe.hear(hri_msgs.IdsList, '/humans/faces/tracked')
    probe.hear(hri_msgs.NormalizedRegionOfInterest2D, '/humans/faces/f00007/roi')
    probe.hear(hri_msgs.FacialLandmarks, '/humans/faces/f00007/landmarks')
    publisher = probe.publisher(PointCloud2, 'faces/landmarks')
    probe.until(
        lambda: (
            publisher.publish(landmarks_at(10**9))
            or len([topic for topic, heard in probe.heard.items() if heard]) == 3
        )
    )
    assert probe.heard['/humans/faces/tracked'][-1].ids == ['f00007']
    roi = probe.heard['/humans/faces/f00007/roi'][-1]
    assert (roi.xmin, roi.ymax, roi.c) == pytest.approx((290 / 640, 270 / 480, 0.9))
    found = probe.heard['/humans/faces/f00007/landmarks'][-1]
    assert (found.width, found.height, len(found.landmarks)) == (640, 480, 70)
    known = [row for row, point in enumerate(found.landmarks) if point.c > 0]
    kind = hri_msgs.FacialLandmarks
    assert known == sorted(
        (
            *(kind.RIGHT_PUPIL, kind.LEFT_PUPIL, kind.NOSE),
            *(kind.MOUTH_OUTER_RIGHT, kind.MOUTH_OUTER_LEFT),
        )
    )
    assert found.landmarks[kind.RIGHT_PUPIL].x < found.landmarks[kind.LEFT_PUPIL].x


def test_face_that_is_gone_has_no_topics(probe, hri):
    publisher = probe.publisher(PointCloud2, 'faces/landmarks')
    probe.until(lambda: publisher.publish(landmarks_at(10**9)) or 'f00007' in hri._of_faces)
    probe.until(
        lambda: publisher.publish(landmarks_at(10**9, 8)) or set(hri._of_faces) == {'f00008'}
    )
    names = {name for name, _ in hri.get_topic_names_and_types()}
    assert '/humans/faces/f00008/roi' in names


def test_crops_are_made_for_their_subscribers(probe, hri):
    probe.hear(Image, '/humans/faces/f00007/cropped', '/humans/faces/f00007/aligned')
    publisher = probe.publisher(PointCloud2, 'faces/landmarks')
    picture = np.zeros((480, 640, 3), np.uint8)
    left, top, right, bottom = BOX[0].astype(int)
    picture[top:bottom, left:right] = 200
    stamps = iter(range(10**9, 10**12, 10**8))

    def step() -> bool:
        stamp = next(stamps)
        if hri._crops_heard():
            probe.show(to_image(picture, to_header(stamp, 'camera_optical_frame')), stamp)
            probe.until(lambda: any(frame.stamp == stamp for frame in hri._frames))
        publisher.publish(landmarks_at(stamp))
        return all(probe.heard[f'/humans/faces/f00007/{part}'] for part in ('cropped', 'aligned'))

    probe.until(step)
    for part in ('cropped', 'aligned'):
        image = from_image(probe.heard[f'/humans/faces/f00007/{part}'][-1]).image
        assert image.shape == (128, 128, 3)
        assert image[64, 64].tolist() == [200, 200, 200]


def test_recognized_person_points_to_the_face(probe, hri):
    from vision_msgs.msg import Detection2D, ObjectHypothesis, ObjectHypothesisWithPose

    probe.hear(hri_msgs.IdsList, '/humans/persons/tracked')
    qos = bridge._LATCHED
    probe.node.create_subscription(
        String, '/humans/persons/p_Ada_L_/face_id', probe.heard['face'].append, qos
    )
    hypothesis = ObjectHypothesis(class_id=f'{PERSON}Ada L.', score=0.9)
    message = Detection2DArray(
        header=to_header(10**9, 'camera_optical_frame'),
        detections=[
            Detection2D(id='7', results=[ObjectHypothesisWithPose(hypothesis=hypothesis)])
        ],
    )
    publisher = probe.publisher(Detection2DArray, 'faces/people')
    probe.until(lambda: publisher.publish(message) or probe.heard['face'])
    assert probe.heard['face'][0].data == 'f00007'
    assert probe.heard['/humans/persons/tracked'][-1].ids == ['p_Ada_L_']


def test_missing_package_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(bridge, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'hri_msgs is not installed: run sudo apt install'):
        bridge.HriNode()


def test_topic_types_of_the_table_exist():
    for name in ('/humans/faces/tracked', '/humans/persons/tracked'):
        package, _, kind = TOPICS[name].type.split('/')
        assert hasattr(import_module(f'{package}.msg'), kind)
