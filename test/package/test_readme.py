# SPDX-License-Identifier: Apache-2.0
"""The README is short, its links lead somewhere, and its subscriber runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / 'README.md').read_text()
FOLDERS = ('.', 'face_tracking', 'benchmarks', 'dev', 'examples', 'launch', 'test', 'training')
SOURCES = [
    file.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for file in (ROOT / folder).glob('*.py' if folder == '.' else '**/*.py')
]
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


def test_readme_shows_rviz_in_a_small_picture():
    image = ROOT / re.search(r'!\[RViz[^]]*\]\((docs/images/\w+\.png)\)', README).group(1)
    assert image.stat().st_size < 300_000


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


@pytest.mark.parametrize('path', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_files_that_a_page_names_exist(path):
    """Placeholders are in capitals, as NAME.py; files beside the repository begin with a dot."""
    for name in re.findall(r'`(\w[\w/]*\.py)`', path.read_text()):
        if 'NAME' not in name:
            assert any(f'/{file}'.endswith(f'/{name}') for file in SOURCES), name


def test_paths_and_functions_of_the_architecture_page_exist():
    page = (ROOT / 'docs/architecture.md').read_text()
    questions = page[page.index('## Where is') : page.index('## Modules')]
    for row in re.findall(r'^\| (where .+?) \| (.+?) \| (.+?) \|$', questions, re.MULTILINE):
        paths = [name for name in re.findall(r'`([\w/.]+\.py)`', row[1]) if 'NAME' not in name]
        files = [ROOT / 'face_tracking' / name for name in paths]
        assert all(file.is_file() for file in files), row
        # The first of them is in one of the files; the text may name its callers as well.
        name = re.search(r'^`(?:[A-Z]\w+\.)?(\w+)`', row[2])
        if files and name:
            code = '\n'.join(file.read_text() for file in files)
            assert re.search(rf'(def|class) {name.group(1)}\b', code), row
    for name in re.findall(r'`([\w/.]+(?:\.py|/))`', page[page.index('## Modules') :]):
        assert (ROOT / name).exists() or any((ROOT / 'face_tracking').rglob(name)), name


def test_badges_are_true():
    classifiers = (ROOT / 'scripts/setup.sh').read_text()
    assert '3.10 to 3.13' in classifiers and '3.10%20to%203.13' in README
    assert '"typeCheckingMode": "strict"' in (ROOT / 'pyrightconfig.json').read_text()
    assert 'Apache License' in (ROOT / 'LICENSE').read_text()
