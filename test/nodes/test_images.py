# SPDX-License-Identifier: Apache-2.0
"""Images as messages, and messages that are no images."""

import array

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge
from sensor_msgs.msg import Image

from face_tracking.errors import UserError
from face_tracking.nodes.images import (
    from_image,
    from_time,
    to_compressed,
    to_header,
    to_image,
    to_time,
)

HEADER = to_header(1_700_000_000_123_456_789, 'optical')


def image_message(encoding, pixels, step=None, **changes):
    """Return a message with packed rows, or those of ``step`` bytes."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1).view(np.uint8)
    step = step or rows.shape[1]
    padded = np.zeros((height, max(step, rows.shape[1])), np.uint8)
    padded[:, : rows.shape[1]] = rows
    message = Image(header=HEADER, height=height, width=width, encoding=encoding, step=step)
    message.data = array.array('B', padded.tobytes())
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.fixture
def photo():
    """Return a small image in which every pixel differs."""
    return np.random.default_rng(1).integers(0, 256, (10, 14, 3), np.uint8)


@pytest.mark.parametrize('stamp', [0, 1, 999_999_999, 10**9, 1_700_000_000_123_456_789])
def test_stamps_survive(stamp):
    assert from_time(to_time(stamp)) == stamp


def test_a_frame_survives_with_its_header(photo):
    frame = from_image(to_image(photo, HEADER), sequence=7)
    assert (frame.image == photo).all()
    assert (frame.stamp, frame.frame_id, frame.sequence) == (
        1_700_000_000_123_456_789,
        'optical',
        7,
    )


def test_a_part_of_a_larger_image_is_packed(photo):
    part = photo[2:8, 3:9]
    message = to_image(part, HEADER)
    assert (message.step, message.width, message.height) == (18, 6, 6)
    assert (from_image(message).image == part).all()


def test_bgr8_is_a_view(photo):
    message = to_image(photo, HEADER)
    assert np.shares_memory(from_image(message).image, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    ('encoding', 'code'),
    [
        ('bgr8', None),
        ('8UC3', None),
        ('rgb8', cv2.COLOR_BGR2RGB),
        ('rgba8', cv2.COLOR_BGR2RGBA),
        ('bgra8', cv2.COLOR_BGR2BGRA),
    ],
)
@pytest.mark.parametrize('padding', [0, 5])
def test_color_encodings_give_the_same_image(photo, encoding, code, padding):
    pixels = photo if code is None else cv2.cvtColor(photo, code)
    step = pixels.shape[1] * pixels.shape[2] + padding
    assert (from_image(image_message(encoding, pixels, step)).image == photo).all()


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_mono_becomes_gray(photo, encoding):
    found = from_image(image_message(encoding, photo[:, :, 0])).image
    assert (found == photo[:, :, :1]).all() and found.shape == photo.shape


@pytest.mark.parametrize('big', [0, 1])
def test_mono16_keeps_its_high_byte(photo, big):
    wide = (photo[:, :, 0].astype(np.uint16) << 8) + 77
    message = image_message('mono16', wide.astype('>u2' if big else '<u2'), is_bigendian=big)
    assert (from_image(message).image == photo[:, :, :1]).all()


@pytest.mark.parametrize(
    ('pattern', 'places'), [('rggb', 'rggb'), ('bggr', 'bggr'), ('gbrg', 'gbrg'), ('grbg', 'grbg')]
)
def test_bayer_gives_the_color_back(pattern, places):
    blue, green, red = 30, 120, 220
    values = {'b': blue, 'g': green, 'r': red}
    mosaic = np.zeros((16, 16), np.uint8)
    for index, letter in enumerate(places):
        mosaic[index // 2 :: 2, index % 2 :: 2] = values[letter]
    found = from_image(image_message(f'bayer_{pattern}8', mosaic)).image
    assert (found[4:-4, 4:-4] == [blue, green, red]).all()


@pytest.mark.parametrize(
    ('encoding', 'luma'), [('yuyv', 0), ('yuv422_yuy2', 0), ('uyvy', 1), ('yuv422', 1)]
)
def test_yuv_without_color_is_gray(encoding, luma):
    pixels = np.full((8, 8, 2), 128, np.uint8)
    pixels[:, :, luma] = 235
    assert from_image(image_message(encoding, pixels)).image.min() >= 250


@pytest.mark.parametrize('encoding', ['rgb8', 'bgra8', 'rgba8', 'mono8'])
def test_cv_bridge_sees_the_same(photo, encoding):
    pixels = {'rgb8': photo, 'mono8': photo[:, :, 0]}.get(
        encoding, np.dstack([photo, photo[:, :, :1]])
    )
    message = image_message(encoding, pixels)
    assert (from_image(message).image == CvBridge().imgmsg_to_cv2(message, 'bgr8')).all()


@pytest.mark.parametrize(
    ('message', 'problem'),
    [
        (Image(), '0x0'),
        (Image(width=4, encoding='bgr8', step=12), '4x0'),
        (image_message('32FC1', np.zeros((4, 4), np.float32)), "'32FC1'"),
        (image_message('', np.zeros((4, 4), np.uint8)), "''"),
        (image_message('bgr8', np.zeros((4, 4, 3), np.uint8), step=11), 'step of 11'),
        (image_message('rgba8', np.zeros((4, 4, 3), np.uint8)), 'step of 12'),
        (
            image_message('mono8', np.zeros((4, 4), np.uint8), step=0, height=4, width=8),
            'step of 4',
        ),
        (image_message('bgr8', np.zeros((4, 4, 3), np.uint8), height=5), '48 bytes'),
        (image_message('bgr8', np.zeros((4, 4, 3), np.uint8), data=array.array('B')), '0 bytes'),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(message, problem):
    with pytest.raises(UserError) as caught:
        from_image(message)
    assert problem in str(caught.value) and '\n' not in str(caught.value)
    assert caught.value.remedy


def test_compressed_is_a_jpeg_of_the_quality_asked_for(astronaut):
    fine, coarse = (to_compressed(astronaut, HEADER, quality) for quality in (95, 20))
    assert len(coarse.data) < len(fine.data) / 2
    again = cv2.imdecode(np.frombuffer(fine.data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(again.astype(int) - astronaut).mean() < 4
    assert 'jpeg' in fine.format and fine.header == HEADER
