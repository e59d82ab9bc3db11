# SPDX-License-Identifier: Apache-2.0
"""The table of engines has every row, with figures or with what to install."""

from __future__ import annotations

import json

from face_tracking.cli.main import main

ROWS = [
    *('pytorch', 'onnxruntime', 'openvino', 'openvino f32', 'litert', 'ncnn', 'mnn', 'opencv'),
    *('tvm naive', 'tvm float32'),
    *('onnxruntime int8', 'openvino int8', 'litert int8', 'mnn int8', 'ncnn int8', 'tvm int8'),
]
ALWAYS = {'onnxruntime', 'opencv', 'tvm naive', 'tvm float32'}
EXACT = {'pytorch', 'openvino f32', 'litert', 'mnn', *ALWAYS}


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
        assert row['kind'] == ('int8' if 'int8' in name else 'float')
        if name in ALWAYS:
            assert 'missing' not in row, row
        if 'missing' in row:
            assert row['missing'] in shown
            continue
        for figure in ('network', 'image'):
            assert row[f'{figure}_median_ms'] >= row[f'{figure}_fastest_ms'] > 0
        assert row['image_fastest_ms'] >= row['network_fastest_ms']
        if row['kind'] == 'float':
            assert row['image_ratio'] > 0 and row['network_ratio'] > 0
        if name in EXACT:
            assert row['difference'] < 1e-4
    assert plot.stat().st_size > 5000


def test_unknown_model_is_one_line(capfd):
    assert main(['bench', '--model', '/no/such.onnx']) == 2
    assert '/no/such.onnx' in capfd.readouterr().err.splitlines()[-1]
