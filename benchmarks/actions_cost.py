# SPDX-License-Identifier: Apache-2.0
"""The cost of recognition and of the nodes that act on events, beside the pipeline alone.

    source scripts/env.sh && face_tracking bench actions

A camera shows 30 images of 640x480 each second, in which a face moves. ``off`` is the executable
``pipeline`` alone, ``names`` the same with ``--recognize`` and the face's owner enrolled,
``events`` with ``--events`` instead. ``on`` adds the executable ``actions`` with speech, page,
RTSP, MQTT and anonymizer to ``events``, without viewers, as the launch files do. ``watched`` is
the same with one viewer of the live view.

All modes run at the same time, each in a ROS domain of its own, so that other work on the machine
strikes all of them alike; they need about one core together. Processor time is that of all
processes of a mode, the broker left out, for each image that was tracked.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

RATE = 30.0
MODES = ('off', 'names', 'events', 'on', 'watched')
WORDS = {'off': (), 'names': ('--recognize',)}
"""What the pipeline is started with; ``--events`` in the other modes."""
PARTS = ('speech', 'web', 'rtsp', 'mqtt', 'anonymizer')
SETTLING = 3.0  # seconds after the start of all processes
DATA = 'data'  # folder of the gallery
PATIENCE = 120.0  # seconds for a process to be ready; a model may have to be compiled
COMMAND = 'import sys; from face_tracking.cli.main import main; sys.exit(main())'
START = 'import sys; from face_tracking.nodes.{} import main; sys.exit(main())'


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='a path or a name; default: the bundled one')
    parser.add_argument(
        '--only',
        metavar='MODES',
        type=modes_of,
        default=MODES,
        help='modes to measure beside "off", with commas between (default: all)',
    )
    parser.add_argument('--seconds', type=float, default=10, help='measured, each round')
    parser.add_argument('--rounds', type=int, default=4, help='stretches of time measured')
    parser.add_argument(
        '--detect-interval',
        type=int,
        default=2,
        help='images from one detection to the next (default: %(default)s, as that of the node); '
        '0 = as many as the processor allows, which differs from mode to mode',
    )
    parser.add_argument('--json', type=Path, help='write the rows here as well')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        album = draw_album(folder / 'album')
        if 'names' in options.only:
            enroll(next(album.iterdir()), folder / DATA)
        broker = start_broker(folder, stack)
        robots = [Robot(mode, options, folder, album, broker, stack) for mode in options.only]
        for robot in robots:
            robot.wait_until_ready()
        time.sleep(SETTLING)
        found = [measure(robots, options.seconds) for _ in range(options.rounds)]
    rows = [row(mode, found) for mode in options.only]
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + '\n')
    return 0


def modes_of(text: str) -> tuple[str, ...]:
    """Return the modes that are named in an argument, and "off", in the usual order."""
    named = {'off', *text.split(',')}
    if unknown := named - set(MODES):
        raise argparse.ArgumentTypeError(
            f'there is no mode {", ".join(sorted(unknown))}: choose among {", ".join(MODES)}'
        )
    return tuple(mode for mode in MODES if mode in named)


def draw_album(folder: Path) -> Path:
    """Write two seconds of images, 640x480, in which a portrait moves to and fro."""
    from skimage import data

    folder.mkdir()
    portrait = np.ascontiguousarray(data.astronaut()[:480, :, ::-1])
    count = int(2 * RATE)
    for number in range(count):
        photo = np.full((480, 640, 3), 70, np.uint8)
        x = round(64 + 50 * np.sin(2 * np.pi * number / count))
        photo[:, x : x + 512] = portrait
        cv2.imwrite(str(folder / f'{number:03}.jpg'), photo)
    return folder


def enroll(image: Path, data: Path) -> None:
    """Enroll the face of an image in the gallery that the pipeline opens."""
    command = [sys.executable, '-c', COMMAND, 'people', 'enroll', 'Eileen', str(image)]
    environment = {**os.environ, 'FACE_TRACKING_DATA': str(data)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def start_broker(folder: Path, stack: ExitStack) -> int:
    """Return the port of a broker; of nothing where mosquitto is not installed."""
    port = free_port()
    program = shutil.which('mosquitto', path=f'{os.environ["PATH"]}:/usr/sbin')
    if program is None:
        print('mosquitto is not installed: MQTT is measured without a broker', file=sys.stderr)
        return port
    path = folder / 'mosquitto.conf'
    path.write_text(f'listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n')
    process = subprocess.Popen([program, '-c', str(path)], stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return port


@dataclass
class Sample:
    """What one mode has used and done until some moment.

    :ivar images: tracked so far.
    :ivar seconds: of processor time so far, by executable.
    """

    images: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class Robot:
    """The processes of a mode, in a ROS domain of their own.

    :ivar latest: taken when the tracker last reported, which it does once a second.
    """

    def __init__(
        self,
        mode: str,
        options: argparse.Namespace,
        folder: Path,
        album: Path,
        broker: int,
        stack: ExitStack,
    ):
        self.latest = Sample()
        self._folder, self._stack, self.mode = folder, stack, mode
        self._domain = 1 + (os.getpid() + MODES.index(mode)) % 100
        camera = {'camera': album, 'width': 0, 'height': 0, 'frame_rate': RATE}
        camera['detect_interval'] = options.detect_interval
        if options.model:
            camera['model'] = options.model
        words = WORDS.get(mode, ('--events',))
        self.processes = {'pipeline': self._start('pipeline', words, camera)}
        self._port = free_port()
        if mode in ('on', 'watched'):
            parameters = {
                'web_port': self._port,
                'rtsp_port': free_port(),
                'mqtt_host': '127.0.0.1',
                'mqtt_port': broker,
                'robot_name': mode,
                'engine': 'topic',
            }
            self.processes['actions'] = self._start('actions', PARTS, parameters)
        self._observe()

    def wait_until_ready(self) -> None:
        """Wait until the detector is loaded, the page is served and, if wanted, watched."""
        self._wait_for('pipeline', 'loaded')
        if 'actions' in self.processes:
            self._wait_for('actions', 'http://')
        if self.mode == 'watched':
            stop = threading.Event()
            self._stack.callback(stop.set)
            threading.Thread(target=watch, args=(self._port, stop), daemon=True).start()

    def memory(self) -> float:
        """Return the memory of all processes in MB, shared pages divided among their users."""
        return sum(p.memory_full_info().pss for p in self.processes.values()) / 1e6

    def _observe(self) -> None:
        """Record a sample with each report of the tracker."""
        context = Context()
        context.init(domain_id=self._domain)
        self._stack.callback(context.try_shutdown)
        node = Node(f'image_counter_of_{self.mode}', context=context)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._read, 10)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        threading.Thread(target=spin, args=(executor,), daemon=True).start()

    def _read(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if status.name == 'tracker_node' and 'images' in values:
                used = {name: processor_seconds(p) for name, p in self.processes.items()}
                self.latest = Sample(int(values['images']), used)

    def _start(self, executable: str, words: tuple[str, ...], parameters: dict) -> psutil.Process:
        """Start an executable; it is ended with the stack."""
        command = [sys.executable, '-c', START.format(executable), *words, '--ros-args']
        for name, value in parameters.items():
            command += ['-p', f'{name}:={value}']
        environment = {
            **os.environ,
            'ROS_DOMAIN_ID': str(self._domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'FACE_TRACKING_DATA': str(self._folder / DATA),
        }
        with self._log(executable).open('w') as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        return psutil.Process(process.pid)

    def _log(self, executable: str) -> Path:
        return self._folder / f'{self.mode}_{executable}.log'

    def _wait_for(self, executable: str, word: str) -> None:
        """Wait until a process has logged a word."""
        until = time.monotonic() + PATIENCE
        while word not in (said := self._log(executable).read_text()):
            if time.monotonic() > until:
                raise SystemExit(f'a process of the benchmark did not come up: {said[-500:]}')
            time.sleep(0.1)


def measure(robots: list[Robot], seconds: float) -> dict[str, dict[str, float]]:
    """Return, by mode, milliseconds of processor for each image, and memory."""
    before = [robot.latest for robot in robots]
    began = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    found = {}
    for robot, earlier in zip(robots, before, strict=True):
        images = robot.latest.images - earlier.images
        found[robot.mode] = {'actions': 0.0, 'rate': images / elapsed, 'memory': robot.memory()}
        for name, used in robot.latest.seconds.items():
            found[robot.mode][name] = 1e3 * (used - earlier.seconds[name]) / max(images, 1)
    return found


def spin(executor: SingleThreadedExecutor) -> None:
    """Spin until the context is shut down."""
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()


def watch(port: int, stop: threading.Event) -> None:
    """Read the page's live view until it is stopped."""
    address = f'http://127.0.0.1:{port}/stream.mjpeg'
    with (
        contextlib.suppress(OSError, http.client.HTTPException),  # the server has ended
        urllib.request.urlopen(address, timeout=10) as stream,
    ):
        while not stop.is_set():
            stream.read(65536)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process took so far."""
    times = process.cpu_times()
    return times.user + times.system


def row(mode: str, found: list[dict[str, dict[str, float]]]) -> dict:
    """Return the medians of a mode."""
    medians = {
        name: statistics.median(turn[mode][name] for turn in found)
        for name in ('pipeline', 'actions', 'memory', 'rate')
    }
    ratios = {
        'pipeline_ratio': [turn[mode]['pipeline'] / turn['off']['pipeline'] for turn in found],
        'ratio': [
            (turn[mode]['pipeline'] + turn[mode]['actions']) / turn['off']['pipeline']
            for turn in found
        ],
    }
    return {
        'mode': mode,
        **medians,
        **{name: statistics.median(values) for name, values in ratios.items()},
    }


def print_table(rows: list[dict]) -> None:
    """Print the medians."""
    print(
        f'{"":<9} {"pipeline":>11} {"":>9} {"actions":>11} {"together":>10} {"memory":>10} '
        f'{"rate":>8}'
    )
    for each in rows:
        print(
            f'{each["mode"]:<9} {each["pipeline"]:>8.2f} ms '
            f'{100 * (each["pipeline_ratio"] - 1):>+7.1f} % {each["actions"]:>8.2f} ms '
            f'{100 * (each["ratio"] - 1):>+8.1f} % {each["memory"]:>7.0f} MB '
            f'{each["rate"]:>5.1f} Hz'
        )
    print('processor time for each image that was tracked, beside the pipeline alone (off)')


if __name__ == '__main__':
    sys.exit(main())
