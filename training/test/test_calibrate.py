# SPDX-License-Identifier: Apache-2.0
"""Moving the scores: a shift makes quiet what was loud, and only the scores change."""

import dataclasses

import numpy as np
import pytest
import torch

from training import calibrate, checkpoint, dataset, labels
from training.metrics import Result
from training.network import FaceNetwork, deployed

QUIET = Result(0.9, 0.9, 100, 0.1, 0.1, 90, 50, 0, 0.9, 0.6, 0.0)


def test_the_quiet_one_with_the_best_f1_is_chosen():
    found = [
        QUIET,
        dataclasses.replace(QUIET, recall_at=0.8, wrong_at=0.02),
        dataclasses.replace(QUIET, recall_at=0.9, wrong_at=0.1),
    ]
    assert calibrate.chosen(found, 0.02) == 1
    assert calibrate.chosen(found, 0.1) == 2
    assert calibrate.chosen(found[2:], 0.02) == 0


def test_a_shift_moves_the_score_logits_alone():
    network = FaceNetwork().eval()
    sample = torch.rand(1, 3, 64, 64) * 255
    before = deployed(network)(sample)
    calibrate.shift_scores(network, -1.5)
    for old, new in zip(before, deployed(network)(sample), strict=True):
        torch.testing.assert_close(new[:, 0], old[:, 0] - 1.5)
        torch.testing.assert_close(new[:, 1:], old[:, 1:])


def test_recorded_outputs_are_shifted_as_the_network_would_be(made_folder):
    torch.manual_seed(2)
    shown = dataset.load(labels.read_folder(made_folder, pytest.fail)[:6], pytest.fail, False)
    rows = calibrate.examples(shown, 2)
    network = FaceNetwork().eval()
    with torch.no_grad():
        for head in (network.head8, network.head16, network.head32):
            head.bias[0] = head.bias[15] = 0.5
    found = calibrate.results(network, rows, 0.7, progress=False)
    by = float(calibrate.SHIFTS[-1])
    calibrate.shift_scores(network, by)
    again = calibrate.results(network, rows, 0.7, progress=False)
    at_zero = int(np.flatnonzero(calibrate.SHIFTS == 0)[0])
    assert found[-1].false_alarms == again[at_zero].false_alarms > found[0].false_alarms


def test_calibrate_command_writes_the_chosen_values(made_folder, tmp_path, capsys):
    weights = tmp_path / 'w.safetensors'
    checkpoint.save_weights(FaceNetwork(), weights)
    assert (
        calibrate.main(
            [
                '--weights',
                str(weights),
                '--out',
                str(tmp_path / 'c.safetensors'),
                '--data',
                str(made_folder),
                '--held-out',
                '0.3',
                '--canvases',
                '3',
            ]
        )
        == 0
    )
    assert capsys.readouterr().out.count('<- chosen') == 1
    checkpoint.load_network(tmp_path / 'c.safetensors')
