# SPDX-License-Identifier: Apache-2.0
"""The tracker node: ids under the image's header, and whatever comes on its topics."""

import math

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState, PointCloud2
from vision_msgs.msg import Detection2DArray
from visualization_msgs.msg import MarkerArray

from face_tracking.camera_model import CameraModel
from face_tracking.faces import Detections
from face_tracking.nodes.camera_info import to_camera_info
from face_tracking.nodes.image_messages import from_image, from_time, to_header
from face_tracking.nodes.messages import (
    detections_to_message,
)
from face_tracking.nodes.track_states import ROW
from face_tracking.nodes.tracker_node import TrackerNode

TRACKS, FOUND = 'faces/tracks', 'faces/detections'
STEP = 40_000_000
FACE = (111.0, 39.0, 168.0, 110.0)


def message_of(stamp, *boxes, score=0.8):
    """Return a Detection2DArray of boxes."""
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return detections_to_message(
        Detections(
            stamp,
            rows,
            np.full(len(rows), score, np.float32),
            np.full((len(rows), 5, 2), np.nan, np.float32),
        ),
        to_header(stamp, 'camera_optical_frame'),
    )


@pytest.fixture
def tracker(make, probe):
    """Return a function that makes a tracker node; the probe hears its tracks."""
    probe.hear(Detection2DArray, TRACKS)
    return lambda **parameters: make(TrackerNode, **parameters)


@pytest.fixture
def feed(probe, portrait):
    """Return a function that shows an image with a detection until the tracks satisfy."""
    clock = {'stamp': 10**9}

    def until(condition, found=message_of, image=portrait):
        def step():
            clock['stamp'] += STEP
            probe.show(image, clock['stamp'])
            if found is not None:
                probe.publisher(Detection2DArray, FOUND).publish(found(clock['stamp'], FACE))
            answered = len(probe.heard[TRACKS])
            probe.until(lambda: len(probe.heard[TRACKS]) > answered)
            return condition()

        for _ in range(200):
            if value := step():
                return value
        raise AssertionError('200 images in vain')

    until.clock = clock
    return until


def newest(probe):
    """Return the newest tracks that were heard."""
    return probe.heard[TRACKS][-1]


def test_a_face_gets_an_id_under_the_header_of_the_image(probe, tracker, feed, faces_of):
    tracker()
    assert list(feed(lambda: probe.heard[TRACKS])[0].detections) == []
    feed(lambda: newest(probe).detections)
    ((number, score, (x, y, width, _height)),) = faces_of(newest(probe))
    assert number == '1' and score == pytest.approx(0.8)
    assert abs(x - 139.5) < 5 and abs(y - 74.5) < 5 and abs(width - 57) < 6
    assert from_time(newest(probe).header.stamp) == feed.clock['stamp']
    assert newest(probe).header.frame_id == 'camera_optical_frame'


@pytest.mark.parametrize('what', ['nan', 'negative', 'infinite'])
def test_impossible_boxes_change_nothing(probe, tracker, feed, faces_of, what, capfd):
    def spoilt(stamp, box):
        message = message_of(stamp, box, box, box)
        for face in message.detections[1:]:
            if what == 'nan':
                face.bbox.center.position.x = math.nan
            elif what == 'negative':
                face.bbox.size_x = -40.0
            else:
                face.bbox.size_y = math.inf
        return message

    tracker()
    feed(lambda: newest(probe).detections, found=spoilt)
    assert len(faces_of(newest(probe))) == 1
    feed(lambda: probe.refused('tracker_node', 'detections') >= 4, found=spoilt)
    assert capfd.readouterr().err.count('detections were refused') == 1


def test_stamps_that_go_backwards(probe, tracker, feed):
    tracker()
    feed(lambda: newest(probe).detections)
    feed.clock['stamp'] -= 5 * 10**9
    feed(lambda: newest(probe).detections)
    assert from_time(newest(probe).header.stamp) == feed.clock['stamp']
    assert newest(probe).detections[0].id == '1'


def test_bad_images_are_counted_and_the_next_good_one_is_tracked(probe, tracker, feed):
    tracker()
    for number, bad in enumerate(
        [
            Image(),
            Image(width=8, height=8, encoding='bgr8', step=3),
            Image(width=8, height=8, encoding='rgba8', step=24),
            Image(width=8, height=8, encoding='bayer_rggb8', step=8),
        ]
    ):
        probe.show(bad, 0)
        probe.until(lambda n=number: probe.refused('tracker_node', 'images') == n + 1)
    feed(lambda: newest(probe).detections)


@pytest.mark.parametrize(
    ('encoding', 'code'), [('mono8', cv2.COLOR_BGR2GRAY), ('rgba8', cv2.COLOR_BGR2RGBA)]
)
def test_other_encodings_are_tracked(probe, tracker, portrait, encoding, code):
    pixels = cv2.cvtColor(portrait, code)
    message = Image(
        header=to_header(10**9, 'eye'),
        height=240,
        width=320,
        encoding=encoding,
        step=pixels.size // 240,
    )
    message.data.frombytes(pixels.tobytes())
    tracker()
    probe.show(message, 0)
    assert probe.until(lambda: probe.heard[TRACKS])[0].header.frame_id == 'eye'


def test_weak_detections_keep_a_track_for_a_bounded_time_but_spawn_none(probe, tracker, feed):
    score = {'now': 0.4}

    def candidates(stamp, box):
        probe.publisher(Detection2DArray, 'faces/detections_low_confidence').publish(
            message_of(stamp, box, score=score['now'])
        )
        return message_of(stamp)  # among the detections it is not

    tracker(max_time_since_update=0.3, max_misses=2, visual_tracker='none')
    shown = iter(range(10))
    feed(lambda: next(shown) == 8, found=candidates)
    assert not any(message.detections for message in probe.heard[TRACKS])
    score['now'] = 0.9
    shown = iter(range(30))
    feed(lambda: next(shown) == 25, found=candidates)
    score['now'] = 0.4
    shown = iter(range(10))
    feed(lambda: next(shown) == 8, found=candidates)
    assert [face.id for face in newest(probe).detections] == ['1']
    shown = iter(range(60))
    feed(lambda: next(shown) == 50, found=candidates)
    assert not newest(probe).detections


def test_a_paused_node_has_no_subscriptions(probe, tracker, feed):
    node = tracker()
    feed(lambda: newest(probe).detections)
    assert probe.enable('tracker_node', False).message == 'paused'
    probe.until(lambda: node.count_subscribers('camera/image_raw') == 0)
    assert node.count_subscribers(FOUND) == 0
    probe.until(lambda: probe.says('tracker_node')[1] == 'paused')
    assert probe.enable('tracker_node', True).success
    feed(lambda: newest(probe).detections)


def test_the_annotated_image_is_drawn_only_for_subscribers(
    probe, tracker, feed, portrait, monkeypatch
):
    import face_tracking.nodes.tracker_node as module

    drawn = []
    monkeypatch.setattr(
        module,
        'annotate',
        lambda *args, real=module.annotate, **named: drawn.append(1) or real(*args, **named),
    )
    tracker()
    feed(lambda: newest(probe).detections)
    assert not drawn
    probe.hear(Image, 'faces/annotated')
    probe.hear(CompressedImage, 'faces/annotated/compressed')
    feed(lambda: probe.heard['faces/annotated'] and probe.heard['faces/annotated/compressed'])
    message = probe.heard['faces/annotated'][-1]
    photo = from_image(message).image
    assert photo.shape == portrait.shape and (photo != portrait).any(axis=2).sum() > 100
    assert from_time(message.header.stamp) <= feed.clock['stamp']
    assert probe.set('tracker_node', annotate=False)[0].successful


def test_markers_are_at_the_position_of_the_face(probe, tracker, feed):
    camera = CameraModel.from_fov(320, 240, 1.0)
    tracker(face_height=0.2)
    probe.hear(MarkerArray, 'faces/markers')
    feed(lambda: 'camera_info' in probe.says('tracker_node')[1])
    info = to_camera_info(camera, to_header(1, 'camera_optical_frame'))

    def told():
        probe.publisher(CameraInfo, 'camera/camera_info').publish(info)
        return any(len(message.markers) > 1 for message in probe.heard['faces/markers'])

    feed(told)
    _, sphere, label = probe.heard['faces/markers'][-1].markers
    assert label.text == '1' and sphere.header.frame_id == 'camera_optical_frame'
    place = sphere.pose.position
    assert place.z == pytest.approx(0.2 * camera.fy / 71, rel=0.1)
    assert place.x == pytest.approx((139.5 - 160) / camera.fx * place.z, abs=0.02)


def test_track_states_have_velocities_and_ages(probe, tracker, feed):
    tracker()
    probe.hear(PointCloud2, 'faces/track_states')
    feed(lambda: probe.heard['faces/track_states'] and probe.heard['faces/track_states'][-1].width)
    message = probe.heard['faces/track_states'][-1]
    assert [field.name for field in message.fields] == list(ROW.names)
    (row,) = np.frombuffer(message.data, ROW)
    # An image may come before what was detected in it.
    assert row['id'] == 1 and row['time_since_update'] <= STEP / 1e9 + 1e-6 and row['age'] >= 0
    assert (row['u'], row['v']) == pytest.approx((139.5, 74.5), abs=3)
    assert abs(row['u_rate']) < 60 and abs(row['v_rate']) < 60
    assert message.header.frame_id == 'camera_optical_frame'


def test_predicted_tracks_are_published_for_subscribers(probe, tracker, feed):
    tracker()
    probe.hear(Detection2DArray, 'faces/tracks_predicted')
    feed(
        lambda: (
            probe.heard['faces/tracks_predicted']
            and probe.heard['faces/tracks_predicted'][-1].detections
        )
    )
    message = probe.heard['faces/tracks_predicted'][-1]
    assert message.detections[0].id == '1'
    assert from_time(message.header.stamp) >= feed.clock['stamp'] - STEP


def test_options_change_while_ids_stay(probe, tracker, feed):
    tracker()
    feed(lambda: newest(probe).detections)
    assert all(
        result.successful
        for result in probe.set(
            'tracker_node', visual_tracker='none', max_misses=10, iou_threshold=0.3
        )
    )
    shown = iter(range(10))
    feed(lambda: next(shown) == 5)
    assert [face.id for face in newest(probe).detections] == ['1']
    probe.until(lambda: probe.value('tracker_node', 'visual_tracker') == 'none')


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('visual_tracker', 'telepathy'),
        ('min_hits', 0),
        ('max_time_since_update', -1.0),
        ('iou_threshold', 1.5),
        ('jpeg_quality', 101),
        ('face_height', 0.0),
    ],
)
def test_a_value_out_of_range_is_refused(probe, tracker, name, value):
    tracker()
    (result,) = probe.set('tracker_node', **{name: value})
    assert not result.successful and result.reason


def test_the_joints_predict_the_motion_of_an_image_without_texture(tracker, feed, probe):
    tracker(use_joint_states=True)
    camera = CameraModel.from_fov(320, 240, math.radians(60))
    blank = np.full((240, 320, 3), 128, np.uint8)
    turned = {'pan': 0.0}

    def turn(radians):
        turned['pan'] += radians
        message = JointState(
            header=to_header(feed.clock['stamp'] + STEP, ''),
            name=['pan_joint', 'tilt_joint'],
            position=[turned['pan'], 0.0],
        )
        probe.publisher(JointState, 'joint_states').publish(message)
        probe.publisher(CameraInfo, 'camera/camera_info').publish(
            to_camera_info(camera, message.header)
        )

    def across():
        boxes = [row.bbox.center.position.x for row in probe.heard[TRACKS][-1].detections]
        return boxes[0] if boxes else None

    def seen():
        turn(0.0)
        return across()

    start = feed(seen, image=blank)

    def moved():
        turn(0.01)  # to the left, so that the image moves to the right
        now = across()
        return now is not None and now > start + 0.05 * camera.fx

    feed(moved, found=None, image=blank)
