# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: help worth reading, exit codes that mean something."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from face_tracking import __version__
from face_tracking.cli.main import COMMANDS, main


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, '--help'])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    module = importlib.import_module(f'face_tracking.cli.{command.replace("-", "_")}')
    assert module.__doc__.strip().splitlines()[0] in text
    assert callable(module.run)


def test_overview_lists_commands_and_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    text = capsys.readouterr().out
    assert all(f'    {command}' in text for command in COMMANDS)
    assert 'exit codes' in text and 'examples' in text


def test_overview_needs_no_heavy_imports():
    code = (
        'import sys; from face_tracking.cli.main import _parser; _parser([]); '
        'print([name for name in ("cv2", "numpy", "onnx", "tvm", "rclpy") '
        'if name in sys.modules])'
    )
    shown = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == '[]'


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--version'])
    assert ended.value.code == 0 and __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['dance'],
        ['detect'],
        ['track'],
        ['detect', 'x', '--score-threshold', '2'],
        ['detect', 'x', '--long-side', '0'],
        ['track', 'x', '--input-size', '320'],
    ],
)
def test_wrong_use_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and 'usage:' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['detect', '/no/such/file.jpg'], 'no file or folder /no/such/file.jpg'),
        (['track', '/no/such/video.mp4'], '/no/such/video.mp4'),
        (['track', '~no_such_user/video.mp4'], 'unknown home folder'),
        (['track', 'virtual:~no_such_user/scene.yaml'], 'unknown home folder'),
        (['track', 'x' * 3000], 'xxx'),
        (['track', 'folder:' + 'x' * 3000], 'xxx'),
        (['track', 'x' * 5000], '5000 characters'),
        (['track', 'a\0b'], 'characters'),
        (['detect', 'x' * 3000], 'xxx'),
        (['detect', '~no_such_user/a.png'], 'no_such_user'),
        (['track', '/no/such/video.mp4', '--mot', '/proc/x/y'], 'video.mp4'),
        (['play', '~no_such_user/recording'], 'recording'),
        (['people', 'export', 'x' * 3000], 'xxx'),
        (['compile', '--model', '/no/such.onnx'], '/no/such.onnx'),
        (['fetch-model', 'nothing'], 'yunet'),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, said, capsys):
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert lines[0].startswith(f'face_tracking {words[0]}: ')
