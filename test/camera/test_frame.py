# SPDX-License-Identifier: Apache-2.0
"""A frame makes what is asked for, once, from what the camera delivered."""

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from face_tracking.encoded_images import (
    ArrayImage,
    EncodedImage,
    JpegImage,
    PackedYuvImage,
    SemiPlanarImage,
    halve_towards,
)
from face_tracking.errors import UserError
from face_tracking.frame import Frame


def photograph(width: int, height: int) -> np.ndarray:
    portrait = np.ascontiguousarray(data.astronaut()[..., ::-1])
    return cv2.resize(portrait, (width, height), interpolation=cv2.INTER_AREA)


def to_yuv(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return luma (h, w) and chroma (h, w, 2) of an image, in BT.601 video levels."""
    b, g, r = (image[..., k].astype(float) for k in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return np.round(y).astype(np.uint8), np.round(np.stack([u, v], -1)).astype(np.uint8)


def as_jpeg(image: np.ndarray) -> JpegImage:
    _, coded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return JpegImage(coded.tobytes(), image.shape[1], image.shape[0])


def as_yuyv(image: np.ndarray, luma_first: bool = True) -> PackedYuvImage:
    y, uv = to_yuv(image)
    pixels = np.empty((*y.shape, 2), np.uint8)
    pixels[..., 1 - luma_first] = y
    pixels[:, ::2, int(luma_first)] = uv[:, ::2, 0]
    pixels[:, 1::2, int(luma_first)] = uv[:, ::2, 1]
    return PackedYuvImage(pixels, luma_first)


def as_nv12(image: np.ndarray, v_first: bool = False) -> SemiPlanarImage:
    y, uv = to_yuv(image)
    chroma = uv[::2, ::2, ::-1] if v_first else uv[::2, ::2]
    return SemiPlanarImage(y, chroma, v_first)


FORMS = {
    'bgr': ArrayImage,
    'rgb': lambda image: ArrayImage(
        np.ascontiguousarray(image[..., ::-1]), cv2.COLOR_RGB2BGR, cv2.COLOR_RGB2GRAY
    ),
    'jpeg': as_jpeg,
    'yuyv': as_yuyv,
    'uyvy': lambda image: as_yuyv(image, luma_first=False),
    'nv12': as_nv12,
    'nv21': lambda image: as_nv12(image, v_first=True),
}


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('size', [(640, 480), (320, 180), (202, 150), (96, 50)])
@pytest.mark.parametrize('divisor', [1, 2, 4, 8])
def test_reduced_images_show_what_the_full_image_shows(form, size, divisor):
    image = photograph(*size)
    source = FORMS[form](image)
    if not source.allows(divisor):
        assert source.divisor_for(1, 1) < divisor
        return
    reduced = -(-size[0] // divisor), -(-size[1] // divisor)
    wanted = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
    assert difference(source.bgr(divisor), wanted) < 7
    assert difference(source.gray(divisor), cv2.cvtColor(wanted, cv2.COLOR_BGR2GRAY)) < 4


@pytest.mark.parametrize('form', FORMS)
def test_mirroring_applies_to_everything_that_is_made(form):
    image = photograph(160, 120)
    source = FORMS[form](image)
    plain = source.bgr(2), source.gray(4)
    source.flip = 1
    assert (source.bgr(2) == plain[0][:, ::-1]).all()
    assert (source.gray(4) == plain[1][:, ::-1]).all()


@pytest.mark.parametrize('form', FORMS)
def test_gray_from_luma_agrees_with_gray_from_color(form):
    frame, expecting = (Frame(FORMS[form](photograph(640, 480)), 0) for _ in range(2))
    expecting.expect_bgr(320, 240)
    assert difference(frame.gray(160, 120), expecting.gray(160, 120)) < 2.5


@pytest.mark.parametrize(
    ('least', 'made'),
    [
        ((320, 240), (320, 240)),
        ((321, 240), (640, 480)),
        ((200, 100), (320, 240)),
        ((80, 60), (80, 60)),
        ((1, 1), (80, 60)),
        ((5000, 5000), (640, 480)),
    ],
)
def test_color_image_is_the_smallest_that_is_large_enough(least, made):
    frame = Frame(as_jpeg(photograph(640, 480)), 0)
    assert frame.scaled_bgr(*least).shape[1::-1] == made


class Counting(EncodedImage):
    """An image that counts how often it is converted, and takes its time."""

    def __init__(self):
        super().__init__(64, 48)
        self.calls = []

    def _bgr(self, divisor):
        self.calls.append(('bgr', divisor))
        threading.Event().wait(0.02)
        return np.zeros((48 // divisor, 64 // divisor, 3), np.uint8)

    def _gray(self, divisor):
        self.calls.append(('gray', divisor))
        return np.zeros((48 // divisor, 64 // divisor), np.uint8)


def test_each_image_is_made_once_for_all_users():
    source = Counting()
    frame = Frame(source, 0)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: frame.scaled_bgr(32, 24), range(16)))
        grays = list(pool.map(lambda _: frame.gray(16, 12), range(16)))
    assert source.calls == [('bgr', 2)]
    assert all(image is images[0] for image in images)
    assert all(gray is grays[0] for gray in grays)


def test_gray_is_made_without_color_where_no_one_expects_color():
    source = Counting()
    Frame(source, 0).gray(16, 12)
    assert source.calls == [('gray', 4)]


def test_full_size_color_is_not_made_unless_it_is_used():
    source = Counting()
    frame = Frame(source, 0)
    frame.expect_bgr(32, 24)
    frame.gray(16, 12)
    frame.scaled_bgr(30, 20)
    assert source.calls == [('bgr', 2)]
    assert frame.image.shape == (48, 64, 3)


def test_damaged_jpeg_is_one_line_for_every_user():
    frame = Frame(JpegImage(b'\xff\xd8\xff\xe0 nothing', 64, 48), 0)
    for _ in range(2):
        with pytest.raises(UserError, match='64x48 pixels cannot be decoded'):
            frame.bgr()
    with pytest.raises(UserError, match='cannot be decoded'):
        frame.gray(16, 12)


@pytest.mark.parametrize('form', FORMS)
def test_reduced_frame_still_has_its_color(form):
    image = photograph(640, 480)
    for used in (False, True):
        frame = Frame(FORMS[form](image), 7, 'eye', 3)
        if used:
            frame.scaled_bgr(320, 240)
        kept = frame.reduced(320, 240)
        assert (kept.stamp, kept.frame_id, kept.sequence) == (7, 'eye', 3)
        color = halve_towards(kept.scaled_bgr(320, 240), 320, 240)
        wanted = cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA)
        assert difference(color, wanted) < 5


def test_only_what_a_camera_compressed_can_be_passed_on_compressed():
    image = photograph(64, 48)
    source = as_jpeg(image)
    assert Frame(source, 0).jpeg() is source.data
    source.flip = 1
    assert Frame(source, 0).jpeg() is None
    assert Frame(image, 0).jpeg() is None


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
    ],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(UserError, match='uint8'):
        Frame(image, 0)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(FORMS)),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 2**32 - 1),
)
def test_every_size_of_every_format_can_be_requested(form, width, height, divisor, seed):
    if form in ('yuyv', 'uyvy', 'nv12', 'nv21'):
        width *= 2
    if form in ('nv12', 'nv21'):
        height *= 2
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    source = FORMS[form](pixels)
    shape = -(-height // divisor), -(-width // divisor)
    assert source.bgr(divisor).shape == (*shape, 3)
    assert source.gray(divisor).shape == shape
    frame = Frame(source, 0)
    assert frame.gray(*shape[::-1]).shape == shape
    assert frame.reduced(*shape[::-1]).scaled_bgr(*shape[::-1]).shape[0] >= min(shape[0], height)
