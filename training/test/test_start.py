# SPDX-License-Identifier: Apache-2.0
"""Going on with the weights of an exported network."""

from __future__ import annotations

import onnx
import pytest
import torch

from training.recognition.export import to_onnx
from training.recognition.network import Student
from training.recognition.start import load_folded, match_maps


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(24, 3, 112, 112) * 255


@pytest.fixture
def exported(tmp_path, images):
    """Return a network as after some training, and the file that it was exported to."""
    torch.manual_seed(0)
    network = Student()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.2, 0.2)
            layer.momentum = None
    with torch.no_grad():
        network(images)
    network.eval()
    onnx.save(to_onnx(network), str(tmp_path / 'network.onnx'))
    return network, tmp_path / 'network.onnx'


def test_unfolded_network_computes_what_the_file_does_also_by_the_statistics_of_a_batch(
    exported, images
):
    network, path = exported
    started = load_folded(path, images)
    with torch.no_grad():
        wanted = network(images)[0]
        assert torch.allclose(started(images)[0], wanted, atol=1e-3)
        assert torch.allclose(started.train()(images)[0], wanted, atol=2e-2)


def test_maps_turn_towards_the_teachers_and_the_embedding_stays(exported, images):
    started = load_folded(exported[1], images)
    with torch.no_grad():
        before, maps = started(images)
        rotation = torch.linalg.qr(torch.randn(128, 128))[0]
        wanted = torch.einsum('nkyx,kt->ntyx', maps, rotation) + torch.randn(128, 1, 1)
        assert match_maps(started, images, wanted) == pytest.approx(1, abs=1e-4)
        after, turned = started(images)
    assert torch.allclose(after, before, atol=1e-3)
    assert torch.allclose(turned, wanted, atol=1e-3)
