# SPDX-License-Identifier: Apache-2.0
"""Watch the whole pipeline at work.

Starts camera, detector and tracker as ROS 2 nodes in a process of their own, on a synthetic scene
with two portraits that are free to use, and subscribes to what they publish, as your own program
would. Leaves in the output folder:

  annotated.mp4   what the nodes saw, with boxes, ids, scores and trails
  tracks.json     the faces in every image
  still.png       one image of the video
  page.png        the robot's page, where Chromium and aiohttp are installed

With --camera it takes your own camera or video instead. The first time, the detector is compiled
for this machine.

Exit code 1: no face was tracked.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import yaml

from face_tracking.child_process import end_processes, start_child
from face_tracking.cli import arguments
from face_tracking.errors import UserError

if TYPE_CHECKING:
    # It needs ROS 2, which the help does without.
    from face_tracking.cli.topic_recorder import TopicRecorder

PATIENCE = 300.0
"""Seconds for the nodes to come up; compiling on a slow board is most of it."""
SILENCE = 15.0
"""Seconds without a message after which the nodes count as stuck."""
PIPELINE = 'import sys; from face_tracking.nodes.pipeline import main; sys.exit(main())'
"""The executable ``pipeline``, wherever it is installed."""
STAGES = {
    'detector_node': ('preprocess', 'inference', 'decode'),
    'tracker_node': ('motion', 'association', 'publish', 'latency'),
}
"""The figures of each node's diagnostics that the summary shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('demo_out'),
        metavar='FOLDER',
        help='where to leave video, tracks and still (default: %(default)s)',
    )
    parser.add_argument(
        '--camera',
        default='virtual:',
        metavar='URI',
        help='your own camera, video or scene instead',
    )
    parser.add_argument(
        '--seconds',
        type=arguments.positive,
        default=8,
        metavar='N',
        help='how long to watch (default: %(default)s)',
    )
    parser.add_argument(
        '--rate',
        type=float,
        default=30.0,
        metavar='HZ',
        help='images per second (default: %(default)s)',
    )
    arguments.add_detect_interval(parser)
    parser.add_argument('--model', default='', metavar='FILE|NAME', help='the detector')
    parser.add_argument(
        '--runtime', default='tvm', metavar='NAME', help='its engine (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Run the nodes, record their topics, write the files and print a summary."""
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    try:
        import rclpy

        from face_tracking.cli.topic_recorder import TopicRecorder
    except ImportError as error:
        raise UserError(
            f'ROS 2 is not available ({error})',
            'source scripts/env.sh or your ROS distribution first',
        ) from error
    namespace = f'demo_{os.getpid()}'
    rclpy.init()
    try:
        watcher = TopicRecorder(namespace)
        with _nodes(namespace, args) as process:
            _watch(watcher, process, args)
            _capture_page(namespace, args)
        watcher.destroy_node()
    finally:
        rclpy.try_shutdown()
    _write(watcher, args)
    _log_once(watcher)
    return 0 if watcher.ids else 1


def _capture_page(namespace: str, args: argparse.Namespace) -> None:
    """Leave a screenshot of the page, where a browser and a web server are installed."""
    from face_tracking.cli.page_screenshot import take_screenshot

    args.output.mkdir(parents=True, exist_ok=True)
    try:
        take_screenshot(namespace, args.output / 'page.png', sandbox=os.geteuid() != 0)
    except UserError as error:
        print(f'no page.png: {error}', file=sys.stderr)


@contextmanager
def _nodes(namespace: str, args: argparse.Namespace) -> Iterator[subprocess.Popen[bytes]]:
    """Run the executable ``pipeline`` until the block ends."""
    parameters = {
        'camera_node': {'camera': args.camera, 'frame_rate': args.rate, 'loop': True},
        'detector_node': {
            'model': args.model,
            'runtime': args.runtime,
            'detect_interval': args.detect_interval,
        },
        'tracker_node': {'jpeg_quality': 95},
    }
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / 'parameters.yaml'
        settings.write_text(
            yaml.safe_dump(
                {
                    f'/{namespace}/{node}': {'ros__parameters': values}
                    for node, values in parameters.items()
                }
            )
        )
        process = start_child(
            [
                sys.executable,
                '-c',
                PIPELINE,
                '--ros-args',
                '-r',
                f'__ns:=/{namespace}',
                '--log-level',
                'warn',
                '--params-file',
                str(settings),
            ]
        )
        try:
            yield process
        finally:
            end_processes(process, timeout=10, number=signal.SIGINT)


def _watch(
    watcher: TopicRecorder, process: subprocess.Popen[bytes], args: argparse.Namespace
) -> None:
    """Wait for the first detection, then take in as many seconds as were asked for."""
    from face_tracking.cli.output import progress

    with progress(desc='starting the nodes', bar_format='{desc} {elapsed}') as bar:
        _spin_until(watcher, process, lambda: watcher.detector_ready, PATIENCE, bar.refresh)
    watcher.recording = True
    with progress(desc='watching', unit='frame') as bar:
        _spin_until(
            watcher,
            process,
            lambda: _seconds(watcher) >= args.seconds,
            args.seconds + SILENCE,
            lambda: bar.update(len(watcher.tracks) - bar.n),
        )


def _seconds(watcher: TopicRecorder) -> float:
    """Return how much time the tracks taken in cover, by their stamps."""
    if not watcher.tracks:
        return 0.0
    return (watcher.tracks[-1]['stamp'] - watcher.tracks[0]['stamp']) / 1e9


def _spin_until(
    watcher: TopicRecorder,
    process: subprocess.Popen[bytes],
    reached: Callable[[], bool],
    patience: float,
    show: Callable[[], object],
) -> None:
    import rclpy

    ends = time.monotonic() + patience
    while not reached():
        rclpy.spin_once(watcher, timeout_sec=0.1)
        show()
        if watcher.problem:
            raise UserError(watcher.problem)
        if process.poll() is not None:
            raise UserError(
                f'the nodes ended with code {process.returncode}', 'see their messages above'
            )
        if time.monotonic() > ends:
            if watcher.tracks:
                return  # a slow machine or a short video: what came is what there is to show
            raise UserError(
                f'no messages from the nodes for {patience:.0f} s', 'run "face_tracking doctor"'
            )


def _write(watcher: TopicRecorder, args: argparse.Namespace) -> None:
    import cv2
    import numpy as np

    from face_tracking.cli.output import progress, write_image, write_rows
    from face_tracking.cli.video_writer import VideoWriter

    write_rows(args.output / 'tracks.json', watcher.tracks)
    if not watcher.images:
        return
    best = max(watcher.tracks, key=lambda row: len(row['tracks']))['stamp']
    stamps = [stamp for stamp, _ in watcher.images]
    shown = watcher.images[int(np.argmin(np.abs(np.array(stamps) - best)))][1]
    write_image(args.output / 'still.png', cv2.imdecode(shown, cv2.IMREAD_COLOR))
    # An image that was lost on its way is bridged by the one before, so that time runs evenly.
    ticks = np.arange(stamps[0], stamps[-1] + 1, 1e9 / args.rate)
    rows = np.searchsorted(stamps, ticks + 5e8 / args.rate) - 1
    with VideoWriter(args.output / 'annotated.mp4', args.rate) as video:
        for row in progress(rows.clip(0), desc='writing the video', unit='frame'):
            video.write(cv2.imdecode(watcher.images[row][1], cv2.IMREAD_COLOR))


def _log_once(watcher: TopicRecorder) -> None:
    frames, seconds = len(watcher.tracks), _seconds(watcher)
    faces = sum(len(row['tracks']) for row in watcher.tracks)
    print(
        f'{frames} frames, {faces} faces, {len(watcher.ids)} ids, '
        f'{(frames - 1) / max(seconds, 1e-9):.1f} frames per second'
    )
    averages: dict[str, dict[str, float]] = defaultdict(dict)
    for node, stages in STAGES.items():
        for stage in stages:
            if watcher.figures[node, stage]:
                averages[node][stage] = fmean(watcher.figures[node, stage])
    for node, stages in averages.items():
        print(
            f'{node:<14}' + ', '.join(f'{stage} {spent:.2f} ms' for stage, spent in stages.items())
        )
