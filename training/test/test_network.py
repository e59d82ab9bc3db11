# SPDX-License-Identifier: Apache-2.0
"""The network: shapes, cost, folding."""

import pytest
import torch
from torch import nn

from training.cost import onnx_cost
from training.network import (
    STRIDES,
    FaceNetwork,
    Widths,
    deployed,
    multiply_adds,
    parameter_count,
    widened,
)


@pytest.fixture
def lively() -> FaceNetwork:
    """A network whose batch norm has seen something."""
    torch.manual_seed(5)
    network = FaceNetwork().train()
    for _ in range(3):
        network(torch.rand(2, 3, 96, 96) * 255)
    return network.eval()


@pytest.mark.parametrize(('width', 'height'), [(160, 120), (320, 240), (640, 480), (96, 64)])
def test_outputs_cover_the_image(lively, width, height):
    outputs = lively(torch.zeros(1, 3, height, width))
    assert [tuple(output.shape) for output in outputs] == [
        (1, 16, -(-height // stride), -(-width // stride)) for stride in STRIDES
    ]


@pytest.mark.parametrize('size', [(120, 160), (96, 96)])
def test_folding_changes_nothing(lively, size):
    sample = torch.rand(1, 3, *size) * 255
    folded = deployed(lively)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    for before, after in zip(lively(sample), folded(sample), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_number_of_parameters_is_bounded():
    network = deployed(FaceNetwork())
    assert parameter_count(network) <= 300_000
    channels = {
        module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)
    }
    assert all(count % 8 == 0 for count in channels)


def test_takes_less_than_twice_the_multiply_adds_of_yunet(shared_dir):
    _, adds, pixels = onnx_cost(shared_dir / 'models' / 'yunet_n_320_320.onnx')
    assert multiply_adds(deployed(FaceNetwork()), 320, 240) / (320 * 240) <= 1.8 * adds / pixels


def test_multiply_adds_agree_with_a_hand_calculation():
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, sample):
            return self.convolution(sample)

    assert multiply_adds(One(), 8, 6) == 4 * 3 * 4 * (3 * 3 * 3)


def test_a_widened_network_computes_the_same():
    torch.manual_seed(0)
    network = FaceNetwork(Widths(8, 16, 24)).eval()
    wide = widened(network, Widths(12, 24, 40), noise=0.0).eval()
    image = torch.rand(1, 3, 64, 96) * 255
    for narrow, broad in zip(network(image), wide(image), strict=True):
        torch.testing.assert_close(broad, narrow, atol=1e-4, rtol=1e-4)
    assert wide.widths == Widths(12, 24, 40)
