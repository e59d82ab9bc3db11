# SPDX-License-Identifier: Apache-2.0
"""RViz with the package's configurations, adapted to a robot's namespace and frames."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import yaml

from face_tracking.bringup.arguments import Argument, Chosen, config_file
from face_tracking.bringup.processes import Process

VIEW = (
    Argument(
        'rviz_config',
        'auto',
        'Configuration of RViz; auto = that of this package, with the head if description is set',
    ),
    Argument(
        'image_transport',
        'compressed',
        'Transport of the image; raw ones are a megabyte each and rarely cross a network whole',
        ('raw', 'compressed'),
    ),
)


def rviz(chosen: Chosen, with_head: bool, transport: str = 'raw') -> list[Process]:
    """Return the process of RViz if the argument ``rviz`` asks for it, or there is none.

    :param with_head: show the robot model and the gaze, too.
    :param transport: of the displayed image, as image_transport calls it.
    :raises UserError: there is no such configuration.
    """
    if 'rviz' in chosen and not chosen.flag('rviz'):
        return []
    default = Path(config_file('pan_tilt.rviz' if with_head else 'face_tracking.rviz'))
    path = default if chosen.text('rviz_config') in ('', 'auto') else chosen.path('rviz_config')
    if chosen.namespace or chosen.frame_prefix or transport != 'raw':
        path = _adapted(path, chosen.namespace, chosen.frame_prefix, transport)
    return [
        Process(
            'rviz2',
            'rviz2',
            namespace=chosen.namespace,
            arguments=('-d', str(path)),
            parameters={'use_sim_time': chosen.flag('use_sim_time')},
            plugins=() if transport == 'raw' else (f'{transport}_image_transport',),
        )
    ]


def adapted(
    content: dict[str, Any], namespace: str, prefix: str, transport: str = 'raw'
) -> dict[str, Any]:
    """Return a configuration of RViz for a robot in a namespace with a prefix of its frames.

    :param content: the configuration; its topics are absolute. It is changed.
    :param transport: of its images; RViz takes it from the end of the topic's name.
    """
    manager = content['Visualization Manager']
    for display in manager['Displays']:
        for key in ('Topic', 'Description Topic'):
            if key in display and namespace:
                display[key]['Value'] = f'/{namespace}{display[key]["Value"]}'
        if display['Class'].endswith('/Image') and transport != 'raw':
            raw = display['Topic']['Value'].removesuffix(f'/{transport}')
            display['Topic']['Value'] = f'{raw}/{transport}'
        if display['Class'].endswith('/RobotModel'):
            display['TF Prefix'] = prefix.rstrip('/')
        if display['Class'].endswith('/TF') and prefix:
            # The frames of other robots on /tf have no transform to this one's.
            display['Filter (whitelist)'] = f'^{re.escape(prefix)}'
    frame = manager['Global Options']['Fixed Frame']
    manager['Global Options']['Fixed Frame'] = f'{prefix}{frame}'
    return content


def _adapted(path: Path, namespace: str, prefix: str, transport: str) -> Path:
    content = yaml.safe_load(path.read_text(encoding='utf-8'))
    adapted(content, namespace, prefix, transport)
    folder = Path(tempfile.mkdtemp(prefix='face_tracking_rviz_'))
    written = folder / path.name
    written.write_text(yaml.safe_dump(content, sort_keys=False), encoding='utf-8')
    return written
