# SPDX-License-Identifier: Apache-2.0
"""Messages that are serialized and read directly are those that rclpy makes and reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from face_tracking.errors import UserError
from face_tracking.faces import Detections, Tracks
from face_tracking.nodes.cdr import (
    compressed_image_from_cdr,
    compressed_image_to_cdr,
    image_from_cdr,
    image_to_cdr,
)
from face_tracking.nodes.image_input import read_serialized_image
from face_tracking.nodes.image_messages import (
    JPEG_FORMAT,
    to_compressed,
    to_header,
    to_image,
    to_jpeg,
)
from face_tracking.nodes.messages import (
    detections_to_cdr,
    detections_to_message,
    tracks_to_cdr,
    tracks_to_message,
)

FRAME_IDS = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=9)
STAMPS = st.integers(0, 2**31 * 10**9 - 1)


def assert_same(serialized, message):
    """The bytes are those of the message; what lies between its fields may differ."""
    assert len(serialized) == len(serialize_message(message))
    assert deserialize_message(serialized, type(message)) == message


def random_image(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def random_boxes(count):
    corners = np.random.default_rng(count).uniform(0, 300, (count, 2))
    return np.concatenate([corners, corners + 40], axis=1).astype(np.float32)


@settings(deadline=None)
@given(FRAME_IDS, STAMPS, st.integers(1, 5), st.integers(1, 5))
def test_an_image(frame_id, stamp, height, width):
    image = random_image(height, width)
    message = to_image(image, to_header(stamp, frame_id))
    assert_same(image_to_cdr(image, 'bgr8', stamp, frame_id), message)
    fields = image_from_cdr(serialize_message(message))
    assert fields.header.frame_id == frame_id
    assert (fields.header.stamp.sec, fields.header.stamp.nanosec) == divmod(stamp, 10**9)
    for name in ('height', 'width', 'encoding', 'is_bigendian', 'step'):
        assert getattr(fields, name) == getattr(message, name)
    assert bytes(fields.data) == bytes(message.data)


def test_a_part_of_an_image_whose_rows_are_apart():
    image = random_image(8, 8)[1:5, 2:6]
    assert_same(
        image_to_cdr(image, 'bgr8', 5, 'optical'), to_image(image, to_header(5, 'optical'))
    )


@settings(deadline=None)
@given(FRAME_IDS, STAMPS, st.integers(1, 20))
def test_a_compressed_image(frame_id, stamp, height):
    image = random_image(height, 16)
    message = to_compressed(image, to_header(stamp, frame_id), 80)
    serialized = compressed_image_to_cdr(to_jpeg(image, 80), JPEG_FORMAT, stamp, frame_id)
    assert_same(serialized, message)
    fields = compressed_image_from_cdr(serialize_message(message))
    assert (fields.header.frame_id, fields.format) == (frame_id, message.format)
    assert bytes(fields.data) == bytes(message.data)


@settings(deadline=None)
@given(FRAME_IDS, STAMPS, st.integers(0, 4))
def test_detections_and_tracks(frame_id, stamp, count):
    header, boxes = to_header(stamp, frame_id), random_boxes(count)
    scores = np.linspace(0.5, 1, count, dtype=np.float32)
    detections = Detections(stamp, boxes, scores, np.zeros((count, 5, 2), np.float32))
    assert_same(
        detections_to_cdr(detections, stamp, frame_id), detections_to_message(detections, header)
    )
    tracks = Tracks(stamp, 10 ** np.arange(count), boxes, scores)
    assert_same(tracks_to_cdr(tracks, stamp, frame_id), tracks_to_message(tracks, header))


@pytest.mark.parametrize(
    ('message', 'read'),
    [
        (to_image(random_image(2, 3), to_header(5, 'optical')), image_from_cdr),
        (to_compressed(random_image(9, 9), to_header(5, 'a'), 80), compressed_image_from_cdr),
    ],
)
def test_a_message_that_is_cut_short_is_refused_wherever_it_ends(message, read):
    data = serialize_message(message)
    assert read(data) is not None
    for size in range(4, len(data)):
        with pytest.raises(UserError, match='ends too early'):
            read(data[:size])


def test_big_endian_messages_are_left_to_rclpy():
    image = random_image(2, 2)
    swapped = b'\x00\x00' + image_to_cdr(image, 'bgr8', 5, 'optical')[2:]
    assert image_from_cdr(swapped) is None
    assert compressed_image_from_cdr(swapped) is None


def test_the_pixels_of_a_received_image_are_not_copied():
    image = random_image(4, 4)
    data = image_to_cdr(image, 'bgr8', 5, 'optical')
    frame = read_serialized_image(data, Image, 0)
    np.testing.assert_array_equal(frame.image, image)
    inside = np.frombuffer(data, np.uint8)
    assert np.shares_memory(frame.image, inside)


def test_a_received_jpeg_is_read():
    data = compressed_image_to_cdr(to_jpeg(random_image(16, 24), 90), JPEG_FORMAT, 0, 'optical')
    frame = read_serialized_image(data, CompressedImage, 77)
    assert (frame.width, frame.height, frame.stamp) == (24, 16, 77)


def test_a_subscriber_receives_what_is_published_serialized(probe):
    boxes = random_boxes(2)
    tracks = Tracks(5, np.array([3, 40]), boxes, np.ones(2, np.float32))
    probe.hear(Detection2DArray, 'faces/tracks')
    publisher = probe.publisher(Detection2DArray, 'faces/tracks')
    publisher.publish(tracks_to_cdr(tracks, 5, 'optical'))
    (message,) = probe.until(lambda: probe.heard['faces/tracks'])
    assert message == tracks_to_message(tracks, to_header(5, 'optical'))
