# SPDX-License-Identifier: Apache-2.0
"""Compiled networks compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_networks import compile_apart, feature_pyramid, random_picture, reference

from face_tracking.detection.model import load_model
from face_tracking.runtimes.tvm import CompiledNetwork

TOLERANCE = 1e-4


def assert_agree(library, expected, picture, threads=1):
    got = CompiledNetwork(library, threads).run(picture)
    assert set(got) == set(expected)
    for name, values in expected.items():
        assert got[name].shape == values.shape and got[name].dtype == np.float32
        scale = max(1.0, float(np.abs(values).max()))
        assert np.abs(got[name] - values).max() <= TOLERANCE * scale, name


@pytest.mark.parametrize('size', [(64, 48), (60, 44)], ids='{0[0]}x{0[1]}'.format)
def test_every_layer_at_even_and_odd_sizes(tmp_path, size):
    model = feature_pyramid(tmp_path / 'pyramid.onnx', *size)
    picture = random_picture(*size)
    library = compile_apart(model, *size, scale=1 / 64)
    expected = reference(model.read_bytes(), picture, scale=1 / 64)
    for threads in (1, 2, 5):
        assert_agree(library, expected, picture, threads)


def test_pictures_may_lie_anywhere_and_be_read_only(small):
    picture = random_picture(64, 48)
    network = CompiledNetwork(compile_apart(small, 64, 48))
    expected = network.run(picture)['head']
    odd = np.empty(picture.size + 1, np.uint8)[1:].reshape(picture.shape)
    odd[:] = picture
    wide = np.zeros((48, 80, 3), np.uint8)
    wide[:, :64] = picture
    locked = picture.copy()
    locked.flags.writeable = False
    for other in (odd, wide[:, :64], locked):
        np.testing.assert_array_equal(network.run(other)['head'], expected)


def test_pixels_are_normalised_and_turned_to_rgb(small, tmp_path):
    picture = random_picture(64, 48)
    mean, scale = (104.0, 117.0, 123.0), 0.017
    library = compile_apart(small, 64, 48, colour='rgb', mean=mean, scale=scale)
    assert_agree(library, reference(small.read_bytes(), picture, mean, scale, rgb=True), picture)


def test_float16_arithmetic_stays_near(small):
    """The processor here may have none; LLVM then computes as if it had."""
    picture = random_picture(64, 48)
    library = compile_apart(small, 64, 48, precision='float16', scale=1 / 64)
    expected = reference(small.read_bytes(), picture, scale=1 / 64)['head']
    got = CompiledNetwork(library).run(picture)['head']
    assert 0 < np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


MODELS = [('yunet_n_320_320.onnx', (160, 128)),
          ('face_detection_yunet_2023mar.onnx', (96, 64)),
          ('version-RFB-320_without_postprocessing.onnx', (160, 120))]


@pytest.mark.parametrize(('name', 'size'), MODELS, ids=[row[0][:20] for row in MODELS])
def test_published_detectors(shared_dir, name, size):
    model = load_model(shared_dir / 'models' / name, size if '-320_' not in name else None)
    described = model.description
    picture = random_picture(model.width, model.height)
    library = compile_apart(model.path, model.width, model.height, colour=described.colour,
                            mean=described.mean, scale=described.scale)
    expected = reference(model.onnx_bytes(), picture, described.mean, described.scale,
                         described.colour == 'rgb')
    assert_agree(library, expected, picture)


@pytest.mark.parametrize('size', [(160, 120), (320, 240)], ids='{0[0]}x{0[1]}'.format)
def test_bundled_detector(bundled, size):
    model = load_model(bundled, size)
    picture = random_picture(*size)
    library = compile_apart(model.path, *size)
    assert_agree(library, reference(model.onnx_bytes(), picture), picture)
