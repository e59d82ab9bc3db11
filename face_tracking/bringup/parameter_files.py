# SPDX-License-Identifier: Apache-2.0
"""Checks of parameter files before a process starts: a file that sets nothing is an error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from face_tracking.errors import UserError

MAX_FILE_BYTES = 1_000_000
"""Bytes. A parameter file has a few thousand."""


def check_parameter_file(path: Path, nodes: Iterable[str]) -> None:
    """Check that a file has parameters for at least one of the nodes.

    Values are checked by the nodes; a value that is not allowed falls back alone there.

    :param nodes: the names of the nodes that read the file.
    :raises UserError: the file cannot be read, is not a parameter file, has parameters for none
        of the nodes, or has a name that is nearly that of a node.
    """
    nodes = list(nodes)
    names = [key.strip('/').rpartition('/')[2] for key in _sections(path)]
    if '**' in names:
        return
    for name in names:
        near = difflib.get_close_matches(name, nodes, n=1, cutoff=0.8)
        if name not in nodes and near:
            raise UserError(
                f'{path} has parameters for {name}, which is not a node',
                f'did you mean {near[0]}?',
            )
    if not set(names) & set(nodes):
        raise UserError(
            f'{path} has no parameters for {", ".join(nodes)}',
            'begin a section with, for example, /**/camera_node: and ros__parameters:',
        )


def _sections(path: Path) -> list[str]:
    content = _read(path)
    sections: list[str] = []
    for name, body in content.items():
        if not isinstance(body, Mapping):
            continue
        if 'ros__parameters' in body:
            sections.append(str(name))
        else:  # a namespace above the nodes
            inner = cast(Mapping[Any, Any], body)
            sections += [
                f'{name}/{node}'
                for node, deeper in inner.items()
                if isinstance(deeper, Mapping) and 'ros__parameters' in deeper
            ]
    return sections


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(
                f'{path} has more than {MAX_FILE_BYTES} bytes', 'give a parameter file'
            )
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        detail = ' '.join(str(error).split())[:200]
        raise UserError(f'{path} cannot be read as YAML ({detail})', 'correct the file') from error
    if not isinstance(content, Mapping):
        raise UserError(f'{path} is not a parameter file', 'see config/pi5.yaml for an example')
    return cast(Mapping[str, Any], content)
