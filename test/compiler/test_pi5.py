# SPDX-License-Identifier: Apache-2.0
"""What is compiled for a Raspberry Pi 5, on an emulated Cortex-A76."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import yuv_reference
from synthetic_networks import ROOT, compile_apart, random_image, reference

sys.path.insert(0, str(ROOT))

from face_tracking import files
from face_tracking.compiler.tuning import emulator
from face_tracking.detection.decoder_factory import create_decoder
from face_tracking.detection.families.base import logit
from face_tracking.detection.letterbox import Fit
from face_tracking.detection.model import load_model
from face_tracking.detection.postprocess import (
    VALUES_PER_FACE,
    NumpyPostProcessor,
    OutputLayout,
)
from face_tracking.encoded_images import PackedYuvImage
from face_tracking.runtimes.base import create_runtime

SCRIPT = ROOT / 'benchmarks' / 'emulated_engine.py'
USERS_CACHE = files.cache_dir()


def opencv_gray(pixels: np.ndarray) -> np.ndarray:
    return PackedYuvImage(pixels).gray(4)


@pytest.fixture
def emulated(monkeypatch) -> None:
    """Use the emulated system in the user's cache, or skip."""
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(USERS_CACHE))
    if shutil.which('aarch64-linux-gnu-gcc') is None:
        pytest.skip('aarch64-linux-gnu-gcc is missing (apt install gcc-aarch64-linux-gnu)')
    if emulator.missing():
        pytest.skip(emulator.missing())


@pytest.mark.parametrize(('precision', 'tolerance'), [('float32', 1e-4), ('float16', 2e-2)])
def test_numbers_on_the_emulated_processor(emulated, small, tmp_path, precision, tolerance):
    image = random_image(64, 48)
    library = compile_apart(
        small,
        64,
        48,
        target='pi5',
        precision=precision,
        scale=1 / 64,
        output=tmp_path / 'detector.so',
    )
    got = run_emulated(library, image, tmp_path)
    expected = reference(small.read_bytes(), image, scale=1 / 64)['head']
    got = got.reshape(24, 32, 20).transpose(2, 0, 1)[None]
    assert np.abs(got - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


def test_faces_on_the_emulated_processor(emulated, tmp_path, astronaut):
    size = 160, 128
    model = load_model(None, size)
    image = cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA)
    library = compile_apart(
        model.path,
        *size,
        target='pi5',
        output=tmp_path / 'detector.so',
        precision='float32',
        layout=asdict(OutputLayout.of(model.description)),
    )
    np.save(tmp_path / 'image.npy', image)
    least = 0.3**2
    emulator.run(
        [
            str(SCRIPT),
            'faces',
            str(library),
            str(tmp_path / 'image.npy'),
            str(tmp_path / 'result.npy'),
            *map(str, (logit(least), least, 0.45, 1e9, 3.2, 4.0, 512, 512)),
        ]
    )
    rows = np.load(tmp_path / 'result.npy').reshape(-1, VALUES_PER_FACE)
    outputs = create_runtime('onnxruntime', model).infer(image)
    expected = NumpyPostProcessor(create_decoder(model)).process(
        outputs, 0.3, 0.45, 0, Fit(3.2, 4.0), (512, 512)
    )
    assert len(expected) == rows[0, 0] > 0
    np.testing.assert_allclose(rows[1 : len(expected) + 1], expected, rtol=1e-3, atol=1e-2)


def test_downscaling_on_the_emulated_processor(emulated, tmp_path, small):
    image = random_image(2 * 72, 2 * 48)
    library = compile_apart(
        small, 72, 48, target='pi5', precision='float32', output=tmp_path / 'detector.so'
    )
    np.save(tmp_path / 'image.npy', image)
    emulator.run(
        [
            str(SCRIPT),
            'downscale',
            str(library),
            str(tmp_path / 'image.npy'),
            str(tmp_path / 'result.npy'),
            '1',
        ]
    )
    expected = cv2.resize(image, (72, 48), interpolation=cv2.INTER_AREA)
    assert np.array_equal(np.load(tmp_path / 'result.npy'), expected)


@pytest.mark.parametrize(
    ('name', 'expected'), [('yuyv_half', yuv_reference.packed_half), ('yuyv_gray', opencv_gray)]
)
def test_small_images_of_yuyv_on_the_emulated_processor(emulated, tmp_path, small, name, expected):
    pixels = np.random.default_rng(1).integers(0, 256, (48, 4 * 21, 2), dtype=np.uint8)
    library = compile_apart(
        small, 64, 48, target='pi5', precision='float32', output=tmp_path / 'detector.so'
    )
    np.save(tmp_path / 'image.npy', pixels)
    result = tmp_path / 'result.npy'
    emulator.run([str(SCRIPT), name, str(library), str(tmp_path / 'image.npy'), str(result), '1'])
    assert np.array_equal(np.load(result), expected(pixels))


def run_emulated(library: Path, image: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / 'image.npy', image)
    emulator.run(
        [
            str(SCRIPT),
            'tvm',
            str(library),
            str(folder / 'image.npy'),
            str(folder / 'result.npy'),
            '1',
        ]
    )
    return np.load(folder / 'result.npy')
