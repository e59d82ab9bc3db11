# SPDX-License-Identifier: Apache-2.0
"""Draw nodes and topics of each launch file from the running graph: docs/graphs.md.

    python dev/graphs.py            writes the page
    python dev/graphs.py --check    exits with 1 if it is not up to date

Starts the processes that a launch file plans, each node in a process of its own, over a virtual
camera, and asks the ROS graph who publishes and who subscribes. What other packages start
(robot_state_publisher, RViz, camera_ros) is not drawn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import rclpy

from face_tracking.bringup.arguments import Chosen
from face_tracking.bringup.launch_files import LAUNCH_FILES
from face_tracking.bringup.processes import PACKAGE, Process
from face_tracking.child_process import end_processes

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'graphs.md'
WITHOUT_HARDWARE = {'output': 'simulated', 'description': 'none'}
DRAWN: dict[str, tuple[dict[str, str], ...]] = {
    'pi5': ({},),
    'camera_ros': ({},),
    'pan_tilt': (WITHOUT_HARDWARE,),
    'offboard': ({'side': 'robot', **WITHOUT_HARDWARE}, {'side': 'pc'}),
}
"""Launch files that start nodes of this package, with arguments that need no hardware, once for
each machine."""
PATIENCE = 60.0  # seconds until all nodes are in the graph
SETTLED = 3.0  # seconds without a change of the graph
IGNORED = ('/rosout', '/parameter_events')
Edges = dict[str, tuple[set[str], set[str]]]

INTRODUCTION = """<!-- Written by dev/graphs.py; do not edit. -->

# Nodes and topics

Drawn from the running graph of each launch file, every node in its own process. In one process
(`composed:=true`, the default) the same nodes hand images, detections and tracks over by
reference, and only the topics that other processes subscribe to are sent. `/diagnostics` and the
topics of the lifecycle are left out. `simulation.launch.py` is `pan_tilt.launch.py` with a
virtual camera.
"""


def command(process: Process) -> list[str]:
    """Return the command line of a planned process."""
    words = [shutil.which(process.executable) or process.executable, *process.arguments]
    words += ['--ros-args']
    if process.namespace:
        words += ['-r', f'__ns:=/{process.namespace}']
    for path in process.files:
        words += ['--params-file', str(path)]
    for name, value in process.parameters.items():
        words += ['-p', f'{name}:={str(value).lower() if isinstance(value, bool) else value}']
    for source, target in process.remappings:
        words += ['-r', f'{source}:={target}']
    return words


def planned(name: str, given: dict[str, str]) -> list[Process]:
    """Return this package's processes of a launch file."""
    file = LAUNCH_FILES[name]
    values = {row.name: row.default for row in file.arguments}
    values |= {'composed': 'no', 'camera': 'virtual', **given}
    chosen = Chosen(file.arguments, values)
    return [process for process in file.plan(chosen) if process.package == PACKAGE]


def graph(processes: Sequence[Process]) -> Edges:
    """Start processes and return, by topic, the names of publishers and of subscribers."""
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(102 + os.getpid() % 100)}
    environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    started = [
        subprocess.Popen(command(process), env=environment, stderr=subprocess.DEVNULL)
        for process in processes
    ]
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(environment['ROS_DOMAIN_ID']))
    node = rclpy.create_node('graph_reader', context=context)
    try:
        wanted = {label(process.namespace, process.executable) for process in processes}
        return _settled(node, wanted)
    finally:
        end_processes(*started, timeout=20)
        node.destroy_node()
        rclpy.shutdown(context=context)


def _settled(node: rclpy.node.Node, names: set[str]) -> Edges:
    end, since, seen = time.monotonic() + PATIENCE, time.monotonic(), {}
    while time.monotonic() < end:
        time.sleep(0.2)
        now = _edges(node)
        if now != seen:
            seen, since = now, time.monotonic()
        present = {label(*reversed(each)) for each in node.get_node_names_and_namespaces()}
        if names <= present and time.monotonic() - since > SETTLED:
            return seen
    raise SystemExit(f'not all of {sorted(names)} came up within {PATIENCE:.0f} s')


def label(namespace: str, name: str) -> str:
    """Return the name of a node with its namespace, without a slash in front."""
    return f'{namespace.strip("/")}/{name}'.strip('/')


def _edges(node: rclpy.node.Node) -> Edges:
    found: Edges = {}
    for topic, _ in node.get_topic_names_and_types():
        if topic in IGNORED or topic.endswith(('/transition_event', '/diagnostics')):
            continue
        publishers, subscribers = (
            {label(info.node_namespace, info.node_name) for info in infos}
            for infos in (
                node.get_publishers_info_by_topic(topic),
                node.get_subscriptions_info_by_topic(topic),
            )
        )
        found[topic] = (publishers, subscribers)
    return found


def drawing(edges: Edges) -> str:
    """Return a graph as a Mermaid diagram: boxes are nodes, rounded boxes topics."""
    lines = ['```mermaid', 'flowchart LR']
    names = sorted({name for ends in edges.values() for side in ends for name in side})
    keys = {name: name.replace('/', '_') for name in names}
    lines += [f'  {keys[name]}[{name}]' for name in names]
    for number, (topic, (publishers, subscribers)) in enumerate(sorted(edges.items())):
        key = f't{number}'
        lines.append(f'  {key}([{topic}])')
        lines += [f'  {keys[name]} --> {key}' for name in sorted(publishers)]
        lines += [f'  {key} --> {keys[name]}' for name in sorted(subscribers)]
    return '\n'.join([*lines, '```', ''])


def page() -> str:
    """Return the page."""
    text = INTRODUCTION
    for name, machines in DRAWN.items():
        title = LAUNCH_FILES[name].purpose
        processes = [process for given in machines for process in planned(name, given)]
        text += f'\n## `{name}.launch.py`\n\n{title}.\n\n{drawing(graph(processes))}'
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--check', action='store_true', help='write nothing; 1 if it differs')
    args = parser.parse_args(argv)
    text = page()
    if PAGE.is_file() and PAGE.read_text(encoding='utf-8') == text:
        return 0
    if args.check:
        print('docs/graphs.md is out of date: run python dev/graphs.py')
        return 1
    PAGE.write_text(text, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
