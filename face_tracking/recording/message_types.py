# SPDX-License-Identifier: Apache-2.0
"""Message definitions for bags, from the installed interface packages."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from face_tracking.errors import UserError

_FIELD = re.compile(r'^\s*([A-Za-z][\w/]*?)(?:<=\d+)?(?:\[[^\]]*\])?\s+[a-z]\w*', re.MULTILINE)
_LARGEST = 100_000  # bytes of a definition


def new_typestore() -> Any:
    """Return rosbags' store of the message types of ROS 2 Jazzy.

    :raises UserError: rosbags is missing.
    """
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise UserError(
            'rosbags is not installed', 'pip install "face_tracking[record]"'
        ) from None
    return get_typestore(Stores.ROS2_JAZZY)


def register_type(typestore: Any, name: str) -> None:
    """Make a message type known to a typestore, with the types of its fields.

    :param name: such as ``vision_msgs/msg/Detection2DArray``.
    :raises UserError: its definition is not installed.
    """
    if name in typestore.types:
        return
    from rosbags.typesys import get_types_from_msg

    text = _read_definition(name)
    package = name.partition('/')[0]
    for field in sorted(set(_FIELD.findall(text))):
        inner = _full_name(field, package)
        if inner is not None and inner not in typestore.types:
            register_type(typestore, inner)
    typestore.register(get_types_from_msg(text, name))


def _full_name(field: str, package: str) -> str | None:
    """Return the message type of a field, None for a primitive."""
    if '/' in field:
        owner, _, kind = field.rpartition('/')
        return f'{owner.partition("/")[0]}/msg/{kind}'
    return f'{package}/msg/{field}' if field[0].isupper() else None


def _read_definition(name: str) -> str:
    package, _, kind = name.partition('/msg/')
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        path = Path(prefix) / 'share' / package / 'msg' / f'{kind}.msg'
        if prefix and path.is_file():
            with path.open() as file:
                return file.read(_LARGEST)
    raise UserError(
        f'the definition of {name} was not found', f'install {package} and source its setup.bash'
    )
