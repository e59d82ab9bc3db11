# SPDX-License-Identifier: Apache-2.0
"""Write the pages that the code determines: docs/reference/*.md and CHANGELOG.rst.

    python dev/reference.py            writes them
    python dev/reference.py --check    exits with 1 if one is not up to date

Parameters come from the option tables, topics and services from the topic table, commands from
their argument parsers, launch arguments from the table of launch files, and CHANGELOG.rst, which
the release tool bloom reads, from CHANGELOG.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from face_tracking.bringup.launch_files import LAUNCH_FILES
from face_tracking.cli import main as cli
from face_tracking.files import share_dir
from face_tracking.nodes.node_table import NODES, node_parameters
from face_tracking.nodes.topics import ALL_NODES, SERVICES, TOPICS
from face_tracking.options import Option

ROOT = Path(__file__).resolve().parents[1]
NOTE = '<!-- Written by dev/reference.py; do not edit. -->\n\n'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return ''.join('| ' + ' | '.join(map(_cell, line)) + ' |\n' for line in lines)


def _cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|')


def _value(row: Option) -> str:
    if isinstance(row.default, bool):
        return f'`{str(row.default).lower()}`'
    if isinstance(row.default, float):
        return f'`{row.default:.4g}`'
    return f'`{row.default}`' if row.default != '' else ''


def _range(row: Option) -> str:
    if row.choices:
        return ', '.join(f'`{choice}`' if choice else 'empty' for choice in row.choices)
    return '' if row.low is None else f'{row.low:g} to {row.high:g}'


def parameters() -> str:
    """Return the page of the nodes' parameters."""
    text = (
        NOTE + '# Parameters\n\n'
        'Every parameter has a descriptor: `ros2 param describe /camera_node width`. A value that '
        'is not allowed is reported and its default used; a value that is set later is refused '
        'with the reason. *At start* in the last column marks parameters that are read when the '
        'node starts; all others can be set while it runs.\n'
    )
    for node in NODES:
        rows = [
            [
                f'`{row.name}`',
                _value(row),
                _range(row),
                row.description,
                'at start' if row.read_only else '',
            ]
            for row in node_parameters(node)
        ]
        header = ('parameter', 'default', 'range', 'description', 'set')
        text += f'\n## `{node}`\n\n{table(header, rows)}'
    return text


def _nodes(names: tuple[str, ...]) -> str:
    return 'every node' if names == ALL_NODES else ', '.join(f'`{name}`' for name in names)


def topics() -> str:
    """Return the page of topics and services."""
    rows = [
        [
            f'`{topic.name}`',
            f'`{topic.type}`',
            topic.qos,
            _nodes(topic.publishers),
            _nodes(topic.subscribers),
            topic.description
            + (f'; renamed by `{topic.name_parameter}`' if topic.name_parameter else ''),
        ]
        for topic in TOPICS.values()
    ]
    header = ('topic', 'type', 'QoS', 'published by', 'subscribed by', 'content')
    services = [
        [f'`{row.name}`', f'`{row.type}`', _nodes(row.nodes), row.description]
        for row in SERVICES.values()
    ]
    return (
        NOTE + '# Topics and services\n\n'
        'Names are relative: in the namespace `robot1`, `faces/tracks` is `/robot1/faces/tracks`. '
        '`~` stands for the name of the node. The header of every message about an image is that '
        'of the image. Boxes are in pixels of the source image, given by their center and full '
        'size. An image without a face gives an empty array.\n\n'
        '## Topics\n\n'
        'QoS: *sensor* follows REP 2003: publishers use the system default (reliable), '
        'subscribers best effort. *reliable*: the last 10 messages. *latched*: the last message, '
        'also for late subscribers. Each can be changed by the parameters `qos_overrides` of '
        'ROS.\n\n' + table(header, rows) + '\n'
        '## Services\n\n' + table(('service', 'type', 'offered by', 'effect'), services)
    )


def commands() -> str:
    """Return the page of the commands."""
    text = (
        NOTE
        + '# Commands\n\n'
        + table(
            ('command', 'purpose'),
            [
                [f'[`face_tracking {name}`](#face_tracking-{name})', summary]
                for name, summary in cli.COMMANDS.items()
            ],
        )
    )
    for name in cli.COMMANDS:
        module = import_module(f'face_tracking.cli.{name.replace("-", "_")}')
        parser = argparse.ArgumentParser(prog=f'face_tracking {name}', add_help=False)
        module.add_arguments(parser)
        text += f'\n## `face_tracking {name}`\n\n{_prose(module.__doc__ or "")}\n{_usage(parser)}'
    return text


def _prose(text: str) -> str:
    """Return the help of a command; indented examples stay as they are."""
    return '\n'.join(line.rstrip() for line in text.strip().splitlines()) + '\n'


def _usage(parser: argparse.ArgumentParser) -> str:
    """Return the table of a command's arguments.

    Not from ``format_help``, whose layout differs between versions of Python.
    """
    rows = []
    for action in parser._actions:
        names = ', '.join(f'`{name}`' for name in action.option_strings) or f'`{action.dest}`'
        default = action.default
        hidden = default is None or default is False or default in ('', argparse.SUPPRESS)
        shown = '' if hidden else f'`{default}`'
        text = (action.help or '').replace(' (default: %(default)s)', '')
        text = text.replace('%(default)s', str(default)).replace('%%', '%')
        choices = ', '.join(f'`{choice}`' for choice in action.choices or ())
        rows.append([names, _without_places(shown), choices, _without_places(text)])
    return table(('argument', 'default', 'choices', 'description'), rows)


def _without_places(text: str) -> str:
    """Return a text without what depends on the machine."""
    text = text.replace(str(share_dir()), 'share/face_tracking')
    return text.replace(str(Path.home()), '~')


def launch() -> str:
    """Return the page of the launch files."""
    text = (
        NOTE + '# Launch files\n\n'
        'Start one with `ros2 launch face_tracking NAME.launch.py argument:=value`. A boolean is '
        'written as true or false, yes or no, on or off, 1 or 0.\n'
    )
    for name, file in LAUNCH_FILES.items():
        rows = [
            [
                f'`{row.name}`',
                f'`{_without_places(row.default)}`' if row.default else '',
                row.description
                + (
                    ': ' + ', '.join(f'`{choice}`' for choice in row.choices if choice)
                    if row.choices and not row.boolean and 'true' not in row.choices
                    else ''
                ),
            ]
            for row in file.arguments
        ]
        header = ('argument', 'default', 'description')
        text += f'\n## `{name}.launch.py`\n\n{file.purpose}.\n\n{table(header, rows)}'
    return text


def changelog() -> str:
    """Return CHANGELOG.rst for bloom, from CHANGELOG.md."""
    title = 'Changelog for package face_tracking'
    line = '^' * len(title)
    text = f'.. Written by dev/reference.py; do not edit.\n\n{line}\n{title}\n{line}\n'
    source = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    for line in source.splitlines():
        if match := re.match(r'## \[(.+?)\] - (\S+)', line):
            heading = f'{match[1]} ({match[2]})'
            text += f'\n{heading}\n{"-" * len(heading)}\n\n'
        elif line.startswith('- '):
            text += f'* {_to_rst(line[2:])}\n'
    return text


def _to_rst(text: str) -> str:
    text = re.sub(r'`([^`]+)`', r'``\1``', text)
    return re.sub(r'\[([^]]+)\]\((\S+)\)', r'\1 (\2)', text)


PAGES = {
    'docs/reference/parameters.md': parameters,
    'docs/reference/topics.md': topics,
    'docs/reference/commands.md': commands,
    'docs/reference/launch.md': launch,
    'CHANGELOG.rst': changelog,
}
"""Each page and the function that returns its text."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--check', action='store_true', help='write nothing; 1 if one differs')
    args = parser.parse_args(argv)
    stale = []
    for name, page in PAGES.items():
        path, text = ROOT / name, page()
        if path.is_file() and path.read_text(encoding='utf-8') == text:
            continue
        stale.append(name)
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')
    if stale:
        print(f'{"out of date" if args.check else "written"}: {", ".join(stale)}')
    return 1 if stale and args.check else 0


if __name__ == '__main__':
    sys.exit(main())
