# SPDX-License-Identifier: Apache-2.0
"""What the nodes that act on what is seen cost: the pipeline without them, and with all of them.

    source scripts/env.sh && face_tracking bench actions

A camera shows 30 images of 640x480 each second, in which a face moves. ``off`` is the executable
``pipeline`` alone, ``events`` the same with ``--events``. ``on`` adds the executable ``actions``
with speech, page, RTSP, MQTT and anonymizer, without viewers, as the launch files do. ``watched``
is the same with one viewer of the live view. The modes take turns. Processor time is that of all
processes of a mode, the broker left out, for each image that was tracked: a busy machine tracks
fewer.
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
from pathlib import Path

import cv2
import numpy as np
import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray

RATE = 30.0
MODES = ('off', 'events', 'on', 'watched')
PARTS = ('speech', 'web', 'rtsp', 'mqtt', 'anonymizer')
SETTLING = 3.0  # seconds after the start of all processes
PATIENCE = 120.0  # seconds for a process to be ready; a model may have to be compiled
START = 'import sys; from face_tracking.nodes.{} import main; sys.exit(main())'


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='a path or a name; default: the bundled one')
    parser.add_argument('--seconds', type=float, default=8, help='measured, each mode and round')
    parser.add_argument('--rounds', type=int, default=3, help='turns that each mode takes')
    parser.add_argument('--detect-interval', type=int, default=0, help='0 = as the node does')
    parser.add_argument('--json', type=Path, help='write the rows here as well')
    options = parser.parse_args()
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    rclpy.init()
    counter = ImageCounter()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        album = draw_album(Path(folder) / 'album')
        broker = start_broker(Path(folder), stack)
        for _ in range(options.rounds):
            for mode in MODES:
                found[mode].append(take_turn(mode, options, album, broker, counter))
    rows = [row(mode, found) for mode in MODES]
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + '\n')
    return 0


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


class ImageCounter:
    """Reads in the tracker's diagnostics how many images it has tracked."""

    def __init__(self):
        self._node = rclpy.create_node('image_counter')
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._read, 10)
        self._images: dict[str, int] = {}

    def next(self) -> int:
        """Return the number with the next report, which comes once a second."""
        self._images.clear()
        until = time.monotonic() + PATIENCE
        while 'tracker_node' not in self._images and time.monotonic() < until:
            rclpy.spin_once(self._node, timeout_sec=0.1)
        return self._images['tracker_node']

    def _read(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if 'images' in values:
                self._images[status.name] = int(values['images'])


def take_turn(
    mode: str, options: argparse.Namespace, album: Path, broker: int, counter: ImageCounter
) -> dict[str, float]:
    """Run a mode for a while; return milliseconds of processor for each image, and memory."""
    with ExitStack() as stack:
        camera = {'camera': album, 'width': 0, 'height': 0, 'frame_rate': RATE}
        if options.model:
            camera['model'] = options.model
        if options.detect_interval:
            camera['detect_interval'] = options.detect_interval
        events = () if mode == 'off' else ('--events',)
        processes = {'pipeline': start('pipeline', events, camera, stack)}
        port = free_port()
        if mode in ('on', 'watched'):
            processes['actions'] = start(
                'actions',
                PARTS,
                {
                    'web_port': port,
                    'rtsp_port': free_port(),
                    'mqtt_host': '127.0.0.1',
                    'mqtt_port': broker,
                    'engine': 'topic',
                },
                stack,
            )
        wait_until_ready(stack.enter_context(log('pipeline')), 'loaded')
        if mode in ('on', 'watched'):
            wait_until_ready(stack.enter_context(log('actions')), 'http://')
        if mode == 'watched':
            stop = threading.Event()
            stack.callback(stop.set)
            threading.Thread(target=watch, args=(port, stop), daemon=True).start()
        time.sleep(SETTLING)
        images = -counter.next()
        before = {name: processor_seconds(process) for name, process in processes.items()}
        time.sleep(options.seconds)
        images += counter.next()
        result = {'actions': 0.0, 'rate': images / options.seconds}
        for name, process in processes.items():
            result[name] = 1e3 * (processor_seconds(process) - before[name]) / max(images, 1)
        result['memory'] = sum(p.memory_full_info().pss for p in processes.values()) / 1e6
        return result


def log(executable: str, mode: str = 'r'):
    """Open the log of an executable."""
    return (Path(tempfile.gettempdir()) / f'actions_cost_{os.getpid()}_{executable}.log').open(
        mode
    )


def wait_until_ready(lines, word: str) -> None:
    """Wait until a process has logged a line with a word."""
    until, said = time.monotonic() + PATIENCE, ''
    while word not in said:
        if time.monotonic() > until:
            raise SystemExit(f'a process of the benchmark did not come up: {said[-500:]}')
        time.sleep(0.1)
        said += lines.read()


def start(executable: str, words: tuple[str, ...], parameters: dict, stack: ExitStack):
    """Start an executable; it is ended with the stack."""
    command = [sys.executable, '-c', START.format(executable), *words, '--ros-args']
    for name, value in parameters.items():
        command += ['-p', f'{name}:={value}']
    output = stack.enter_context(log(executable, 'w'))
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return psutil.Process(process.pid)


def watch(port: int, stop: threading.Event) -> None:
    """Read the page's live view until told to stop."""
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


def row(mode: str, found: dict[str, list[dict[str, float]]]) -> dict:
    """Return the medians of a mode."""
    medians = {
        name: statistics.median(turn[name] for turn in found[mode])
        for name in ('pipeline', 'actions', 'memory', 'rate')
    }
    off = statistics.median(turn['pipeline'] for turn in found['off'])
    # Turns are compared with the turn beside them, so that other work strikes both alike.
    ratios = [
        (turn['pipeline'] + turn['actions']) / beside['pipeline']
        for turn, beside in zip(found[mode], found['off'], strict=True)
    ]
    return {'mode': mode, **medians, 'off': off, 'ratio': statistics.median(ratios)}


def print_table(rows: list[dict]) -> None:
    """Print the medians."""
    print(f'{"":<9} {"pipeline":>11} {"actions":>11} {"together":>10} {"memory":>10} {"rate":>8}')
    for each in rows:
        print(
            f'{each["mode"]:<9} {each["pipeline"]:>8.2f} ms {each["actions"]:>8.2f} ms '
            f'{100 * (each["ratio"] - 1):>+8.1f} % {each["memory"]:>7.0f} MB '
            f'{each["rate"]:>5.1f} Hz'
        )
    print('processor time for each image that was tracked; together: beside the pipeline alone')


if __name__ == '__main__':
    sys.exit(main())
