# SPDX-License-Identifier: Apache-2.0
"""The README says what the code does: every parameter, topic, service and command is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from face_tracking.nodes.node_table import node_parameters

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / 'README.md').read_text()
NODES = ('camera_node', 'detector_node', 'tracker_node', 'pan_tilt_node')


def table_after(heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading, by the name in their first cell."""
    below = README[README.index(heading) :]
    rows = re.findall(r'^\|(.+)\|\s*$', below[: below.index('\n\n', below.index('\n|'))], re.M)
    cells = [[cell.strip() for cell in row.split('|')] for row in rows[2:]]
    return {row[0].strip('`~/ '): row[1:] for row in cells}


def written(default) -> str:
    """Return a default as the README writes it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f'{default:.4g}'
    return str(default)


@pytest.mark.parametrize('node', NODES)
def test_parameters(node):
    declared = {row.name: row.default for row in node_parameters(node)}
    shown = table_after(f'### `{node}`')
    assert list(shown) == list(declared)
    for name, default in declared.items():
        assert shown[name][0].strip('`') == written(default), name


def test_commands():
    from face_tracking.cli.main import COMMANDS

    assert set(table_after('## Commands')) == set(COMMANDS)


def test_files_named_exist():
    for path in re.findall(r'\]\(([\w./-]+)\)', README):
        assert (ROOT / path).exists(), path
