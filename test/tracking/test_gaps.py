# SPDX-License-Identifier: Apache-2.0
"""While nothing moves fast, two of three images are left out, and nothing is lost by that."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scripted_scene import INTERVAL, detections

from benchmarks.pipeline_scene import draw, to_jpeg, to_yuyv
from face_tracking.encoded_images import ArrayImage, JpegImage, PackedYuvImage
from face_tracking.errors import UserError
from face_tracking.frame import Frame
from face_tracking.tracking import appearance
from face_tracking.tracking.tracker import FaceTracker

COUNT = 60


class Camera:
    """Images of a face at given offsets, and how many of them were decoded to gray."""

    def __init__(self, shifted_face, offsets):
        self.decoded, self.frames, self.boxes = [], [], []
        for number, offset in enumerate(offsets):
            image, box = shifted_face(offset)
            data = to_jpeg(image)
            source = JpegImage(data, image.shape[1], image.shape[0])
            source._gray = self._counted(source._gray, number)
            self.frames.append(Frame(source, number * INTERVAL))
            self.boxes.append(box)

    def _counted(self, decode, number):
        def gray(divisor):
            self.decoded.append(number)
            return decode(divisor)

        return gray


def run(tracker, camera, interval=5):
    """Return the box of the only track in each image."""
    boxes = []
    for number, frame in enumerate(camera.frames):
        if number % interval == 0:
            tracker.add_detections(detections(frame.stamp, camera.boxes[number]))
        boxes.append(tracker.step(frame, frame.stamp).boxes[0])
    return np.array(boxes)


def test_two_of_three_images_of_a_calm_scene_are_not_decoded(shifted_face):
    camera = Camera(shifted_face, [0] * COUNT)
    run(FaceTracker(), camera)
    late = [number for number in camera.decoded if number >= 20]
    # Of some others gray is derived from the colors in which the face is described.
    assert (COUNT - 20) // 5 <= len(late) <= (COUNT - 20) // 3 + 2


def test_colors_for_the_detector_do_not_look_like_motion(astronaut):
    portrait = np.ascontiguousarray(astronaut[:300, 80:380])
    still = draw(portrait, 640, 480, faces=1, count=1)[0]
    camera = Camera(lambda _: (still, np.array([270, 156, 356, 265])), [0] * COUNT)
    for frame in camera.frames[::5]:
        frame.expect_bgr(320, 240)
    run(FaceTracker(), camera)
    late = [number for number in camera.decoded if number >= 10]
    assert 1 <= len(late) <= (COUNT - 10) // 5


@pytest.mark.parametrize('speed', [1, 12])
def test_a_face_that_begins_to_move_is_followed_all_the_same(shifted_face, speed):
    offsets = [0] * 30 + [speed * number for number in range(1, 10)]
    camera = Camera(shifted_face, offsets)
    found = run(FaceTracker(), camera, interval=100)
    thorough = FaceTracker()
    thorough._may_skip = lambda *_: False
    expected = run(thorough, Camera(shifted_face, offsets), interval=100)
    assert len(set(camera.decoded) & set(range(30))) < 17
    # Two images may be left out at the begin; from then on the face is where it is.
    np.testing.assert_allclose(found[32:], expected[32:], atol=0.5)


def test_images_of_which_the_colors_are_needed_are_not_left_out(shifted_face):
    camera = Camera(shifted_face, [0] * COUNT)
    tracker = FaceTracker()
    for frame in camera.frames:
        frame.expect_bgr(320, 240)
        assert not tracker.will_skip(frame, frame.stamp)
        tracker.step(frame, frame.stamp)


def test_a_late_detection_in_an_image_left_out_is_described_in_the_one_before_it(shifted_face):
    image, face = shifted_face(0)
    described = []

    def extract(pyramid, boxes, landmarks):
        described.append(pyramid)
        return appearance.CUE.extract(pyramid, boxes, landmarks)

    tracker = FaceTracker(cues=[replace(appearance.CUE, extract=extract, interval=0.0)])
    left_out = []
    for number in range(COUNT):
        frame = Frame(PackedYuvImage(to_yuyv(image)), number * INTERVAL)
        if number % 5 == 0:
            tracker.add_detections(detections(frame.stamp, face))
        elif tracker.will_skip(frame, frame.stamp):
            left_out.append(number)
        tracker.step(frame, frame.stamp)
    *_, late, _ = left_out
    kept = {id(tracker._history[number].pyramid) for number in range(20, COUNT)}
    assert late > 50 and len(kept) < (COUNT - 20) / 2, 'images left out take no memory'

    before = len(described)
    tracker.add_detections(detections(late * INTERVAL, face))
    tracks = tracker.predict(COUNT * INTERVAL)
    assert len(described) == before + 1 and tracks.ids.tolist() == [1]
    looked_at = max(set(range(late)) - set(left_out))
    assert described[-1] is tracker._history[looked_at].pyramid


@pytest.mark.parametrize('left_out', [False, True])
def test_a_detection_in_time_corrects_the_track_whether_its_image_is_left_out(
    shifted_face, left_out
):
    image, face = shifted_face(0)
    moved = face + np.array([12, 0, 12, 0])
    tracker, found, sent = FaceTracker(), [], None
    for number in range(45):
        frame = Frame(PackedYuvImage(to_yuyv(image)), number * INTERVAL)
        skips = tracker.will_skip(frame, frame.stamp)
        if number in (0, 5, 10, 15):
            tracker.add_detections(detections(frame.stamp, face))
        elif number > 25 and sent is None and skips == left_out:
            sent = number
            tracker.add_detections(detections(frame.stamp, moved))
        found.append(tracker.step(frame, frame.stamp).boxes[0, 0])
    after = np.array(found[sent : sent + 4])
    assert (after - found[sent - 1] > 5).all()


def test_an_older_detection_that_arrives_later_leaves_the_newer_one_in_effect(shifted_face):
    image, face = shifted_face(0)
    moved = face + np.array([12, 0, 12, 0])

    def last_box(order):
        tracker = FaceTracker()
        for number in range(30):
            for seen, arrives, box in ((0, 0, face), (5, 5, face), (10, 10, face), *order):
                if arrives == number:
                    tracker.add_detections(detections(seen * INTERVAL, box))
            box = tracker.step(image, number * INTERVAL).boxes[0]
        return box

    expected = last_box([(18, 18, face), (20, 20, moved)])
    assert expected[0] > face[0] + 4
    np.testing.assert_allclose(last_box([(20, 20, moved), (18, 23, face)]), expected, atol=0.5)


def camera_with_damage(shifted_face, damaged, count):
    """Return frames of a calm scene of which one is a damaged JPEG file."""
    image, _ = shifted_face(0)
    data = to_jpeg(image)
    files = [b'\0' * len(data) if number == damaged else data for number in range(count)]
    return [
        Frame(JpegImage(file, image.shape[1], image.shape[0]), number * INTERVAL)
        for number, file in enumerate(files)
    ]


def test_a_damaged_first_image_is_reported_and_the_next_one_is_used(shifted_face):
    first, *others = camera_with_damage(shifted_face, 0, 10)
    tracker = FaceTracker()
    with pytest.raises(UserError, match='cannot be decoded'):
        tracker.step(first, first.stamp)
    for frame in others:
        tracker.step(frame, frame.stamp)


def test_a_damaged_image_left_out_before_the_clock_goes_back_does_no_harm(shifted_face):
    frames = camera_with_damage(shifted_face, 39, 60)
    tracker = FaceTracker()
    for number, frame in enumerate(frames):
        stamp = frame.stamp - (30 * INTERVAL if number >= 40 else 0)
        if number == 39:
            assert tracker.will_skip(frame, stamp)
        tracker.step(frame, stamp)


def test_another_scene_is_not_left_out(shifted_face):
    camera = Camera(shifted_face, [0] * COUNT)
    tracker = FaceTracker()
    run(tracker, camera)
    frame = Frame(camera.frames[-1].source, COUNT * INTERVAL)
    if not tracker.will_skip(frame, frame.stamp):  # the two before were left out
        tracker.step(frame, frame.stamp)
        frame = frame.with_stamp((COUNT + 1) * INTERVAL)
    assert tracker.will_skip(frame, frame.stamp)
    noise = np.random.default_rng(0).integers(0, 256, (frame.height, frame.width, 3), np.uint8)
    data = cv2.imencode('.jpg', noise)[1].tobytes()
    other = Frame(JpegImage(data, frame.width, frame.height), frame.stamp)
    assert not tracker.will_skip(other, other.stamp)


def test_a_glance_tells_scenes_apart():
    light, dark = (np.full((48, 64, 3), level, np.uint8) for level in (90, 160))
    assert ArrayImage(light).resembles(ArrayImage(light + 3))
    assert not ArrayImage(light).resembles(ArrayImage(dark))
    assert not ArrayImage(light).resembles(ArrayImage(light[:20]))
    yuyv, other = (PackedYuvImage(image[..., :2]) for image in (light, dark))
    assert yuyv.resembles(yuyv) and not yuyv.resembles(other)
    assert not yuyv.resembles(ArrayImage(light))
    assert JpegImage(b'x' * 100, 8, 8).resembles(JpegImage(b'x' * 103, 8, 8))
    assert not JpegImage(b'x' * 100, 8, 8).resembles(JpegImage(b'x' * 120, 8, 8))
