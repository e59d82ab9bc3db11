# SPDX-License-Identifier: Apache-2.0
"""Distillation of the embedding network: views, losses, and the exported file."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from training.recognition.embed import MAP_CHANNELS, find_basis
from training.recognition.export import describe, to_onnx
from training.recognition.network import Bottleneck, Student, cost
from training.recognition.train import loss_of, to_tensor
from training.recognition.views import ViewMaker, fill_borders


@pytest.fixture
def crops() -> np.ndarray:
    """Return crops of noise with black corners, as turned photographs have."""
    crops = np.random.default_rng(0).integers(1, 256, (6, 160, 160, 3), dtype=np.uint8)
    crops[:, :30, :30] = 0
    return crops


def test_views_are_faces_of_the_right_size_and_never_the_same(crops):
    maker = ViewMaker(crops, np.ones(len(crops)), seed=1)
    views = [maker.make() for _ in range(40)]
    assert all(view.shape == (112, 112, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == len(views)
    again = ViewMaker(crops, np.ones(len(crops)), seed=1)
    assert np.array_equal(again.make(), views[0])


def test_crop_that_is_left_out_is_never_drawn(crops):
    weights = np.array([1.0, 0, 0, 0, 0, 0])
    maker = ViewMaker(crops, weights, seed=1)
    assert all(
        np.array_equal(maker.crops[maker.random.choice(6, p=maker.chances)], crops[0])
        for _ in range(20)
    )


def test_black_corners_are_filled_from_the_photograph(crops):
    filled = fill_borders(crops[0])
    assert filled[:28, :28].max(2).min() > 0
    assert np.array_equal(filled[40:, 40:], crops[0][40:, 40:])


def test_network_keeps_within_its_limits():
    parameters, operations = cost(Student())
    assert parameters <= 1_500_000
    assert operations <= 60_000_000


def test_perfect_imitation_costs_nothing():
    embeddings, maps = torch.randn(8, 128), torch.randn(8, 4, 7, 7)
    loss, parts = loss_of((embeddings, maps), embeddings, maps, 1.0, 1.0)
    assert float(loss) == pytest.approx(0, abs=1e-5)
    worse, _ = loss_of((embeddings.flip(0), maps), embeddings, maps, 1.0, 1.0)
    assert float(worse) > 0.5
    assert len(parts) == 4


def test_basis_gives_back_the_embedding_of_the_maps():
    torch.manual_seed(0)
    teacher = torch.nn.Module()
    teacher.dense = torch.nn.Linear(16 * 49, 128)
    maps = torch.einsum('nkyx,kc->ncyx', torch.randn(60, 4, 7, 7), torch.randn(4, 16))
    basis = find_basis(teacher, maps, 8)
    codes = torch.einsum('kc,ncyx->nkyx', basis['encode'], maps - basis['mean'])
    found = torch.einsum('okyx,nkyx->no', basis['weight'], codes) + basis['bias']
    assert torch.allclose(found, teacher.dense(maps.flatten(1)), atol=1e-2)
    assert MAP_CHANNELS == 128


def test_exported_file_computes_what_the_network_does(tmp_path):
    torch.manual_seed(0)
    network = Student().eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.running_mean, 0, 0.1)
    path = tmp_path / 'face.onnx'
    path.write_bytes(to_onnx(network).SerializeToString())
    images = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = network(to_tensor(images))[0].numpy().ravel()
    face = (images[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) - 128) / 128
    session = onnxruntime.InferenceSession(str(path))
    found = session.run(None, {'face': np.ascontiguousarray(face)})[0].ravel()
    assert np.abs(found - expected).max() < 1e-4
    assert 'threshold: 0.3' in describe(path, 0.3)


def test_bottleneck_begins_as_the_identity():
    block = Bottleneck(8, 4).eval()
    value = torch.rand(1, 8, 5, 5)
    assert torch.equal(block(value), value)
