# SPDX-License-Identifier: Apache-2.0
"""The mean of two trainings' weights."""

import pytest
import torch

from face_tracking.errors import UserError
from training import average, checkpoint
from training.network import FaceNetwork, Widths


def test_mean_lies_between_both_networks():
    torch.manual_seed(1)
    first, second = FaceNetwork(), FaceNetwork()
    mean = average.mean_network(first, second, 0.25)
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            wanted = 0.75 * first.state_dict()[name] + 0.25 * second.state_dict()[name]
            torch.testing.assert_close(value, wanted)


def test_networks_of_different_widths_are_refused():
    with pytest.raises(UserError, match='width'):
        average.mean_network(FaceNetwork(), FaceNetwork(Widths(8, 16, 32)), 0.5)


def test_best_share_is_written(made_folder, tmp_path, capsys):
    torch.manual_seed(3)
    for name in 'ab':
        checkpoint.save_weights(FaceNetwork(), tmp_path / f'{name}.safetensors')
    out = tmp_path / 'mean.safetensors'
    words = [tmp_path / 'a.safetensors', tmp_path / 'b.safetensors', '--out', out]
    options = ['--data', str(made_folder), '--held-out', '0.5', '--min-sides', '12,6']
    assert average.main([*map(str, words), *options]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [float(row[0]) for row in rows] == list(average.SHARES)
    assert all(len(row) == 3 for row in rows)
    checkpoint.load_network(out)


def test_missing_weights_are_one_line(made_folder, tmp_path, capsys):
    words = ['nowhere.safetensors', 'bundled', '--out', str(tmp_path / 'x')]
    assert average.main([*words, '--data', str(made_folder)]) == 1
    assert capsys.readouterr().err.count('\n') == 1
