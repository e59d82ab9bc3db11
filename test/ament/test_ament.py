# SPDX-License-Identifier: Apache-2.0
"""The linters of ament, where they are installed: flake8, pep257, xmllint; and license headers.

They run with this package's conventions (ruff.toml): single quotes and Sphinx-style docstrings.
The headers are SPDX lines without a copyright notice, which ament_copyright does not know; the
last test checks them instead.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAKE8 = """[flake8]
max-line-length = 99
extend-ignore = A,B,C,CNL,D,E203,E501,I,Q,W503
exclude = build,install,log,.venv,.venv-training,.overlay
"""


def linter(name: str):
    """Return the main function of a linter, or skip."""
    pytest.importorskip(name, reason=f'needs {name}, which is not here')
    return import_module(f'{name}.main').main


@pytest.mark.flake8
def test_flake8(tmp_path):
    config = tmp_path / 'flake8.ini'
    config.write_text(FLAKE8)
    folders = [str(ROOT / name) for name in ('face_tracking', 'launch', 'examples')]
    assert linter('ament_flake8')(argv=['--config', str(config), *folders]) == 0


@pytest.mark.pep257
def test_pep257():
    conventions = [f'D{n}' for n in (100, 103, 104, 105, 107, 203, 212, 213, 401, 402, 404, 413)]
    argv = [str(ROOT / 'face_tracking'), '--ignore', *conventions]
    assert linter('ament_pep257')(argv=argv) == 0


@pytest.mark.xmllint
def test_xmllint():
    if shutil.which('xmllint') is None:
        pytest.skip('needs xmllint, which is not here')
    assert linter('ament_xmllint')(argv=[str(ROOT / 'package.xml')]) == 0


def test_every_source_file_names_its_license():
    folders = ('face_tracking', 'launch', 'examples', 'test', 'dev', 'benchmarks')
    files = [path for name in folders for path in (ROOT / name).rglob('*.py')]
    header = '# SPDX-License-Identifier: Apache-2.0\n'
    missing = [path for path in files if header not in path.read_text(encoding='utf-8')[:200]]
    assert not missing
