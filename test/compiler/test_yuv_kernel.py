# SPDX-License-Identifier: Apache-2.0
"""The compiled functions for YUV agree with NumPy and OpenCV, and frames use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

import cv2
import numpy as np
import pytest
import yuv_reference
from synthetic_networks import ROOT, compile_apart

from face_tracking.detection.model import load_model
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.detector import create_detector
from face_tracking.encoded_images import PackedYuvImage, SemiPlanarImage
from face_tracking.frame import Frame
from face_tracking.runtimes.compiled_model import CompiledModel, CompiledYuvConverter

HALVES = [(40, 6), (16, 2), (15, 3), (1, 1), (33, 4), (320, 4)]
"""Width and height of results: whole vectors, a remainder, a remainder alone."""


@pytest.fixture(scope='module')
def converter(small, tmp_path_factory) -> CompiledYuvConverter:
    folder = tmp_path_factory.mktemp('library')
    return CompiledYuvConverter(
        CompiledModel(compile_apart(small, 64, 48, output=folder / 's.so'))
    )


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def photo_in_yuv(photo: np.ndarray, code: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo in a packed form, and what OpenCV makes of that at half the size.

    Its contrast is low: where colors are cut off, OpenCV averages what is left of four pixels.
    """
    pixels = cv2.cvtColor(cv2.resize(photo // 2 + 64, (256, 192)), code)
    back = {
        cv2.COLOR_BGR2YUV_YUY2: cv2.COLOR_YUV2BGR_YUY2,
        cv2.COLOR_BGR2YUV_UYVY: cv2.COLOR_YUV2BGR_UYVY,
    }[code]
    return pixels, cv2.resize(cv2.cvtColor(pixels, back), (128, 96), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize('luma_first', [True, False])
@pytest.mark.parametrize('size', HALVES)
def test_half_of_packed_yuv_equals_numpy_bit_for_bit(converter, size, luma_first):
    width, height = size
    for pixels in (
        noise(2 * height, 2 * width, 2),
        # The extremes of luma and chroma, where 16 bits are least enough.
        np.random.default_rng(0).choice(np.uint8([0, 255]), (2 * height, 2 * width, 2)),
    ):
        expected = yuv_reference.packed_half(pixels, luma_first)
        assert np.array_equal(converter.packed_half(pixels, luma_first), expected)


@pytest.mark.parametrize('v_first', [True, False])
@pytest.mark.parametrize('size', HALVES)
def test_half_of_semi_planar_yuv_equals_numpy_bit_for_bit(converter, size, v_first):
    width, height = size
    for luma, chroma in (
        (noise(2 * height, 2 * width), noise(height, width, 2)),
        tuple(
            np.random.default_rng(0).choice(np.uint8([0, 255]), shape)
            for shape in ((2 * height, 2 * width), (height, width, 2))
        ),
    ):
        expected = yuv_reference.semi_planar_half(luma, chroma, v_first)
        assert np.array_equal(converter.semi_planar_half(luma, chroma, v_first), expected)


@pytest.mark.parametrize('luma_first', [True, False])
@pytest.mark.parametrize('size', [(160, 8), (16, 1), (15, 3), (1, 1), (41, 4)])
def test_gray_is_the_same_with_and_without_compiled_functions(converter, size, luma_first):
    width, height = 4 * size[0], 4 * size[1]
    image = PackedYuvImage(noise(height, width, 2), luma_first)
    opencv = image.gray(4)
    image.converter = converter
    assert np.array_equal(image.gray(4), opencv)


def test_gray_is_the_same_at_every_level(converter):
    """Where OpenCV's sum in float32 lies between two grays, both have to round alike."""
    left, right = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    luma = np.repeat(np.repeat(np.stack([left, right], axis=-1).reshape(256, 512), 2, 1), 4, 0)
    image = PackedYuvImage(np.stack([luma, np.full_like(luma, 128)], axis=-1))
    opencv = image.gray(4)
    image.converter = converter
    assert np.array_equal(image.gray(4), opencv)
    assert np.abs(opencv - np.clip(((left / 2.0 + right / 2) - 16) * 255 / 219, 0, 255)).max() < 1


@pytest.mark.parametrize(
    ('code', 'luma_first'), [(cv2.COLOR_BGR2YUV_YUY2, True), (cv2.COLOR_BGR2YUV_UYVY, False)]
)
def test_colors_are_those_of_opencv(converter, astronaut, code, luma_first):
    pixels, expected = photo_in_yuv(astronaut, code)
    difference = converter.packed_half(pixels, luma_first).astype(int) - expected
    assert np.abs(difference).max() <= 2
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.3


def test_colors_are_those_of_the_standard(converter, astronaut):
    """BT.601 at video levels, in floating point, of the means of four pixels."""
    pixels, _ = photo_in_yuv(astronaut, cv2.COLOR_BGR2YUV_YUY2)
    four = pixels.reshape(96, 2, 128, 4).astype(float).mean(axis=1)
    luma = 255 / 219 * ((four[..., 0] + four[..., 2]) / 2 - 16)
    u, v = 255 / 224 * (four[..., 1] - 128), 255 / 224 * (four[..., 3] - 128)
    expected = np.stack(
        [luma + 1.772 * u, luma - 0.344136 * u - 0.714136 * v, luma + 1.402 * v], -1
    )
    difference = converter.packed_half(pixels, True) - expected.clip(0, 255)
    assert np.abs(difference).max() < 1.5
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.3


def test_read_only_and_unaligned_images_are_converted(converter):
    for start in range(4):
        data = noise(start + 12 * 40 * 2)
        pixels = data[start:].reshape(12, 40, 2)
        pixels.flags.writeable = start % 2 == 0
        assert np.array_equal(
            converter.packed_half(pixels, True), yuv_reference.packed_half(pixels)
        )


def test_images_that_cannot_be_divided_are_refused(converter):
    for make in (
        lambda: converter.packed_half(noise(4, 5, 2), True),
        lambda: converter.packed_gray(noise(6, 8, 2), True),
        lambda: converter.semi_planar_half(noise(3, 4), noise(1, 2, 2), False),
    ):
        with pytest.raises(ValueError, match='cannot be divided by'):
            make()


def test_planes_that_do_not_belong_together_are_refused(converter):
    with pytest.raises(ValueError, match='no chroma'):
        converter.semi_planar_half(noise(8, 8), noise(4, 2, 2), False)


@pytest.mark.parametrize('form', ['packed', 'semi-planar'])
def test_sides_that_have_no_half_are_left_to_opencv(converter, form):
    for divisor, height in ((1, 12), (2, 13), (4, 12), (4, 6)):
        if form == 'packed':
            image = PackedYuvImage(noise(height, 20, 2))
        elif height % 2 == 0 and divisor != 2:
            image = SemiPlanarImage(noise(height, 20), noise(height // 2, 10, 2))
        else:
            continue
        expected = image.bgr(divisor)
        image.converter = converter
        assert np.array_equal(image.bgr(divisor), expected)


def test_padded_planes_are_halved(converter):
    luma, chroma = noise(8, 24)[:, :20], noise(4, 14, 2)[:, :10]
    image = SemiPlanarImage(luma, chroma)
    image.converter = converter
    assert np.array_equal(image.bgr(2), yuv_reference.semi_planar_half(luma, chroma))


def test_detector_gives_its_functions_to_the_frames(astronaut):
    pixels = cv2.cvtColor(cv2.resize(astronaut, (640, 480)), cv2.COLOR_BGR2YUV_YUY2)
    detector = create_detector(None, 'tvm', (320, 240), precision='float32')
    expected, searched = (Frame(PackedYuvImage(pixels)) for _ in range(2))
    detector.expect(expected)
    faces = detector.detect(searched)
    for frame in (expected, searched):
        color = frame.scaled_bgr(320, 240)
        assert np.array_equal(color, yuv_reference.packed_half(pixels))
    assert len(faces) == len(detector.detect(color)) == 1
    plain = create_detector(None, 'onnxruntime', (320, 240))
    frame = Frame(PackedYuvImage(pixels))
    plain.expect(frame)
    assert frame.source.converter is None
    assert np.allclose(plain.detect(frame).boxes, faces.boxes, atol=2)
    plain.accelerate(searched)
    assert searched.source.converter is not None, 'those of another detector stay'


WITHOUT = """
import sys
from face_tracking.compiler import yuv_kernel
yuv_kernel.yuv_functions = dict
from face_tracking.compiler.__main__ import main
sys.exit(main())
"""


def test_library_of_an_earlier_version_is_used_without_them(tmp_path, monkeypatch, astronaut):
    size = 160, 128
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path))
    model = load_model(None, size)
    pixels = model.description
    job = {
        'onnx_path': str(model.path),
        'width': size[0],
        'height': size[1],
        'precision': 'float32',
        'color': pixels.color,
        'mean': list(pixels.mean),
        'scale': pixels.scale,
        'layout': asdict(OutputLayout.of(pixels)),
    }
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    environment.pop('TVM_USE_RUNTIME_LIB', None)
    subprocess.run([sys.executable, '-c', WITHOUT, json.dumps(job)], env=environment, check=True)
    detector = create_detector(None, 'tvm', size, precision='float32')
    assert len(list(tmp_path.rglob('*.so'))) == 1
    photo = cv2.resize(astronaut, (2 * size[0], 2 * size[1]))
    frame = Frame(PackedYuvImage(cv2.cvtColor(photo, cv2.COLOR_BGR2YUV_YUY2)))
    assert len(detector.detect(frame)) == 1 and frame.source.converter is None
