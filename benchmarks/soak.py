# SPDX-License-Identifier: Apache-2.0
"""Runs the composed pipeline with the head for hours and checks that nothing grows.

    python -m benchmarks.soak --minutes 120

A simulated camera delivers 30 images per second. Every ten seconds memory, file descriptors and
threads of the process are read, and the latency of the tracks from its diagnostics. The exit code
is 1 if the last quarter is worse than the second quarter (the first is warm-up).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor

from face_tracking.child_process import end_processes

PERIOD = 10.0
CODE = 'import sys; from face_tracking.entry_points import pipeline; sys.exit(pipeline())'
PARAMETERS = (
    'camera:=virtual',
    'width:=640',
    'height:=480',
    'frame_rate:=30.0',
    'use_joint_states:=true',
    'output:=simulated',
)
MORE_MEMORY, MORE_HANDLES, MORE_LATENCY = 15.0, 3, 1.5


@dataclass(frozen=True)
class Sample:
    """One reading.

    :ivar memory: resident megabytes.
    :ivar descriptors: open file descriptors.
    :ivar threads: threads.
    :ivar latency: milliseconds from the exposure of an image to its tracks.
    :ivar rate: images per second in the tracker.
    """

    memory: float
    descriptors: int
    threads: int
    latency: float
    rate: float


def main() -> int:
    """Soak, print a table of ten rows, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, default=120, help='default %(default)s')
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    command = [sys.executable, '-c', CODE, '--pan-tilt', '--ros-args']
    for parameter in PARAMETERS:
        command += ['-p', parameter]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            samples = watch(process, arguments.minutes * 60)
        finally:
            end_processes(process, timeout=30)
    problems = compare(samples)
    for problem in problems:
        print(f'FAILED: {problem}')
    return 1 if problems else 0


def watch(process: subprocess.Popen[bytes], seconds: float) -> list[Sample]:
    """Record samples until the time is over."""
    rclpy.init()
    node = rclpy.create_node('soak')
    values: dict[str, str] = {}

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith('tracker_node'):
                values.update({entry.key: entry.value for entry in status.values})

    node.create_subscription(DiagnosticArray, '/diagnostics', on_diagnostics, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    samples: list[Sample] = []
    begin = time.monotonic()
    printed = 0
    print('minute  memory MB  descriptors  threads  latency ms  images/s', flush=True)
    while (elapsed := time.monotonic() - begin) < seconds:
        if process.poll() is not None:
            raise RuntimeError(f'the pipeline ended with {process.returncode}')
        end = time.monotonic() + PERIOD
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.2)
        if 'latency (ms)' in values:
            samples.append(read(process.pid, values))
        if samples and elapsed * 10 / seconds >= printed:
            printed += 1
            last = samples[-1]
            print(
                f'{elapsed / 60:6.1f}  {last.memory:9.1f}  {last.descriptors:11d}  '
                f'{last.threads:7d}  {last.latency:10.1f}  {last.rate:8.1f}',
                flush=True,
            )
    node.destroy_node()
    rclpy.try_shutdown()
    return samples


def read(pid: int, values: dict[str, str]) -> Sample:
    """Return a reading of a process and of its diagnostics."""
    process = psutil.Process(pid)
    return Sample(
        process.memory_info().rss / 1e6,
        process.num_fds(),
        process.num_threads(),
        float(values['latency (ms)']),
        float(values['rate (Hz)']),
    )


def compare(samples: Sequence[Sample]) -> list[str]:
    """Return in which respect the last quarter is worse than the second."""
    if len(samples) < 8:
        return [f'only {len(samples)} samples: run for some minutes']
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    problems = []
    for name, more in (
        ('memory', MORE_MEMORY),
        ('descriptors', MORE_HANDLES),
        ('threads', MORE_HANDLES),
    ):
        before, after = (median(getattr(each, name) for each in part) for part in (early, late))
        print(f'{name}: {before:.1f} to {after:.1f}')
        if after > before + more:
            problems.append(f'{name} has grown from {before:.1f} to {after:.1f}')
    before, after = (median(each.latency for each in part) for part in (early, late))
    print(f'latency: {before:.1f} to {after:.1f} ms')
    if after > MORE_LATENCY * before + 5:
        problems.append(f'the latency has grown from {before:.1f} to {after:.1f} ms')
    return problems


if __name__ == '__main__':
    sys.exit(main())
