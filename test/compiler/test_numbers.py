# SPDX-License-Identifier: Apache-2.0
"""Compiled networks compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_networks import (
    compile_apart,
    embedding_network,
    feature_pyramid,
    random_image,
    reference,
)

from face_tracking.detection.model import load_model
from face_tracking.runtimes.compiled_model import CompiledModel

TOLERANCE = 1e-4


def assert_agree(library, expected, image, threads=1):
    got = CompiledModel(library, threads).run(image)
    assert set(got) == set(expected)
    for name, values in expected.items():
        assert got[name].shape == values.shape and got[name].dtype == np.float32
        scale = max(1.0, float(np.abs(values).max()))
        assert np.abs(got[name] - values).max() <= TOLERANCE * scale, name


@pytest.mark.parametrize('size', [(64, 48), (60, 44)], ids='{0[0]}x{0[1]}'.format)
def test_every_layer_at_even_and_odd_sizes(tmp_path, size):
    model = feature_pyramid(tmp_path / 'pyramid.onnx', *size)
    image = random_image(*size)
    library = compile_apart(model, *size, scale=1 / 64)
    expected = reference(model.read_bytes(), image, scale=1 / 64)
    for threads in (1, 2, 5):
        assert_agree(library, expected, image, threads)


def test_layers_of_an_embedding_network(tmp_path):
    model = embedding_network(tmp_path / 'embedding.onnx')
    image = random_image(16, 16)
    library = compile_apart(model, 16, 16, color='rgb')
    expected = reference(model.read_bytes(), image, rgb=True)
    assert expected['embedding'].shape == (1, 12)
    assert_agree(library, expected, image)


def test_images_may_lie_anywhere_and_be_read_only(small):
    image = random_image(64, 48)
    network = CompiledModel(compile_apart(small, 64, 48))
    expected = network.run(image)['head']
    odd = np.empty(image.size + 1, np.uint8)[1:].reshape(image.shape)
    odd[:] = image
    wide = np.zeros((48, 80, 3), np.uint8)
    wide[:, :64] = image
    locked = image.copy()
    locked.flags.writeable = False
    for other in (odd, wide[:, :64], locked):
        np.testing.assert_array_equal(network.run(other)['head'], expected)


def test_pixels_are_normalized_and_turned_to_rgb(small, tmp_path):
    image = random_image(64, 48)
    mean, scale = (104.0, 117.0, 123.0), 0.017
    library = compile_apart(small, 64, 48, color='rgb', mean=mean, scale=scale)
    assert_agree(library, reference(small.read_bytes(), image, mean, scale, rgb=True), image)


def test_float16_arithmetic_stays_near(small):
    """The processor here may have none; LLVM then computes as if it had."""
    image = random_image(64, 48)
    library = compile_apart(small, 64, 48, precision='float16', scale=1 / 64)
    expected = reference(small.read_bytes(), image, scale=1 / 64)['head']
    got = CompiledModel(library).run(image)['head']
    assert 0 < np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


MODELS = [
    ('yunet_n_320_320.onnx', (160, 128)),
    ('face_detection_yunet_2023mar.onnx', (96, 64)),
    ('version-RFB-320_without_postprocessing.onnx', (160, 120)),
]


@pytest.mark.parametrize(('name', 'size'), MODELS, ids=[row[0][:20] for row in MODELS])
def test_published_detectors(shared_dir, name, size):
    model = load_model(shared_dir / 'models' / name, size if '-320_' not in name else None)
    described = model.description
    image = random_image(model.width, model.height)
    library = compile_apart(
        model.path,
        model.width,
        model.height,
        color=described.color,
        mean=described.mean,
        scale=described.scale,
    )
    expected = reference(
        model.onnx_bytes(), image, described.mean, described.scale, described.color == 'rgb'
    )
    assert_agree(library, expected, image)


@pytest.mark.parametrize('size', [(160, 120), (320, 240)], ids='{0[0]}x{0[1]}'.format)
def test_bundled_detector(bundled, size):
    model = load_model(bundled, size)
    image = random_image(*size)
    library = compile_apart(model.path, *size)
    assert_agree(library, reference(model.onnx_bytes(), image), image)
