# SPDX-License-Identifier: Apache-2.0
"""``face_tracking doctor``: it finds what is there, and what is wrong."""

from __future__ import annotations

import sys

from face_tracking.cli import doctor
from face_tracking.cli.main import main
from face_tracking.runtimes import base


def test_working_engines_are_found_to_work(described, capsys, monkeypatch):
    monkeypatch.setattr(
        base, 'RUNTIMES', {name: base.RUNTIMES[name] for name in ('onnxruntime', 'opencv')}
    )
    main(['doctor', '--model', str(described)])
    text = capsys.readouterr().out
    lines = {
        line.split()[1]: line.split()[0]
        for line in text.splitlines()
        if line.startswith('  ') and len(line.split()) > 2
    }
    for subject in ('Python', 'numpy', 'model', 'onnxruntime', 'opencv', 'virtual:', 'rclpy'):
        assert lines[subject] == 'ok', text
    assert 'ms for an image' in text


def test_missing_parts_are_reported_with_a_remedy(described, capsys, monkeypatch):
    described.write_text('name: broken')
    monkeypatch.setitem(sys.modules, 'scipy', None)
    assert main(['doctor', '--model', str(described), '--no-cameras']) == 1
    text = capsys.readouterr().out
    failures = [line for line in text.splitlines() if line.startswith('  FAIL')]
    assert any('scipy' in line for line in failures)
    assert any('description' in line for line in failures)
    assert '-> pip install scipy' in text and '2 FAIL' in text


def test_missing_camera_is_a_note_with_a_remedy():
    finding = doctor._try_camera('v4l2:///dev/video987')
    assert finding.state == doctor.NOTE and '/dev/video987' in finding.text and finding.remedy


def test_each_kind_of_gpu_works_or_has_a_remedy():
    findings = list(doctor._graphics())
    assert [finding.subject for finding in findings] == ['device vulkan', 'device opencl']
    for finding in findings:
        assert finding.text and (finding.state == doctor.OK) != bool(finding.remedy)
