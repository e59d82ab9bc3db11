# SPDX-License-Identifier: Apache-2.0
"""Images as messages, and messages that are no images."""

import array

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image

from face_tracking.errors import UserError
from face_tracking.frame import Frame
from face_tracking.nodes.image_messages import (
    ENCODINGS,
    from_compressed,
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


def planes_message(encoding, planes, width, height, step):
    """Return a message whose rows, of ``step`` bytes, hold several planes."""
    message = Image(header=HEADER, height=height, width=width, encoding=encoding, step=step)
    message.data = array.array('B', planes.tobytes())
    return message


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'nv24'])
@pytest.mark.parametrize('padding', [0, 16])
def test_semi_planar_yuv_gives_the_color_back(encoding, padding):
    # Pure red in BT.601 video levels.
    luma, u, v = 81, 90, 240
    width, height, step = 16, 8, 16 + padding
    chroma = [v, u] if encoding == 'nv21' else [u, v]
    if encoding == 'nv24':
        planes = np.full((3 * height, step), luma, np.uint8)
        planes[height:] = np.tile(chroma, (2 * height, step // 2))
    else:
        planes = np.full((height * 3 // 2, step), luma, np.uint8)
        planes[height:] = np.tile(chroma, (height // 2, step // 2))
    frame = from_image(planes_message(encoding, planes, width, height, step))
    assert frame.image.shape == (height, width, 3)
    assert np.abs(frame.image.astype(int) - [0, 0, 255]).max() <= 4
    assert np.abs(frame.scaled_bgr(8, 4).astype(int) - [0, 0, 255]).max() <= 4


@pytest.mark.parametrize('order', ['bgr', 'rgb', 'bgra', 'rgba'])
@pytest.mark.parametrize('big', [0, 1])
def test_color_of_16_bits_keeps_its_high_bytes(photo, order, big):
    code = {'rgb': cv2.COLOR_BGR2RGB, 'bgra': cv2.COLOR_BGR2BGRA, 'rgba': cv2.COLOR_BGR2RGBA}
    pixels = cv2.cvtColor(photo, code[order]) if order in code else photo
    wide = (pixels.astype(np.uint16) << 8) + 33
    message = image_message(f'{order}16', wide.astype('>u2' if big else '<u2'), is_bigendian=big)
    assert (from_image(message).image == photo).all()


def test_bayer_of_16_bits_is_that_of_8():
    mosaic = np.random.default_rng(0).integers(0, 256, (12, 16), np.uint8)
    wide = mosaic.astype('<u2') << 8
    one = from_image(image_message('bayer_rggb8', mosaic)).image
    assert (from_image(image_message('bayer_rggb16', wide)).image == one).all()


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1', '8UC2', '64FC4', 'h264', '8SC3'])
def test_what_cv_bridge_does_not_convert_is_one_line(encoding):
    message = image_message(encoding, np.zeros((4, 4, 32), np.uint8))
    with pytest.raises(UserError) as caught:
        from_image(message)
    assert encoding in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('encoding', ['yuyv', 'uyvy', 'nv12', 'nv21', 'nv24', 'bayer_rggb8'])
def test_odd_sides_of_subsampled_encodings_are_one_line(encoding):
    message = image_message(encoding, np.zeros((3, 3, 6), np.uint8))
    with pytest.raises(UserError, match=f'3x3 pixels in {encoding!r} cannot be converted'):
        from_image(message)


def test_everything_in_a_message_is_bounded(photo):
    message = to_image(photo, HEADER)
    message.encoding = 'x' * 1_000_000
    with pytest.raises(UserError) as caught:
        from_image(message)
    assert len(str(caught.value)) < 500
    message = to_image(photo, to_header(1, 'y' * 1_000_000))
    with pytest.raises(UserError, match='frame_id of 1000000 characters'):
        from_image(message)
    for width, height in ((2**32 - 1, 2**32 - 1), (100_000, 1), (1, 100_000), (8000, 8000)):
        message = Image(width=width, height=height, encoding='mono8', step=width)
        with pytest.raises(UserError, match='more than'):
            from_image(message)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([*ENCODINGS, '16UC1', 'unknown', '8UC2']),
    st.integers(0, 24),
    st.integers(0, 24),
    st.integers(0, 40),
    st.integers(-2, 40),
    st.booleans(),
)
def test_every_message_is_a_frame_or_one_line(encoding, width, height, extra, more, big):
    step = width * 3 + extra
    data = array.array('B', bytes(max(step * height * 3 + more, 0)))
    message = Image(
        header=HEADER,
        height=height,
        width=width,
        encoding=encoding,
        step=step,
        is_bigendian=int(big),
    )
    message.data = data
    for cut in (len(data), step * height, step * max(height - 1, 0) + width, 3, 0):
        message.data = data[:cut]
        try:
            frame = from_image(message)
        except UserError as error:
            assert '\n' not in str(error)
            continue
        # What was accepted can be used in every way.
        assert frame.image.shape == (height, width, 3)
        assert frame.small_gray().shape == (height, width)
        assert frame.scaled_bgr(1, 1).size and frame.reduced(4, 4).scaled_bgr(1, 1).size


def compressed_message(data: bytes, name='jpeg') -> CompressedImage:
    message = CompressedImage(header=HEADER, format=name)
    message.data = array.array('B', data)
    return message


def test_compressed_jpeg_is_not_decoded_until_it_is_used(photo):
    message = to_compressed(photo, HEADER, 100)
    frame = from_compressed(message, sequence=3)
    assert frame.jpeg() == bytes(message.data)
    assert (frame.stamp, frame.frame_id, frame.sequence) == (
        1_700_000_000_123_456_789,
        'optical',
        3,
    )
    assert frame.image.shape == photo.shape


def test_jpeg_of_the_camera_is_published_as_it_is(photo):
    frame = from_compressed(to_compressed(photo, HEADER, 60))
    again = to_compressed(frame, HEADER, 100)
    assert bytes(again.data) == frame.jpeg()
    # Another image is encoded.
    assert from_compressed(to_compressed(Frame(photo), HEADER, 80)).image.shape == photo.shape


def test_compressed_png_is_read(photo):
    data = cv2.imencode('.png', photo)[1].tobytes()
    assert (from_compressed(compressed_message(data, 'bgr8; png compressed')).image == photo).all()


def test_png_that_claims_too_many_pixels_is_refused(photo):
    data = bytearray(cv2.imencode('.png', photo)[1].tobytes())
    data[16:24] = (40_000).to_bytes(4, 'big') * 2
    with pytest.raises(UserError, match='40000x40000 pixels, more than'):
        from_compressed(compressed_message(bytes(data)))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(['.jpg', '.png']), st.integers(0, 700), st.binary(max_size=60))
def test_mutated_compressed_message_is_a_frame_or_one_line(suffix, at, garbage):
    image = np.random.default_rng(1).integers(0, 256, (10, 14, 3), np.uint8)
    data = bytearray(cv2.imencode(suffix, image)[1].tobytes())
    data[at : at + len(garbage)] = garbage
    try:
        frame = from_compressed(compressed_message(bytes(data)))
        assert frame.image.ndim == 3 and frame.small_gray().ndim == 2
    except UserError as error:
        assert '\n' not in str(error)
