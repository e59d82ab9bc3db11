# SPDX-License-Identifier: Apache-2.0
"""Every engine gives the same numbers for the same image, and says so when it cannot."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from face_tracking.detection.model import load_model
from face_tracking.errors import UserError
from face_tracking.runtimes import base as runtimes
from face_tracking.runtimes.base import create_runtime, to_tensor

ENGINES = ['onnxruntime', 'opencv']


@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('size', [None, (96, 32)])
def test_engine_computes_what_the_network_says(engine, size, described):
    model = load_model(described, size)
    generator = np.random.default_rng(1)
    image = generator.integers(0, 256, (model.height, model.width, 3), dtype=np.uint8)
    runtime = create_runtime(engine, model, threads=1)
    (head,) = runtime.infer(image)
    runtime.close()
    means = image.reshape(model.height // 8, 8, model.width // 8, 8, 3).mean(axis=(1, 3, 4))
    assert head.shape == (1, 16, *means.shape) and head.dtype == np.float32
    np.testing.assert_allclose(head[0, 0], means * 20 / 255 - 10, atol=1e-4)
    np.testing.assert_allclose(head[0, 4], np.log(2), atol=1e-5)


def test_outputs_have_the_order_of_the_description(shared_dir):
    model = load_model(shared_dir / 'models/yunet_n_320_320.onnx', (160, 128))
    image = np.random.default_rng(2).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    first, second = (create_runtime(engine, model, 1).infer(image) for engine in ENGINES)
    assert len(first) == len(model.description.outputs)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_tensor_is_normalized_in_the_order_of_the_network(described):
    description = replace(
        load_model(described).description, color='rgb', mean=(1, 2, 3), scale=0.5
    )
    image = np.zeros((4, 6, 3), np.uint8)
    image[1, 2] = 10, 20, 30  # blue, green, red
    tensor = to_tensor(image, description)
    assert tensor.shape == (1, 3, 4, 6) and tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, :, 1, 2], [(30 - 1) / 2, (20 - 2) / 2, (10 - 3) / 2])


def test_unknown_engine_is_named(described):
    with pytest.raises(UserError, match='no runtime "magic": choose one of tvm'):
        create_runtime('magic', load_model(described))


def test_missing_engine_says_so(described, monkeypatch):
    monkeypatch.delitem(sys.modules, 'face_tracking.runtimes.onnxruntime', False)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UserError, match='onnxruntime is not installed'):
        create_runtime('onnxruntime', load_model(described))


def test_engine_can_be_added_from_outside(described, monkeypatch):
    monkeypatch.setattr(runtimes, 'RUNTIMES', dict(runtimes.RUNTIMES))
    runtimes.register_runtime('mine', 'face_tracking.runtimes.opencv:OpenCvRuntime')
    assert create_runtime('mine', load_model(described)).name == 'opencv'


@pytest.mark.parametrize('engine', ENGINES)
def test_engine_refuses_what_it_cannot_do(engine, described, squares):
    model = load_model(described)
    with pytest.raises(UserError, match='device "warp"'):
        create_runtime(engine, model, device='warp')
    lacking = replace(model, description=replace(model.description, outputs=('head_99',)))
    with pytest.raises(UserError, match='head_99'):
        create_runtime(engine, lacking)
    squares.write_bytes(squares.read_bytes()[:100])
    with pytest.raises(UserError, match=str(squares)):
        create_runtime(engine, model)
