# SPDX-License-Identifier: Apache-2.0
"""Faults from outside at real nodes: they say what is wrong and go on."""

import array
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from face_tracking.errors import UserError
from face_tracking.nodes.detector_node import DetectorNode
from face_tracking.nodes.image_input import MAX_SIDE, read_image
from face_tracking.nodes.image_messages import ENCODINGS, from_time, to_header
from face_tracking.nodes.joint_states import angles_from_message
from face_tracking.nodes.landmarks import from_landmarks, to_landmarks
from face_tracking.nodes.messages import (
    MAX_FACES,
    detections_from_message,
    tracks_from_message,
)
from face_tracking.nodes.tracker_node import TrackerNode

FOUND, TRACKS = 'faces/detections', 'faces/tracks'


def face(x=160.0, y=120.0, size=60.0, score=0.9, class_id='face', identity=''):
    """Return one entry of a message."""
    entry = Detection2D(id=identity)
    entry.results = [
        ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=class_id, score=score))
    ]
    entry.bbox.center.position.x, entry.bbox.center.position.y = x, y
    entry.bbox.size_x = entry.bbox.size_y = size
    return entry


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([*ENCODINGS, '32FC1', '64FC4', 'nonsense', '']),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 80),
    st.integers(0, 900),
    st.integers(0, 1),
)
def test_any_image_is_converted_or_refused(encoding, width, height, step, length, endian):
    message = Image(
        width=width,
        height=height,
        encoding=encoding,
        step=step,
        is_bigendian=endian,
        data=array.array('B', bytes(length)),
    )
    try:
        frame = read_image(message, 7)
        pixels = frame.image
    except UserError:
        return
    assert pixels.shape == (height, width, 3) and frame.stamp == 7


@pytest.mark.parametrize(
    'message',
    [
        Image(width=MAX_SIDE + 1, height=1, encoding='mono8', step=MAX_SIDE + 1),
        Image(width=2**32 - 1, height=2**32 - 1, encoding='bgr8', step=2**32 - 1),
        Image(width=2, height=2, encoding='x' * 1_000_000, step=6),
        Image(width=2, height=2, encoding='bgr8', step=6, header=to_header(1, 'y' * 1_000_000)),
    ],
    ids=['wide', 'huge', 'encoding', 'frame_id'],
)
def test_sizes_of_an_image_are_bounded(message):
    with pytest.raises(UserError) as caught:
        read_image(message, 0)
    assert len(str(caught.value)) < 400


def test_class_ids_of_other_detectors_are_accepted_by_parameter(probe, make, portrait):
    make(TrackerNode, accepted_class_ids='person, head', min_hits=1)
    probe.hear(Detection2DArray, TRACKS)
    publisher = probe.publisher(Detection2DArray, FOUND)

    def show(class_id):
        def step():
            stamp = show.stamp = show.stamp + 40_000_000
            probe.show(portrait, stamp)
            publisher.publish(
                Detection2DArray(
                    header=to_header(stamp, 'c'), detections=[face(class_id=class_id)]
                )
            )
            return probe.heard[TRACKS] and probe.heard[TRACKS][-1].detections

        return step

    show.stamp = 10**9
    refused = 'refused detections: class not among accepted_class_ids'
    step = show('face')
    probe.until(lambda: step() or int(probe.value('tracker_node', refused)) > 2)
    assert not any(message.detections for message in probe.heard[TRACKS])
    probe.until(show('head'))


@pytest.mark.parametrize('accepted', [(), ('person',)])
def test_the_best_hypothesis_of_an_accepted_class_counts(accepted):
    entry = face(score=0.2, class_id='dog')
    entry.results.append(face(score=0.8, class_id='person').results[0])
    found, refused = detections_from_message(Detection2DArray(detections=[entry]), accepted)
    assert found.scores.tolist() == [pytest.approx(0.8)] and not refused


def test_a_message_has_a_largest_number_of_faces():
    entries = [face(x=float(k % 600), score=k / 10_000, identity=str(k + 1)) for k in range(2000)]
    found, refused = detections_from_message(Detection2DArray(detections=entries))
    assert len(found) == MAX_FACES and found.scores.min() == pytest.approx(0.15)
    assert refused.total() == 2000 - MAX_FACES
    tracks, refused = tracks_from_message(Detection2DArray(detections=entries))
    assert len(tracks) == MAX_FACES and refused.total() == 2000 - MAX_FACES


@pytest.mark.parametrize('identity', ['', '0', '-1', '1.5', 'x', '9' * 30, '٣'])
def test_ids_of_tracks_are_positive_integers(identity):
    tracks, refused = tracks_from_message(Detection2DArray(detections=[face(identity=identity)]))
    assert not len(tracks) and refused == {'id that is not a positive integer': 1}


def test_an_id_that_is_used_twice_is_refused():
    entries = [face(identity='3'), face(identity='3')]
    tracks, refused = tracks_from_message(Detection2DArray(detections=entries))
    assert tracks.ids.tolist() == [3] and refused == {'id that is used twice': 1}


@pytest.mark.parametrize('count', [500, 2500])
def test_a_flood_of_detections_does_not_hold_up_the_tracker(probe, make, portrait, count):
    make(TrackerNode)
    probe.hear(Detection2DArray, TRACKS)
    rng = np.random.default_rng(0)
    entries = [
        face(float(rng.uniform(20, 300)), float(rng.uniform(20, 220)), float(rng.uniform(10, 60)))
        for _ in range(count)
    ]
    probe.show_until(lambda: probe.heard[TRACKS], portrait)
    start = from_time(probe.heard[TRACKS][-1].header.stamp)
    publisher = probe.publisher(Detection2DArray, FOUND)
    for _ in range(3):
        publisher.publish(Detection2DArray(header=to_header(start, 'c'), detections=entries))
    probe.heard[TRACKS].clear()
    probe.show_until(lambda: len(probe.heard[TRACKS]) > 5, portrait, start=start + 40_000_000)


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (JointState(name=['pan', 'tilt'], position=[1e6, 0.0]), 'not plausible'),
        (JointState(name=['pan', 'tilt'], position=[math.nan, 0.0]), 'not finite'),
        (JointState(name=['pan', 'tilt'], position=[0.0]), 'fewer positions'),
        (JointState(name=['j'] * 2000, position=[0.0] * 2000), '2000 joints'),
    ],
)
def test_joint_states_are_validated(message, words):
    with pytest.raises(UserError, match=words):
        angles_from_message(message, ('pan', 'tilt'))


def test_joint_states_of_other_joints_are_ignored():
    message = JointState(name=['tilt', 'wheel', 'pan'], position=[0.1, 5.0, -0.2])
    assert angles_from_message(message, ('pan', 'tilt')) == (-0.2, 0.1)
    assert angles_from_message(message, ('pan', 'nod')) is None


def test_a_model_that_appears_later_is_loaded(probe, make, model, portrait, tmp_path, capfd):
    from face_tracking.detection.model import load_model

    probe.hear(Detection2DArray, FOUND)
    path = tmp_path / 'later.yaml'
    make(DetectorNode, model=str(path), detect_interval=1)
    probe.until(lambda: probe.says('detector_node')[0] == 2)
    real = load_model(model).path
    for file in real.parent.glob(f'{real.stem.split("_")[0]}*'):
        if file.is_file():
            shutil.copy(file, tmp_path)
    shutil.copy(model if str(model).endswith('.yaml') else real.with_suffix('.yaml'), path)
    probe.show_until(lambda: probe.heard[FOUND], portrait)
    probe.until(lambda: probe.says('detector_node')[0] == 0)
    logged = capfd.readouterr().err
    assert logged.count('tried again with growing pauses') == 1 and 'on retry' in logged


def test_landmarks_are_published_per_track(probe, make, model, portrait):
    make(DetectorNode, model=model, detect_interval=1)
    make(TrackerNode)
    received = []
    probe.node.create_subscription(PointCloud2, 'faces/landmarks', received.append, 10)

    def known():
        for message in received:
            ids, faces = from_landmarks(message)
            if len(ids) and np.isfinite(faces.landmarks).all():
                return ids, faces
        return None

    ids, faces = probe.show_until(known, portrait)
    assert ids.tolist() == [1]
    (box,), (points,) = faces.boxes, faces.landmarks
    assert (points > box[:2]).all() and (points < box[2:]).all()
    right_eye, left_eye, nose, *mouth = points
    assert right_eye[0] < left_eye[0] and right_eye[1] < nose[1] < mouth[0][1]


@pytest.mark.parametrize('spoil', ['columns', 'length', 'step', 'endian'])
def test_a_table_with_other_columns_is_refused(spoil):
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    message = to_landmarks(
        np.array([1]), boxes, np.ones(1), np.zeros((1, 5, 2)), to_header(5, 'c')
    )
    if spoil == 'columns':
        message.fields.pop()
    elif spoil == 'length':
        message.width = 1000
    elif spoil == 'step':
        message.point_step = 1
    else:
        message.is_bigendian = not message.is_bigendian
    with pytest.raises(UserError, match='other columns'):
        from_landmarks(message)


def test_rows_of_landmarks_that_cannot_be_are_left_out():
    boxes = np.array([[0, 0, 10, 10], [0, 0, math.nan, 10], [5, 5, 1, 1]], np.float32)
    points = np.zeros((3, 5, 2), np.float32)
    points[0, 2] = math.inf
    ids, faces = from_landmarks(
        to_landmarks(np.array([4, 5, 6]), boxes, np.ones(3), points, to_header(9, 'c'))
    )
    assert ids.tolist() == [4] and faces.stamp == 9 and np.isnan(faces.landmarks).all()


def test_the_intrinsics_of_the_images_are_published_at_their_size(probe, make, portrait):
    make(TrackerNode)
    received = []
    probe.node.create_subscription(CameraInfo, 'faces/camera_info', received.append, 1)
    publisher = probe.publisher(CameraInfo, 'camera/camera_info')
    message = CameraInfo(width=640, height=480, distortion_model='none')
    message.k = [600.0, 0.0, 319.5, 0.0, 600.0, 239.5, 0.0, 0.0, 1.0]

    def step():
        publisher.publish(message)
        return received

    probe.show_until(step, portrait)
    assert (received[0].width, received[0].height, received[0].k[0]) == (320, 240, 300.0)
