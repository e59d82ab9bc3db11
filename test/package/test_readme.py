# SPDX-License-Identifier: Apache-2.0
"""The README is short, its links lead somewhere, and its subscriber runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / 'README.md').read_text()
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('models/*.md')])


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r'^#+ (.+)$', path.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_readme_is_short():
    assert len(README.encode()) <= 8192


def test_animated_image_is_small():
    image = ROOT / re.search(r'\]\((docs/images/demo\.\w+)\)', README).group(1)
    assert image.stat().st_size < 2_000_000


@pytest.mark.parametrize('path', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    for target in re.findall(r'\]\(([^)\s]+)\)', path.read_text()):
        if re.match(r'\w+:', target):
            continue
        name, _, anchor = target.partition('#')
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f'{path.name} links to {target}'
        if anchor and file.suffix == '.md':
            assert anchor in anchors(file), f'{path.name} links to {target}'


def test_subscriber_is_complete_python_of_eight_lines():
    (code,) = re.findall(r'```python\n(.+?)```', README, re.DOTALL)
    ast.parse(code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 8


def test_badges_are_true():
    classifiers = (ROOT / 'scripts/setup.sh').read_text()
    assert '3.10 to 3.13' in classifiers and '3.10%20to%203.13' in README
    assert '"typeCheckingMode": "strict"' in (ROOT / 'pyrightconfig.json').read_text()
    assert 'Apache License' in (ROOT / 'LICENSE').read_text()
