# SPDX-License-Identifier: Apache-2.0
"""What the launch files share: reading their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from face_tracking.options import Value


def is_true(text: str) -> bool:
    """Return what an argument says, as launch conditions read it."""
    return text.strip().lower() in ('true', '1')


def overridden(
    chosen: Mapping[str, str], stands_for: Mapping[str, tuple[str, str]], nodes: Iterable[str]
) -> dict[str, dict[str, str]]:
    """Return, by node, the parameters that arguments set over the files.

    :param chosen: the arguments' values; an empty one sets nothing.
    :param stands_for: (node, parameter) of an argument.
    """
    parameters: dict[str, dict[str, str]] = {node: {} for node in nodes}
    for argument, (node, parameter) in stands_for.items():
        if chosen[argument]:
            parameters[node][parameter] = chosen[argument]
    return parameters


def merged(parameters: Mapping[str, Mapping[str, Value]]) -> dict[str, Value]:
    """Return the parameters of all nodes as one process takes them."""
    return {name: value for node in parameters.values() for name, value in node.items()}
