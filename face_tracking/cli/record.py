# SPDX-License-Identifier: Apache-2.0
"""Record tracks, names and events as MCAP bags, until Ctrl-C.

Listens to the nodes that run, in this or another process. The bags rotate by size and age, the
oldest are removed, and space is left on the disk; "face_tracking play" publishes them again, and
so do "ros2 bag play" and Foxglove.

Exit code 1: nothing was received.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from face_tracking.cli import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        'folder', type=Path, help='folder for the bags; what it holds already is kept'
    )
    parser.add_argument('--images', action='store_true', help='record compressed images, too')
    parser.add_argument(
        '--image-topic',
        default='camera/image_raw/compressed',
        metavar='TOPIC',
        help='compressed images to record; faces/anonymized/compressed hides faces '
        '(default: %(default)s)',
    )
    parser.add_argument('--namespace', default='', help='namespace of the robot')
    for name, default, text in (
        ('bag-mb', 100, 'megabytes after which a new bag begins'),
        ('bag-minutes', 10, 'minutes after which a new bag begins'),
        ('total-mb', 2000, 'megabytes of all bags; the oldest are removed'),
        ('minimum-free-mb', 1000, 'megabytes that stay free on the disk'),
    ):
        parser.add_argument(
            f'--{name}',
            type=arguments.positive,
            default=default,
            metavar='N',
            help=f'{text} (default: %(default)s)',
        )


def run(args: argparse.Namespace) -> int:
    """Run a recorder node until it is stopped."""
    from rclpy.parameter import Parameter

    from face_tracking.nodes.node_base import FaceNode
    from face_tracking.nodes.recorder_node import RecorderNode
    from face_tracking.nodes.spin import run as run_nodes

    values = {
        'record_folder': str(args.folder.absolute()),
        'record_images': args.images,
        'image_topic': args.image_topic,
        'bag_mb': args.bag_mb,
        'bag_minutes': float(args.bag_minutes),
        'total_mb': args.total_mb,
        'minimum_free_mb': args.minimum_free_mb,
    }
    nodes: list[RecorderNode] = []

    def build() -> list[FaceNode[Any]]:
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(RecorderNode(parameter_overrides=overrides, namespace=args.namespace or None))
        return [*nodes]

    print(f'recording to {args.folder}; Ctrl-C ends it', file=sys.stderr)
    code = run_nodes(build)
    written = nodes[0].written if nodes else 0
    print(f'{written} messages in {args.folder}')
    return code or (0 if written else 1)
