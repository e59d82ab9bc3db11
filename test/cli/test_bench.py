# SPDX-License-Identifier: Apache-2.0
"""The table of engines: every row is there, with figures or with what to install."""

from __future__ import annotations

import json

import pytest

from face_tracking.cli.main import main

ROWS = [
    'pytorch fp32',
    'torchscript int8',
    'onnxruntime',
    'ncnn',
    'opencv',
    'tflite int8',
    'tvm naive',
    'tvm tuned',
    'tvm int8',
]
ALWAYS = {'onnxruntime', 'opencv', 'tvm naive', 'tvm tuned'}
EXACT = {'pytorch fp32', *ALWAYS}


@pytest.mark.timeout(300)  # two compilers and PyTorch's import, on a machine that is busy
def test_every_engine_has_its_row(described, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path / 'cache'))
    found, plot = tmp_path / 'rows.json', tmp_path / 'plot.png'
    assert (
        main(
            [
                'bench',
                '--model',
                str(described),
                '--rounds',
                '3',
                '--threads',
                '2',
                '--json',
                str(found),
                '--plot',
                str(plot),
            ]
        )
        == 0
    )
    rows = {row['engine']: row for row in json.loads(found.read_text())}
    assert [name for name in rows if name != 'tvm float16'] == ROWS
    shown = capfd.readouterr().out
    for name, row in rows.items():
        assert row['model'] == 'squares 64x48' and row['threads'] == 2 and name in shown
        if name in ALWAYS:
            assert row['median_ms'] is not None
        if row['median_ms'] is None:
            assert row['missing'] in shown
            continue
        assert row['median_ms'] >= row['fastest_ms'] > 0 and row['ratio'] > 0
        if name in EXACT:
            assert row['difference'] < 1e-4
    assert plot.stat().st_size > 5000


def test_unknown_model_is_one_line(capfd):
    assert main(['bench', '--model', '/no/such.onnx']) == 2
    assert '/no/such.onnx' in capfd.readouterr().err.splitlines()[-1]
