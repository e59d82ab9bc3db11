# SPDX-License-Identifier: Apache-2.0
"""``face_tracking fetch-model``: the command around the fetching, which has its own tests."""

from __future__ import annotations

from face_tracking.cli.main import main


def test_fetched_model_is_found_by_its_name(shared_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path))
    source = shared_dir / 'models/face_detection_yunet_2023mar.onnx'
    assert main(['fetch-model', 'yunet', '--from', str(source)]) == 0
    path = tmp_path / 'models/face_detection_yunet_2023mar.onnx'
    assert capsys.readouterr().out.strip() == str(path)
    from face_tracking.detection.model import find_model

    assert find_model('yunet') == path


def test_wrong_file_is_refused(tmp_path, capsys):
    wrong = tmp_path / 'wrong.onnx'
    wrong.write_bytes(b'something else')
    assert main(['fetch-model', 'yunet', '--from', str(wrong), '--output', str(tmp_path)]) == 2
    assert 'SHA-256' in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ['wrong.onnx']
