# SPDX-License-Identifier: Apache-2.0
"""Faces, intrinsics and places as messages."""

import math

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import Marker

from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.faces import Detections, Tracks
from face_tracking.nodes.camera_info import from_camera_info, to_camera_info
from face_tracking.nodes.image_messages import to_header
from face_tracking.nodes.markers import to_markers
from face_tracking.nodes.messages import (
    detections_from_message,
    detections_to_message,
    tracks_to_message,
)
from face_tracking.spatial.face_positions import positions_by_height

HEADER = to_header(5_000_000_007, 'optical')
BOXES = np.array([[10, 20, 40, 80], [100, 0, 130.5, 20]], np.float32)


def detections():
    """Return two detections."""
    return Detections(
        5_000_000_007,
        BOXES,
        np.array([0.9, 0.5], np.float32),
        np.full((2, 5, 2), np.nan, np.float32),
    )


def test_detections_survive():
    found, useless = detections_from_message(detections_to_message(detections(), HEADER))
    assert (found.boxes == BOXES).all() and not useless
    assert found.scores == pytest.approx([0.9, 0.5]) and found.stamp == 5_000_000_007


def test_a_box_is_its_center_and_size():
    message = detections_to_message(detections(), HEADER)
    face = message.detections[0]
    place = face.bbox.center.position
    assert (place.x, place.y, face.bbox.size_x, face.bbox.size_y) == (25, 50, 30, 60)
    assert face.results[0].hypothesis.class_id == 'face'
    assert face.header == HEADER == message.header and face.id == ''


def test_tracks_have_their_ids():
    tracks = Tracks(1, np.array([3, 12345678901]), BOXES, np.array([0.9, 0.5], np.float32))
    message = tracks_to_message(tracks, HEADER)
    assert [face.id for face in message.detections] == ['3', '12345678901']


@pytest.mark.parametrize('faces', [Detections(1), Tracks(1)])
def test_no_face_is_an_empty_array_with_a_header(faces):
    message = detections_to_message(faces, HEADER)
    assert message.header == HEADER and list(message.detections) == []
    assert len(detections_from_message(message)[0]) == 0


def spoil(face, what):
    """Make one entry of a message unusable."""
    box, hypothesis = face.bbox, face.results[0].hypothesis
    if what == 'nan center':
        box.center.position.x = math.nan
    elif what == 'infinite size':
        box.size_y = math.inf
    elif what == 'negative size':
        box.size_x = -3.0
    elif what == 'no size':
        box.size_x = 0.0
    elif what == 'enormous':
        box.center.position.y = 1e300
    elif what == 'nan score':
        hypothesis.score = math.nan
    elif what == 'score above 1':
        hypothesis.score = 7.0
    elif what == 'another class':
        hypothesis.class_id = 'cat'
    elif what == 'no hypothesis':
        face.results = []


@pytest.mark.parametrize(
    'what',
    [
        'nan center',
        'infinite size',
        'negative size',
        'no size',
        'enormous',
        'nan score',
        'score above 1',
        'another class',
        'no hypothesis',
    ],
)
def test_an_unusable_box_is_left_out_and_counted(what):
    message = detections_to_message(detections(), HEADER)
    spoil(message.detections[0], what)
    found, useless = detections_from_message(message)
    assert useless.total() == 1 and (found.boxes == BOXES[1:]).all()


def test_the_best_detection_is_first():
    found, _ = detections_from_message(detections_to_message(detections()[::-1], HEADER))
    assert (found.boxes == BOXES).all() and found.scores[0] > found.scores[1]


@pytest.mark.parametrize(
    'model',
    [
        CameraModel.from_fov(640, 480, 1.1),
        CameraModel(640, 480, 500.0, 510.0, 320.0, 240.0, (0.1, -0.2, 0.001, 0.002, 0.05)),
        CameraModel(640, 480, 300.0, 300.0, 320.0, 240.0, (0.1, 0.2, 0.3, 0.4), 'equidistant'),
    ],
)
def test_intrinsics_survive(model):
    again = from_camera_info(to_camera_info(model, HEADER))
    points = np.array([[0, 0], [320, 240], [600, 30]])
    assert np.allclose(again.rays(points), model.rays(points))


@pytest.mark.parametrize(
    ('message', 'problem'),
    [
        (CameraInfo(width=640, height=480), 'focal length'),
        (
            CameraInfo(
                width=640,
                height=480,
                k=[1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0],
                d=[1.0] * 5,
                distortion_model='odd',
            ),
            "'odd'",
        ),
    ],
)
def test_a_camera_that_is_not_calibrated_is_refused(message, problem):
    with pytest.raises(UserError, match=problem):
        from_camera_info(message)


@pytest.mark.parametrize('place', [(0, 0, 1), (0.4, -0.3, 2), (-1, 0.5, 3)])
def test_a_face_is_placed_where_it_is(place):
    camera, height = CameraModel.from_fov(640, 480, 1.2), 0.2
    half = np.array([0.08, height / 2, 0])
    corners = camera.project(np.array([place - half, place + half]))
    found = positions_by_height(corners.reshape(1, 4), camera, height)[0]
    assert np.linalg.norm(found - place) < 0.04 * np.linalg.norm(place)


def test_markers_replace_the_previous_ones():
    tracks = Tracks(1, np.array([4, 9]), BOXES, np.ones(2, np.float32))
    message = to_markers(tracks, CameraModel.from_fov(640, 480, 1.2), HEADER, 0.2)
    first, *others = message.markers
    assert first.action == Marker.DELETEALL
    assert {(marker.ns, marker.id) for marker in others} == {
        ('faces', 4),
        ('ids', 4),
        ('faces', 9),
        ('ids', 9),
    }
    assert all(marker.header == HEADER and marker.pose.position.z > 0 for marker in others)
    assert [marker.text for marker in others if marker.ns == 'ids'] == ['4', '9']
