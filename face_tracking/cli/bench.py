# SPDX-License-Identifier: Apache-2.0
"""Measure what this machine makes of the package, beside its baselines.

engines: every engine that can run the detector, on the same weights and images, taking turns in
one process; medians, ratios and a plot. "make bench" installs those that are missing, in an
environment of their own, which this command uses from then on. nodes: what ROS costs, the pipeline
composed, in separate processes and without ROS. actions: what recognition, events, speech, page,
streams and MQTT cost beside the pipeline. start: time and memory until the first detection.
stages: letterbox, decoding and suppression beside the network. threads: what a second thread
gains. contention: a detection and a tracker step beside other busy processes. pipeline: CPU time
and emulated Cortex-A76 instructions of an image, from the bytes of the camera to tracks, beside
the usual loop. instructions: what an emulated Cortex-A76 executes for one inference, TVM beside
ncnn and OpenCV.

Other work on the machine makes every figure larger; the turns make it strike all rows alike, so
trust the ratios more than the milliseconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from face_tracking import files
from face_tracking.cli import arguments

MODULES = {
    'engines': 'engines',
    'nodes': 'composition',
    'stages': 'detector_stages',
    'instructions': 'instructions',
    'threads': 'threads',
    'pipeline': 'pipeline',
    'contention': 'contention',
    'start': 'starting',
    'actions': 'actions_cost',
}

PREPARED = '.baselines'
"""What "make bench" leaves in .venv-training once the baselines are installed there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        'what',
        nargs='?',
        default='engines',
        choices=MODULES,
        help='what to measure (default: %(default)s)',
    )
    parser.add_argument(
        '--model',
        action='append',
        metavar='FILE|NAME',
        help='the detector (default: the bundled model); engines take several',
    )
    parser.add_argument(
        '--input-size',
        metavar='WxH',
        help="engines, threads: size of the network's input (default: the "
        "model's; threads: 640x480)",
    )
    parser.add_argument(
        '--threads',
        type=arguments.positive,
        metavar='N',
        help='engines, stages: cores that each engine may use (default: 1); '
        'threads: how many to compare with one (default: 2)',
    )
    parser.add_argument(
        '--rounds', type=arguments.positive, metavar='N', help='turns that each row takes'
    )
    parser.add_argument(
        '--only',
        metavar='WORD',
        help='instructions: only engines whose name contains this; pipeline: cpu, a76 or scale; '
        'actions: names, events, on, watched, with commas between',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    parser.add_argument(
        '--plot', type=Path, metavar='FILE', help='engines, pipeline: draw the table'
    )


def run(args: argparse.Namespace) -> int:
    """Run the script that measures it, in a process of its own."""
    command = [_python(args.what), '-m', f'benchmarks.{MODULES[args.what]}']
    for name in ('input_size', 'threads', 'rounds', 'only', 'json', 'plot'):
        value = getattr(args, name)
        if value is not None:
            command += [f'--{name.replace("_", "-")}', str(value)]
    for model in args.model or ():
        command += ['--model', model]
    search = [str(files.share_dir()), *filter(None, [os.environ.get('PYTHONPATH')])]
    return subprocess.run(
        command, check=False, env={**os.environ, 'PYTHONPATH': os.pathsep.join(search)}
    ).returncode


def _python(what: str) -> str:
    """Return the interpreter for a benchmark: for the engines, that which has all of them."""
    prepared = files.share_dir() / '.venv-training'
    if what in ('engines', 'instructions') and (prepared / PREPARED).is_file():
        return str(prepared / 'bin' / 'python')
    return sys.executable
