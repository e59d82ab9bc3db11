# SPDX-License-Identifier: Apache-2.0
"""``face_tracking simulate``: table, plot, video, figures, exit codes."""

import json

import cv2
import pytest

from face_tracking.cli import simulate
from face_tracking.cli.main import main
from face_tracking.detection.model import find_model
from face_tracking.errors import UserError
from face_tracking.simulation.trials import CrossingResult, StepResult, WalkResult


def test_a_trial_leaves_table_plot_video_and_figures(tmp_path, capsys):
    try:
        find_model()
    except UserError as error:
        pytest.skip(f'no detector: {error}')
    code = main(
        [
            'simulate',
            '--trials',
            'step',
            '--alone',
            '--runtime',
            'onnxruntime',
            '--plot',
            str(tmp_path / 'head.png'),
            '--video',
            str(tmp_path / 'head.mp4'),
            '--json',
            str(tmp_path / 'head.json'),
        ]
    )
    said = capsys.readouterr().out
    figures = json.loads((tmp_path / 'head.json').read_text())['ours']['step']
    assert code == 0, said
    assert f'{figures["seconds"]:.2f} s' in said
    assert cv2.imread(str(tmp_path / 'head.png')).shape[1] > 500
    video = cv2.VideoCapture(str(tmp_path / 'head.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(148, abs=3)
    assert video.get(cv2.CAP_PROP_FRAME_HEIGHT) == 480 + simulate.TrialVideo.HEIGHT


def test_wrong_use_is_one_line_and_2(capsys):
    assert main(['simulate', '--latency', '-1']) == 2
    assert '--latency is -1.0 s' in capsys.readouterr().err


def test_what_is_missed_is_named():
    good = {
        'step': StepResult(0.5, 0.05, 0.2),
        'walk': WalkResult(2.0, 5.0),
        'crossing': CrossingResult(1.0, True, 0.5),
        'hidden': CrossingResult(1.0, True, 0.5),
    }
    assert simulate._missed(good, {'walk': WalkResult(6.0, 7.0)}) == []
    bad = {
        'step': StepResult(0.9, 0.2, 3.0),
        'walk': WalkResult(4.5, 5.0),
        'crossing': CrossingResult(0.5, False, 9.0),
        'hidden': CrossingResult(0.5, False, 9.0),
    }
    assert len(simulate._missed(bad, {'walk': WalkResult(6.0, 7.0)})) == 7
