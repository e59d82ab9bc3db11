# SPDX-License-Identifier: Apache-2.0
"""Commands of a user without a home folder and without a passwd entry print one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from waiting import PATIENCE

PROGRAM = """
import pwd, sys

def unknown(*_):
    raise KeyError('uid not found')

pwd.getpwuid = pwd.getpwnam = unknown
from face_tracking.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def run(*words: str) -> subprocess.CompletedProcess:
    unset = ('HOME', 'XDG_CACHE_HOME', 'FACE_TRACKING_CACHE', 'FACE_TRACKING_MODEL', 'USER')
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    return subprocess.run(
        [sys.executable, '-c', PROGRAM, *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    'words',
    [
        ['detect', 'IMAGE'],
        ['detect', '--model', 'nothing', 'IMAGE'],
        ['compile'],
        ['fetch-model', 'yunet'],
        ['tune', '--trials', '1'],
    ],
)
def test_missing_home_folder_is_one_line(tmp_path, astronaut, words):
    import cv2

    cv2.imwrite(str(tmp_path / 'image.png'), astronaut)
    done = run(*(word.replace('IMAGE', str(tmp_path / 'image.png')) for word in words))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith('  ')]
    assert 'Traceback' not in done.stderr
    assert 'set FACE_TRACKING_CACHE' in lines[-1]


def test_engine_that_needs_no_cache_works_without_a_home_folder(tmp_path, astronaut):
    import cv2

    cv2.imwrite(str(tmp_path / 'image.png'), astronaut)
    done = run('detect', '--runtime', 'onnxruntime', str(tmp_path / 'image.png'))
    assert done.returncode == 0, done.stderr
    assert '1 face' in done.stdout + done.stderr
