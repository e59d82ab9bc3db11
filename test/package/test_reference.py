# SPDX-License-Identifier: Apache-2.0
"""The generated pages are up to date, and bloom can read the changelog."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, 'dev/reference.py', '--check'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f'run python dev/reference.py: {done.stdout}{done.stderr}'


def test_bloom_can_read_the_changelog():
    catkin_pkg = pytest.importorskip('catkin_pkg.changelog', reason='needs catkin_pkg')
    pytest.importorskip('docutils', reason='needs docutils')
    from catkin_pkg.package import parse_package

    changelog = catkin_pkg.get_changelog_from_path(str(ROOT))
    version, _, content = next(iter(changelog.foreach_version()))
    assert version == parse_package(str(ROOT / 'package.xml')).version
    assert content
