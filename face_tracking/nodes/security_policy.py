# SPDX-License-Identifier: Apache-2.0
"""SROS 2 policies: what each node of a launch file may publish, receive and serve.

``python -m face_tracking.nodes.security_policy policies`` writes the files in ``policies/`` from
the tables of topics and services; a test holds them to be up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from face_tracking.nodes.actions import PARTS
from face_tracking.nodes.node_table import NODES
from face_tracking.nodes.page_parameters import OFFERED
from face_tracking.nodes.people_client import NODE as RECOGNIZER
from face_tracking.nodes.people_client import SERVICES as PEOPLE_SERVICES
from face_tracking.nodes.topics import ServiceRow, Topic, services_of, topics_of

_ACTIONS = tuple(module for module, _ in PARTS.values())
# What launch arguments add to every launch file of a robot.
_ADDED = ('recognizer_node', *_ACTIONS)
_PIPELINE = ('camera_node', 'detector_node', 'tracker_node')
LAUNCH_FILES = {
    'pi5': (*_PIPELINE, *_ADDED),
    'camera_ros': (*_PIPELINE[1:], *_ADDED),
    'pan_tilt': (*_PIPELINE, 'pan_tilt_node', *_ADDED),
    'simulation': (*_PIPELINE, 'pan_tilt_node', *_ADDED),
    'offboard': (*_PIPELINE, 'pan_tilt_node', 'recognizer_node'),
    'all_nodes': tuple(NODES),
}
"""The nodes of each launch file that a policy exists for."""
PUBLISHED_BY_RCLPY = ('/parameter_events', '/rosout', '~/transition_event')
RECEIVED_BY_RCLPY = ('/clock', '/parameter_events')
SERVED_BY_RCLPY = (
    '~/change_state',
    '~/describe_parameters',
    '~/get_available_states',
    '~/get_available_transitions',
    '~/get_parameter_types',
    '~/get_parameters',
    '~/get_state',
    '~/get_transition_graph',
    '~/get_type_description',
    '~/list_parameters',
    '~/set_parameters',
    '~/set_parameters_atomically',
)
"""What rclpy adds to every managed node."""
REQUESTS = {
    'mqtt_node': ('detector_node/enable', 'detector_node/get_state'),
    'web_node': (
        *(
            f'{node}/{service}'
            for node in OFFERED
            for service in ('describe_parameters', 'get_parameters', 'set_parameters')
        ),
        *(f'{RECOGNIZER}/{service}' for service in PEOPLE_SERVICES),
    ),
}
"""The services that nodes call; those of rules are the user's to add."""


def policy(nodes: Iterable[str], namespace: str = '/') -> str:
    """Return the policy of a set of nodes as XML.

    Each node has an enclave of its own, for processes of one node; all together have the enclave
    ``pipeline``, for a composed process, and those that act on what is seen ``actions``.

    :param nodes: default names of the nodes.
    :param namespace: the namespace of the robot.
    """
    nodes = tuple(nodes)
    root = ElementTree.Element('policy', version='0.2.0')
    enclaves = ElementTree.SubElement(root, 'enclaves')
    composed = (
        ('pipeline', tuple(node for node in nodes if node not in _ACTIONS[1:])),
        ('actions', tuple(node for node in nodes if node in _ACTIONS)),
    )
    for name, members in (*composed, *((node, (node,)) for node in nodes)):
        if not members:
            continue
        enclave = ElementTree.SubElement(enclaves, 'enclave', path=f'/face_tracking/{name}')
        profiles = ElementTree.SubElement(enclave, 'profiles')
        for node in members:
            profile = ElementTree.SubElement(profiles, 'profile', ns=namespace, node=node)
            _fill(profile, node)
    ElementTree.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!-- Written by python -m face_tracking.nodes.security_policy; do not edit. -->\n'
        f'{ElementTree.tostring(root, encoding="unicode")}\n'
    )


def _fill(profile: ElementTree.Element, node: str) -> None:
    published, subscribed = topics_of(node)
    _allow(profile, 'topics', 'topic', 'publish', [*PUBLISHED_BY_RCLPY, *_names(published)])
    _allow(profile, 'topics', 'topic', 'subscribe', [*RECEIVED_BY_RCLPY, *_names(subscribed)])
    _allow(profile, 'services', 'service', 'reply', [*SERVED_BY_RCLPY, *_names(services_of(node))])
    if node in REQUESTS:
        _allow(profile, 'services', 'service', 'request', list(REQUESTS[node]))


def _names(rows: Iterable[Topic | ServiceRow]) -> list[str]:
    return [row.name for row in rows]


def _allow(
    profile: ElementTree.Element, group: str, entry: str, right: str, names: list[str]
) -> None:
    element = ElementTree.SubElement(profile, group, {right: 'ALLOW'})
    for name in sorted(set(names)):
        ElementTree.SubElement(element, entry).text = name


def main() -> int:
    """Write a file for each launch file into the folder given as the only argument."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, nodes in LAUNCH_FILES.items():
        (folder / f'{name}.xml').write_text(policy(nodes))
    return 0


if __name__ == '__main__':
    sys.exit(main())
