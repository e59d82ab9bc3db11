# SPDX-License-Identifier: Apache-2.0
"""The cost of ROS: the pipeline composed, in separate processes, and without ROS, side by side.

    source scripts/env.sh && python benchmarks/composition.py

On a machine that has other work to do as well, put ``sudo chrt -r 5`` in front.

A camera shows images of a face that moves, 30 each second. ``bare`` reads it, detects in one
thread and tracks in another, and that is all: what it takes is detection and tracking themselves.
``composed`` is the executable ``pipeline``, ``separate`` the three nodes in a process each,
``compressed`` the same with compressed images between them, ``four cameras`` four times the
executable ``pipeline``, in namespaces of their own. They take turns, so that other work on the
machine affects all of them.

Latency goes from an image's stamp to its tracks: where the tracker has them (``track``), and
where a subscriber in another process receives them (``received``). Processor time and memory
(proportional set size, so that what processes share counts once) are those of all the mode's
processes together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import psutil
from tqdm import tqdm

RATE = 30.0
INTERVAL = 5
ROLES = {
    'bare': ('bare',),
    'composed': ('pipeline',),
    'separate': ('camera_node', 'detector_node', 'tracker_node'),
    'compressed': ('camera_node', 'detector_node', 'tracker_node'),
    'four cameras': ('pipeline',) * 4,
}
SETTLING = 2.0  # seconds after the first track, for caches and clocks to settle
PATIENCE = 120.0  # seconds for the first track; a model may have to be compiled


def main() -> int:
    """Measure, print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='a path or a name; default: the bundled one')
    parser.add_argument('--runtime', default='tvm', help='tvm, onnxruntime or opencv')
    parser.add_argument('--seconds', type=float, default=6, help='measured, each mode and round')
    parser.add_argument('--rounds', type=int, default=3, help='turns that each mode takes')
    parser.add_argument('--json', type=Path, help='write the rows here as well')
    parser.add_argument('--play', help=argparse.SUPPRESS)
    parser.add_argument('--album', help=argparse.SUPPRESS)
    parser.add_argument('--log', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--transport', default='raw', help=argparse.SUPPRESS)
    parser.add_argument('--namespace', default='', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        return play(options)
    rows = measure(options)
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + '\n')
    return 0


# The processes that are measured.


def play(options: argparse.Namespace) -> int:
    """Play one role in a process of its own; note the latencies of its tracks."""
    with options.log.open('a', buffering=1) as log:

        def note(frame, tracks):
            log.write(f'{time.time_ns()} {frame.stamp}\n')

        if options.play == 'bare':
            return run_bare(options, note)
        return run_nodes(options, note)


def run_bare(options: argparse.Namespace, note) -> int:
    """Read, detect and track without ROS."""
    from face_tracking.camera import CaptureOptions, open_camera
    from face_tracking.detector import create_detector
    from face_tracking.heap import keep_freed_memory
    from face_tracking.nodes.worker import Worker
    from face_tracking.tracking.tracker import FaceTracker

    sys.setswitchinterval(0.0005)
    keep_freed_memory()
    detector = create_detector(options.model or None, options.runtime, score_threshold=0.3)
    tracker = FaceTracker()

    def detect(frame):
        tracker.add_detections(detector.detect(frame, frame.stamp))

    def track(frame):
        note(frame, tracker.step(frame, frame.stamp))

    def fail(error):
        raise error

    detecting, tracking = Worker(detect, fail), Worker(track, fail, 4)
    with open_camera(options.album, CaptureOptions(frame_rate=RATE, loop=True)) as camera:
        for number in range(10**9):
            frame = camera.read()
            if number % INTERVAL == 0:
                detector.expect(frame)
                detecting.submit(frame)
            tracking.submit(frame)
    return 0


def run_nodes(options: argparse.Namespace, note) -> int:
    """Run the nodes of a role as their executables do, and listen where tracks are made."""
    from importlib import import_module

    from face_tracking.nodes.spin import run
    from face_tracking.nodes.tracker_node import TrackerNode

    module = import_module(f'face_tracking.nodes.{options.play}')
    rules = {
        'camera_node': {'camera': options.album, 'width': 0, 'height': 0, 'frame_rate': RATE},
        'detector_node': {
            'model': options.model,
            'runtime': options.runtime,
            'detect_interval': INTERVAL,
            'image_transport': options.transport,
        },
        'tracker_node': {'image_transport': options.transport},
    }
    wanted = rules if options.play == 'pipeline' else {options.play: rules.get(options.play, {})}
    sys.argv = ['benchmark', '--ros-args'] + [
        part
        for parameters in wanted.values()
        for name, value in parameters.items()
        if value != ''
        for part in ('-p', f'{name}:={value}')
    ]
    if options.namespace:
        sys.argv += ['-r', f'__ns:={options.namespace}']

    def build():
        nodes = module.build()
        for node in nodes:
            if isinstance(node, TrackerNode):
                node.on_tracks.append(note)
        return nodes

    return run(build)


# The process that measures.


def measure(options: argparse.Namespace) -> list[dict]:
    """Run the modes in turns; return a row for each."""
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    found: dict[str, dict[str, list]] = {mode: defaultdict(list) for mode in ROLES}
    with tempfile.TemporaryDirectory() as folder:
        album = draw_album(Path(folder) / 'album')
        turns = [mode for _ in range(options.rounds) for mode in ROLES]
        progress = tqdm(turns, unit='turn', file=sys.stderr)
        for turn, mode in enumerate(progress):
            progress.set_description(mode)
            result = take_turn(mode, options, album, Path(folder) / f'{turn}.log')
            for name, values in result.items():
                found[mode][name] += values
    shown = round(RATE * options.seconds * options.rounds)
    return [
        row(mode, values, shown * ROLES[mode].count('pipeline') or shown)
        for mode, values in found.items()
    ]


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


def take_turn(mode: str, options: argparse.Namespace, album: Path, log: Path) -> dict[str, list]:
    """Run a mode for a while; return latencies, and what it took of processor and memory."""
    with ExitStack() as stack:
        processes = [
            psutil.Process(start(role, number, mode, options, album, log, stack).pid)
            for number, role in enumerate(ROLES[mode])
        ]
        listener = stack.enter_context(Listener())
        wait_for_track(log, processes)
        if len(processes) > len(
            set(ROLES[mode])
        ):  # of several cameras, only the first is waited for
            listener.listen(SETTLING)
        listener.listen(SETTLING)
        begin, spent = time.time_ns(), sum(map(processor_seconds, processes))
        listener.listen(options.seconds)
        end = time.time_ns()
        spent = sum(map(processor_seconds, processes)) - spent
        memory = sum(process.memory_full_info().pss for process in processes) / 1e6
    track = [(at - stamp) / 1e6 for at, stamp in read_log(log) if begin <= at < end]
    received = [(at - stamp) / 1e6 for at, stamp in listener.received if begin <= at < end]
    return {
        'track': track,
        'received': received,
        'processor': [1e3 * spent / max(len(track), 1)],
        'memory': [memory],
    }


def start(
    role: str,
    number: int,
    mode: str,
    options: argparse.Namespace,
    album: Path,
    log: Path,
    stack: ExitStack,
):
    """Start the process of a role; it is ended with the stack."""
    process = subprocess.Popen(
        [
            sys.executable,
            __file__,
            '--play',
            role,
            '--transport',
            'compressed' if mode == 'compressed' else 'raw',
            '--namespace',
            f'/camera{number}' if mode == 'four cameras' else '',
            '--album',
            str(album),
            '--log',
            str(log),
            '--model',
            options.model,
            '--runtime',
            options.runtime,
        ],
        stdout=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def wait_for_track(log: Path, processes: list[psutil.Process]) -> None:
    """Wait until the tracker has begun."""
    until = time.monotonic() + PATIENCE
    while not (log.exists() and log.stat().st_size):
        dead = [process for process in processes if process.status() == psutil.STATUS_ZOMBIE]
        if dead or time.monotonic() > until:
            raise SystemExit('a process of the benchmark did not come up: its message is above')
        time.sleep(0.05)


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process took so far."""
    times = process.cpu_times()
    return times.user + times.system


def read_log(log: Path) -> list[tuple[int, int]]:
    """Return when each track was made and its image's stamp; a line half written is left out."""
    lines = log.read_text().split('\n')[:-1]
    return [tuple(map(int, line.split())) for line in lines]


class Listener:
    """Receives the tracks, as any other node of a robot would.

    :ivar received: when tracks were received, and their image's stamp, in nanoseconds.
    """

    def __enter__(self):
        import rclpy
        from vision_msgs.msg import Detection2DArray

        from face_tracking.nodes.image_messages import from_time

        self.received: list[tuple[int, int]] = []
        rclpy.init()
        self._node = rclpy.create_node('listener')
        self._node.create_subscription(
            Detection2DArray,
            'faces/tracks',
            lambda message: self.received.append(
                (time.time_ns(), from_time(message.header.stamp))
            ),
            10,
        )
        return self

    def listen(self, seconds: float) -> None:
        """Listen for a while."""
        import rclpy

        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left)

    def __exit__(self, *_):
        import rclpy

        self._node.destroy_node()
        rclpy.shutdown()


# What comes out.


def row(mode: str, values: dict[str, list], shown: int) -> dict:
    """Return the figures of a mode to which ``shown`` images were shown."""
    figures = {'mode': mode, 'shown': shown, 'tracked': len(values['track'])}
    figures['received'] = len(values['received'])
    for name in ('track', 'received'):
        times = values[name] or [float('nan')]
        figures[f'{name}_median_ms'] = round(float(np.median(times)), 2)
        figures[f'{name}_p99_ms'] = round(float(np.percentile(times, 99)), 2)
    figures['processor_ms_per_frame'] = round(float(np.median(values['processor'])), 2)
    figures['memory_mb'] = round(float(np.median(values['memory'])), 1)
    return figures


def print_table(rows: list[dict]) -> None:
    """Print the rows, and what composing adds and saves."""
    print(
        '| mode | tracked of shown | capture to track, median (p99) ms | to another process, '
        'median (p99) ms | processor ms per frame | memory MB |'
    )
    print('| --- | ---: | ---: | ---: | ---: | ---: |')
    for figures in rows:
        track, received = (
            f'{figures[f"{name}_median_ms"]:.2f} ({figures[f"{name}_p99_ms"]:.2f})'
            for name in ('track', 'received')
        )
        print(
            f'| {figures["mode"]} | {figures["tracked"]} of {figures["shown"]} | {track} | '
            f'{received if figures["received"] else "-"} | '
            f'{figures["processor_ms_per_frame"]:.2f} | {figures["memory_mb"]:.0f} |'
        )
    bare, composed, separate = rows[:3]
    print(
        f'\nBeyond detection and tracking themselves, the median latency to the track grows by '
        f'{composed["track_median_ms"] - bare["track_median_ms"]:.2f} ms composed and by '
        f'{separate["track_median_ms"] - bare["track_median_ms"]:.2f} ms in separate processes; '
        f'a separate frame takes '
        f'{separate["processor_ms_per_frame"] / composed["processor_ms_per_frame"]:.2f} times '
        f'the processor time of a composed one, and '
        f'{separate["memory_mb"] / composed["memory_mb"]:.2f} times the memory.'
    )


if __name__ == '__main__':
    sys.exit(main())
