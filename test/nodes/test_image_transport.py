# SPDX-License-Identifier: Apache-2.0
"""Images that travel as JPEG: from the camera to the nodes without being encoded again."""

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Detection2DArray

from face_tracking.camera import factory
from face_tracking.encoded_images import JpegImage
from face_tracking.nodes.camera_node import CameraNode
from face_tracking.nodes.detector_node import DetectorNode
from face_tracking.nodes.tracker_node import TrackerNode
from face_tracking.simulation import virtual_camera

TOPIC = 'camera/image_raw/compressed'


@pytest.fixture
def jpeg_folder(tmp_path, portrait):
    """Return a folder with one JPEG image, as a camera delivers them."""
    cv2.imwrite(str(tmp_path / 'portrait.jpg'), portrait)
    return tmp_path


@pytest.fixture
def camera(make, jpeg_folder):
    """Return a function that makes a camera node that shows the image over and over."""

    def start(**parameters):
        return make(
            CameraNode, camera=str(jpeg_folder), frame_rate=30.0, width=0, height=0, **parameters
        )

    return start


def test_jpeg_of_the_camera_is_published_unchanged(probe, camera, jpeg_folder):
    probe.hear(CompressedImage, TOPIC)
    camera(jpeg_quality=5)
    probe.until(lambda: len(probe.heard[TOPIC]) > 2)
    assert bytes(probe.heard[TOPIC][-1].data) == (jpeg_folder / 'portrait.jpg').read_bytes()


def test_mirrored_jpeg_is_encoded_again(probe, camera, portrait):
    probe.hear(CompressedImage, TOPIC)
    camera(flip_horizontal=True)
    probe.until(lambda: len(probe.heard[TOPIC]) > 2)
    data = np.frombuffer(probe.heard[TOPIC][-1].data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert np.abs(image.astype(int) - portrait[:, ::-1]).mean() < 8


def test_detector_and_tracker_take_compressed_images(probe, camera, make, model, portrait):
    probe.hear(Detection2DArray, 'faces/tracks')
    make(DetectorNode, model=model, detect_interval=1, image_transport='compressed')
    make(TrackerNode, image_transport='compressed')
    camera()
    tracks = probe.until(
        lambda: next((m for m in probe.heard['faces/tracks'] if m.detections), None)
    )
    box = tracks.detections[0].bbox
    # In pixels of the full image, whatever size was decoded.
    assert abs(box.center.position.x - 139) < 12 and 40 < box.size_y < 100


def test_damaged_compressed_image_is_reported_and_the_next_one_is_used(probe, make, portrait):
    probe.hear(Detection2DArray, 'faces/tracks')
    make(TrackerNode, image_transport='compressed')
    publisher = probe.publisher(CompressedImage, TOPIC)
    whole = cv2.imencode('.jpg', portrait)[1].tobytes()

    def publish(data):
        message = CompressedImage(format='jpeg')
        message.header.stamp = probe.node.get_clock().now().to_msg()
        message.data = list(data)
        publisher.publish(message)
        return probe.heard['faces/tracks']

    probe.until(lambda: publish(b'nothing') is None or publisher.get_subscription_count())
    for _ in range(3):
        publish(b'nothing')
        publish(whole[:300])
    probe.until(lambda: publish(whole))


def test_full_size_color_is_not_decoded_for_detector_and_tracker(
    probe, camera, make, model, portrait, jpeg_folder, monkeypatch
):
    large = cv2.resize(portrait, (640, 480))
    cv2.imwrite(str(jpeg_folder / 'portrait.jpg'), large)
    decoded = []
    real = JpegImage._decoded
    monkeypatch.setattr(
        JpegImage, '_decoded', lambda self, mode: decoded.append(mode) or real(self, mode)
    )
    tracked = []
    detector = make(DetectorNode, subscribe=False, model=model, detect_interval=2)
    tracker = make(TrackerNode, subscribe=False)
    tracker.on_tracks.append(lambda frame, tracks: tracked.append(frame))
    node = camera()
    node.on_frame += [detector.submit, tracker.submit]
    probe.until(lambda: len(tracked) > 20)
    # The network takes 320x240 pixels, the tracker 160x120.
    assert set(decoded) <= {cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_4}


def test_controls_are_set_without_opening_the_camera_again(probe, make, monkeypatch):
    opened, adjusted = [], []

    class Adjustable(virtual_camera.VirtualCamera):
        def __init__(self, *arguments):
            opened.append(self)
            super().__init__(*arguments)

        def set_controls(self, controls):
            adjusted.append(controls)

    monkeypatch.setattr(virtual_camera, 'VirtualCamera', Adjustable)
    node, seen = make(CameraNode, camera='virtual', width=160, height=120), []
    node.on_frame.append(seen.append)
    probe.until(lambda: seen)
    (result,) = probe.set('camera_node', exposure=5.0)
    assert result.successful
    probe.until(lambda: adjusted)
    assert (adjusted[-1].exposure, adjusted[-1].gain, len(opened)) == (5.0, 0.0, 1)
    assert factory.split_uri('virtual') == ('virtual', '')
