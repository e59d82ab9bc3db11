# SPDX-License-Identifier: Apache-2.0
"""scripts/setup.sh and scripts/env.sh: what they refuse in one line, and what they give."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    'find',
    'sort',
    'xargs',
    'bash',
    'sh',
    'cat',
    'cut',
    'dirname',
    'sha256sum',
    'tr',
    'uname',
    'env',
    'rm',
    'mktemp',
)
COMPILERS = ('gcc', 'g++', 'make', 'cmake')


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Return a copy of what setup.sh reads, so that a run cannot touch this environment."""
    for name in ('scripts', 'dev', 'setup.py', 'package.xml', 'requirements.txt'):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / 'repo' / name)
        else:
            shutil.copy(source, tmp_path / 'repo' / name)
    return tmp_path / 'repo'


@pytest.fixture
def tools(tmp_path) -> Path:
    """Return a folder for PATH with the tools of a fresh machine, to take from or add to."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in (*TOOLS, *COMPILERS):
        (folder / name).symlink_to(shutil.which(name) or '/bin/true')
    return folder


def script(folder: Path, text: str) -> None:
    """Make an executable of the given name say the given thing."""
    folder.unlink(missing_ok=True)
    folder.write_text(f'#!/bin/sh\n{text}\n')
    folder.chmod(0o755)


def refuse(checkout: Path, tools: Path, **environment: str) -> str:
    """Run setup.sh, which is to fail, and return the only line that it says."""
    done = subprocess.run(
        ['bash', str(checkout / 'scripts' / 'setup.sh')],
        capture_output=True,
        text=True,
        env={'PATH': str(tools), 'HOME': str(checkout), **environment},
        timeout=PATIENCE,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1, lines
    assert not (checkout / '.venv').exists()
    return lines[0]


@pytest.mark.parametrize(
    ('missing', 'package'),
    [
        ('gcc', 'build-essential'),
        ('g++', 'build-essential'),
        ('make', 'build-essential'),
        ('cmake', 'cmake'),
    ],
)
def test_missing_compiler_names_the_package(checkout, tools, missing, package):
    (tools / missing).unlink()
    line = refuse(checkout, tools)
    assert f'{missing} is missing' in line and f'apt install {package}' in line


def test_no_python_at_all(checkout, tools):
    assert 'no CPython 3.10 to 3.13 found' in refuse(checkout, tools)


def test_python_too_old(checkout, tools):
    script(tools / 'old', 'exit 1')
    line = refuse(checkout, tools, FACE_TRACKING_PYTHON=str(tools / 'old'))
    assert 'is no CPython 3.10 to 3.13' in line


def test_python_without_venv(checkout, tools):
    script(
        tools / 'python3', f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    )
    line = refuse(checkout, tools)
    assert 'apt install python3-venv' in line


def test_platform_without_wheels(checkout, tools):
    script(tools / 'uname', 'if [ "$1" = -m ]; then echo aarch64; else echo Linux; fi')
    line = refuse(checkout, tools)
    assert 'Linux on aarch64' in line and 'source /opt/ros/jazzy/setup.bash' in line


def test_env_before_setup_says_so(checkout):
    done = subprocess.run(
        ['bash', '-c', f'source {checkout}/scripts/env.sh'], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'setup.sh first' in done.stderr


@pytest.mark.skipif(not (ROOT / '.venv' / '.set-up').exists(), reason='needs a set-up checkout')
@pytest.mark.parametrize('shell', ['bash', 'sh', 'zsh'])
def test_env_gives_the_commands(shell):
    if shutil.which(shell) is None:
        pytest.skip(f'{shell} is not installed')
    clean = {'PATH': '/usr/bin:/bin', 'HOME': os.environ.get('HOME', '/')}
    done = subprocess.run(
        [
            shell,
            '-c',
            '. scripts/env.sh && . scripts/env.sh && command -v face_tracking '
            'camera_node detector_node tracker_node pipeline pytest && echo $PATH',
        ],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *commands, path = done.stdout.split()
    assert len(commands) in ([6] if shell != 'sh' else [1, 6])  # dash names the first alone
    assert path.count('.venv/bin') == 1


def test_unknown_distribution_is_refused(checkout, tools):
    line = refuse(checkout, tools, FACE_TRACKING_ROS='foxy')
    assert 'FACE_TRACKING_ROS=foxy is not a supported distribution' in line
