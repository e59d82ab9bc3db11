# SPDX-License-Identifier: Apache-2.0
"""The TVM runtime loads no more than it needs."""

import os
import subprocess
import sys


def test_an_installed_torch_is_left_alone(tmp_path):
    (tmp_path / 'torch').mkdir()
    (tmp_path / 'torch' / '__init__.py').write_text('raise RuntimeError("torch was imported")')
    paths = [str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])]
    program = (
        'import sys; import face_tracking.runtimes.tvm; '
        'assert "torch" not in sys.modules; import torch'
    )
    found = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
    )
    assert found.stderr.strip().endswith('RuntimeError: torch was imported')
    assert '_ffi' not in found.stderr


def test_a_network_runs_without_the_package_that_compiles():
    program = (
        'import sys, numpy; from face_tracking.detector import create_detector; '
        'create_detector().detect(numpy.zeros((48, 64, 3), numpy.uint8)); '
        'print("tvm" in sys.modules)'
    )
    found = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == ['False'], found.stderr
