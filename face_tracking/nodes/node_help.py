# SPDX-License-Identifier: Apache-2.0
"""The help of the nodes' executables: what a node does, its topics, services and parameters."""

from __future__ import annotations

import textwrap
from importlib import import_module

from face_tracking.nodes.node_table import COMPOSED, node_parameters
from face_tracking.nodes.topics import services_of, topics_of
from face_tracking.options import Option

_WIDTH = 96


def help_text(executable: str) -> str:
    """Return what ``EXECUTABLE --help`` prints.

    :param executable: the name of a node or of a process of several nodes.
    """
    module = import_module(f'face_tracking.nodes.{executable}')
    summary = (module.__doc__ or '').strip()
    usage = f'usage: {executable} [--ros-args -p NAME:=VALUE -r OLD:=NEW ...]\n\n{summary}\n'
    nodes = COMPOSED.get(executable, (executable,))
    return usage + ''.join(_about(node) for node in nodes)


def _about(node: str) -> str:
    published, subscribed = topics_of(node)
    sections = [
        ('publishes', [(topic.name, topic.type) for topic in published]),
        ('subscribes to', [(topic.name, topic.type) for topic in subscribed]),
        ('services', [(row.name, row.type) for row in services_of(node)]),
        ('parameters', [(row.name, _describe(row)) for row in node_parameters(node)]),
    ]
    return ''.join(
        f'\n{node} {title}:\n' + ''.join(_entry(name, text) for name, text in rows)
        for title, rows in sections
        if rows
    )


def _describe(row: Option) -> str:
    default = repr(row.default) if isinstance(row.default, str) else str(row.default).lower()
    return f'{row.description} ({row.expected()}; default {default})'


def _entry(name: str, text: str) -> str:
    indent = ' ' * 6
    lines = textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f'  {name}\n' + '\n'.join(lines) + '\n'
