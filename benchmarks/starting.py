#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From a process's start to its first detection, and the memory it has taken by then.

    source scripts/env.sh && python -m benchmarks.starting        # or face_tracking bench start

``bare`` loads the bundled detector and detects in one image. ``node`` is the executable
``detector_node``, measured until another process receives its first detection; it
receives images of 640x480 all the time. The compiled network is in the cache by then. ``cold`` is
``bare`` with an empty cache: the network is compiled first. They take turns; median and slowest
are printed: they differ by how soon the middleware introduces two processes.
Memory is what is resident: all of it (``resident``), and with each page that other processes use
as well counted by its share (``proportional``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil

from face_tracking.child_process import end_processes
from face_tracking.cli import arguments
from face_tracking.cli.output import progress, write_text

PATIENCE = 120.0  # seconds: a model may have to be compiled
BARE = """
import sys
from skimage import data
from face_tracking.detector import create_detector
image = data.astronaut()[:480, :, ::-1].copy()
found = create_detector(sys.argv[1] or None).detect(image)
print(len(found), flush=True)
sys.stdin.read()
"""
NODE = 'from face_tracking.nodes.detector_node import main; main()'


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='the detector (default: the bundled one)')
    parser.add_argument(
        '--rounds',
        type=arguments.positive,
        default=5,
        metavar='N',
        help='turns that each takes (default: %(default)s)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    args = parser.parse_args()
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    modes: dict[str, Callable[[str], dict]] = {'bare': start_bare, 'cold': start_cold}
    try:
        modes['node'] = Robot().start_node
    except ImportError as error:
        print(f'starting.py: no ROS 2 here ({error}): only the bare detector', file=sys.stderr)
    for start in modes.values():
        start(args.model)
    found = {mode: [] for mode in modes}
    for _ in progress(range(args.rounds), unit='round'):
        for mode, start in modes.items():
            found[mode].append(start(args.model))
    rows = [
        {
            'mode': mode,
            **{key: median(turn[key] for turn in turns) for key in turns[0]},
            'slowest_seconds': max(turn['seconds'] for turn in turns),
        }
        for mode, turns in found.items()
    ]
    print(f'{"":<6}{"first detection":>17}{"slowest":>12}{"resident":>12}{"proportional":>15}')
    for row in rows:
        print(
            f'{row["mode"]:<6}{row["seconds"]:>15.2f} s{row["slowest_seconds"]:>10.2f} s'
            f'{row["resident_mb"]:>9.0f} MB'
            f'{row["proportional_mb"]:>12.0f} MB'
        )
    if args.json:
        write_text(args.json, json.dumps(rows, indent=1) + '\n')
    return 0


def start_cold(model: str) -> dict:
    """Detect once without ROS and without a compiled network."""
    with tempfile.TemporaryDirectory() as folder:
        return start_bare(model, {**os.environ, 'FACE_TRACKING_CACHE': folder})


def start_bare(model: str, environment: dict[str, str] | None = None) -> dict:
    """Detect once without ROS."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, '-c', BARE, model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if environment else None,  # the compiler's progress
        text=True,
        env=environment,
    )
    with process:
        if not process.stdout.readline():
            raise SystemExit('the detector did not come up: its message is above')
        row = figures(process.pid, started)
        process.stdin.close()
    return row


class Robot:
    """A camera that shows one image 30 times a second, and ears for detections."""

    def __init__(self):
        import rclpy
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import Image
        from skimage import data
        from vision_msgs.msg import Detection2DArray

        from face_tracking.nodes.image_messages import to_header, to_image
        from face_tracking.nodes.middleware import configure_shared_memory

        configure_shared_memory()
        rclpy.init()
        self._spin = rclpy.spin_once
        self._node = rclpy.create_node('robot')
        self._received = False
        self._node.create_subscription(Detection2DArray, 'faces/detections', self._hear, 10)
        self._camera = self._node.create_publisher(
            Image, 'camera/image_raw', qos_profile_sensor_data
        )
        image = data.astronaut()[:480, :, ::-1].copy()
        self._image = to_image(image, to_header(time.time_ns(), 'camera_optical_frame'))
        self._node.create_timer(1 / 30, lambda: self._camera.publish(self._image))

    def _hear(self, _) -> None:
        self._received = True

    def start_node(self, model: str) -> dict:
        """Start the detector node and wait for its first detection."""
        command = [sys.executable, '-c', NODE, '--ros-args', '--log-level', 'warn']
        if model:
            command += ['-p', f'model:={model}']
        started = time.perf_counter()
        process = subprocess.Popen(command)
        try:
            self._received = False
            while not self._received:
                self._spin(self._node, timeout_sec=0.05)
                if process.poll() is not None or time.perf_counter() > started + PATIENCE:
                    raise SystemExit('the node did not come up: its message is above')
            return figures(process.pid, started)
        finally:
            end_processes(process, timeout=30)
            # Detections under way, which are not the next node's.
            self._spin(self._node, timeout_sec=0.2)


def figures(pid: int, started: float) -> dict:
    """Return what a process that has just detected took of time and memory."""
    seconds = time.perf_counter() - started
    memory = psutil.Process(pid).memory_full_info()
    return {
        'seconds': seconds,
        'resident_mb': memory.rss / 1e6,
        'proportional_mb': memory.pss / 1e6,
    }


if __name__ == '__main__':
    sys.exit(main())
