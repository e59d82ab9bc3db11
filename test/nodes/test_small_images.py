# SPDX-License-Identifier: Apache-2.0
"""Small images for a detector on another machine: boxes stay in pixels of the camera's images."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Detection2DArray

from face_tracking.errors import UserError
from face_tracking.frame import Frame
from face_tracking.nodes.camera_node import CameraNode
from face_tracking.nodes.detector_node import DetectorNode
from face_tracking.nodes.small_images import (
    RateLimit,
    SmallImageOptions,
    frame_from_compressed,
    to_small,
)

TOPIC = 'camera/image_small/compressed'


@pytest.fixture
def large(portrait):
    """Return the portrait at four times its size, 1280x960."""
    return cv2.resize(portrait, (1280, 960))


def test_small_image_stands_for_the_full_one(large):
    message = to_small(Frame(large, 5, 'eye'), SmallImageOptions())
    assert message.format.endswith('; of 1280x960')
    small = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert small.shape == (240, 320, 3)
    frame = frame_from_compressed(message)
    assert (frame.width, frame.height, frame.stamp, frame.frame_id) == (1280, 960, 5, 'eye')
    assert frame.scaled_bgr(320, 240).shape == (240, 320, 3)
    assert frame.image.shape == large.shape
    assert np.abs(frame.image.astype(int) - large).mean() < 12
    assert frame.gray(160, 120).shape == (120, 160)
    assert frame.reduced(160, 120).small_gray().shape == (120, 160)


def test_image_that_states_no_size_is_of_its_own(portrait):
    data = cv2.imencode('.jpg', portrait)[1].tobytes()
    frame = frame_from_compressed(CompressedImage(format='jpeg', data=list(data)))
    assert (frame.width, frame.height) == (320, 240)


@pytest.mark.parametrize('size', ['160x120', '99999x74999', '640x640', '0x0'])
def test_impossible_size_is_refused(portrait, size):
    data = cv2.imencode('.jpg', portrait)[1].tobytes()
    with pytest.raises(UserError, match='states that it was made from'):
        frame_from_compressed(CompressedImage(format=f'jpeg; of {size}', data=list(data)))


@pytest.mark.parametrize(('rate', 'sent'), [(10.0, 10), (0.0, 30), (20.0, 20), (60.0, 30)])
def test_rate_is_kept_in_steps_of_the_images(monkeypatch, rate, sent):
    clock = [100.0]
    monkeypatch.setattr('face_tracking.nodes.small_images.time.monotonic', lambda: clock[0])
    images, count = RateLimit(), 0
    for _ in range(90):
        count += images.due(rate)
        clock[0] += 1 / 30
    assert count == pytest.approx(3 * sent, abs=2)


def test_detector_finds_the_face_where_it_is_in_the_camera_image(
    probe, make, model, large, tmp_path
):
    cv2.imwrite(str(tmp_path / '1.png'), large)
    probe.hear(Detection2DArray, 'faces/detections')
    make(DetectorNode, model=model, detect_interval=1, image_transport='small')
    make(CameraNode, camera=str(tmp_path), width=0, height=0, frame_rate=10.0)
    found = probe.until(
        lambda: next((m for m in probe.heard['faces/detections'] if m.detections), None)
    )
    assert abs(found.detections[0].bbox.center.position.x - 4 * 139) < 48


def test_detector_stands_by_while_another_one_detects(probe, make, model, portrait):
    """It begins when the other one is silent, and stops when that is received again."""
    node = make(DetectorNode, model=model, detect_interval=1, standby=0.5)
    found = []
    node.on_detections.append(found.append)
    probe.show_until(lambda: len(found) > 2, portrait)
    other = probe.publisher(Detection2DArray, 'faces/detections')

    def standing_by() -> bool:
        other.publish(Detection2DArray())
        return 'standing by' in probe.says('detector_node')[1]

    probe.show_until(standing_by, portrait, start=10**12)
    before = len(found)
    end = time.monotonic() + 2
    probe.show_until(
        lambda: other.publish(Detection2DArray()) or time.monotonic() > end,
        portrait,
        start=10**13,
    )
    assert len(found) == before
    probe.show_until(lambda: len(found) > before + 3, portrait, start=10**14)
