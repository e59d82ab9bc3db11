# SPDX-License-Identifier: Apache-2.0
"""Every node has an executable, reference rows, a policy and an example."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from face_tracking import entry_points
from face_tracking.nodes.node_table import NODES, node_parameters
from face_tracking.nodes.topics import services_of, topics_of

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / 'docs' / 'reference'
EXAMPLES = re.findall(
    r'^\|[^|]*\| `(\w+_node[^`]*)` \|$', (ROOT / 'examples/README.md').read_text(), re.M
)


@pytest.mark.parametrize('node', NODES)
def test_node_has_an_executable(node):
    assert callable(getattr(entry_points, node))
    assert f'{node} = ' in (ROOT / 'setup.py').read_text()


@pytest.mark.parametrize('node', NODES)
def test_node_is_in_the_reference(node):
    section = (REFERENCE / 'parameters.md').read_text().partition(f'## `{node}`\n')[2]
    rows = section.partition('\n## ')[0]
    assert {row.name for row in node_parameters(node)} <= set(
        re.findall(r'^\| `(\w+)`', rows, re.M)
    )
    assert f'`{node}`' in (REFERENCE / 'topics.md').read_text()


@pytest.mark.parametrize('node', NODES)
def test_node_has_a_policy(node):
    policies = (ROOT / 'policies' / 'all_nodes.xml').read_text()
    assert f'node="{node}"' in policies
    assert topics_of(node) and services_of(node)


@pytest.mark.parametrize('node', NODES)
def test_node_has_an_example_whose_parameters_exist(node):
    commands = [command for command in EXAMPLES if command.split()[0] == node]
    assert commands, 'add a row to examples/README.md'
    rows = {row.name: row for row in node_parameters(node)}
    for command in commands:
        words = shlex.split(command)
        for name, text in (word.split(':=', 1) for word in words if ':=' in word):
            rows[name].check(yaml.safe_load(text))


def test_every_example_is_of_a_node():
    assert {command.split()[0] for command in EXAMPLES} == set(NODES)
