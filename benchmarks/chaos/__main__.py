# SPDX-License-Identifier: Apache-2.0
"""Injects faults into camera, detector, tracker and head, and checks what is left afterwards.

    python -m benchmarks.chaos --faults 200 --seed 1

The nodes run as separate processes in simulated time and are started again when they die. The
kinds of faults: kill, stall (SIGSTOP), garbage, flood, clock jumps, a full disk. Afterwards tracks
must be published within 10 s of the last fault, no command of the head was beyond a limit, no
process or temporary file is left, and memory is what it was. The exit code is 1 if one of this is
not so.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from vision_msgs.msg import Detection2DArray

from benchmarks.chaos import garbage
from benchmarks.chaos.observer import Observer
from benchmarks.chaos.processes import NodeProcess
from face_tracking.files import cache_dir
from face_tracking.nodes.messages import MAX_FACES
from face_tracking.pan_tilt.head_options import HeadOptions

RECOVERY = 10.0
"""Seconds after the last fault within which tracks are published again."""
WARM_UP = 90.0
MORE_MEMORY = 60.0
"""Megabytes by which a process may have grown."""
TICK = 0.02
NODES = {
    'camera_node': ['camera:=virtual', 'width:=320', 'height:=240', 'frame_rate:=15.0'],
    'detector_node': ['threads:=1'],
    'tracker_node': [],
    'pan_tilt_node': ['output:=position'],
}


class Chaos:
    """The processes, the simulated clock, and the faults.

    :param seed: of the random choices.
    :param folder: for logs and the cache of the detector.
    """

    def __init__(self, seed: int, folder: Path):
        self.rng = random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.node: Node = rclpy.create_node('chaos')
        options = HeadOptions()
        self.observer = Observer(
            self.node, (options.pan_max, options.tilt_max), options.max_velocity
        )
        self._cache = folder / 'cache'
        environment = {'FACE_TRACKING_CACHE': str(self._cache), 'OMP_NUM_THREADS': '1'}
        self.processes = {
            name: NodeProcess(
                name, [*parameters, 'use_sim_time:=true'], folder / f'{name}.log', environment
            )
            for name, parameters in NODES.items()
        }
        self._time = float(time.time())
        self._clock = self.node.create_publisher(Clock, '/clock', 10)
        self._publishers = {
            'image': self.node.create_publisher(Image, 'camera/image_raw', 5),
            'found': self.node.create_publisher(Detection2DArray, 'faces/detections', 10),
            'tracks': self.node.create_publisher(Detection2DArray, 'faces/tracks', 10),
            'info': self.node.create_publisher(CameraInfo, 'camera/camera_info', 5),
            'joints': self.node.create_publisher(JointState, 'joint_states', 5),
        }
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._tick, self._spin)
        ]

    def start(self) -> None:
        """Start clock and processes, and wait for the first tracks."""
        for thread in self._threads:
            thread.start()
        self.pass_time(WARM_UP, lambda: self.observer.last_tracks > 0)
        if not self.observer.last_tracks:
            raise RuntimeError(f'no tracks within {WARM_UP:.0f} s: see the logs')
        self.pass_time(5.0)

    def pass_time(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Wait, and start processes again that have died."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            for name, process in self.processes.items():
                starts = process.starts
                process.keep_up()
                if name == 'pan_tilt_node' and process.starts != starts:
                    self.observer.restart()
            time.sleep(0.05)

    def stop(self) -> dict[str, int]:
        """Stop the processes and return their exit codes."""
        codes = {name: process.stop() for name, process in self.processes.items()}
        self._stopping.set()
        for thread in self._threads:
            thread.join(5)
        return codes

    # The faults. Each takes about a second.

    def kill(self) -> None:
        """End a process without warning."""
        name = self.rng.choice(list(self.processes))
        self.processes[name].send(signal.SIGKILL)
        self.pass_time(self.rng.uniform(0.3, 2.0))

    def stall(self) -> None:
        """Suspend a process for a moment."""
        process = self.rng.choice(list(self.processes.values()))
        process.send(signal.SIGSTOP)
        self.pass_time(self.rng.uniform(0.1, 2.5))
        process.send(signal.SIGCONT)
        self.observer.restart()

    def garbage(self) -> None:
        """Publish messages that cannot be."""
        for _ in range(self.rng.randrange(1, 20)):
            self._publish_garbage(self.rng.randrange(5))
        self.pass_time(self.rng.uniform(0.0, 0.5))

    def flood(self) -> None:
        """Publish more and larger messages than can be worked off."""
        topic = self.rng.choice(('found', 'tracks'))
        message = garbage.detections(self.rng, self.rng.choice((MAX_FACES, 2500)))
        for _ in range(10):
            self._publishers[topic].publish(message)
        self.pass_time(0.3)

    def clock_jump(self) -> None:
        """Set the clock forward or back."""
        self._time += self.rng.choice((-1, 1)) * self.rng.choice((0.05, 0.5, 5.0, 3600.0))
        self.pass_time(self.rng.uniform(0.2, 1.0))

    def full_disk(self) -> None:
        """Start the detector without its compiled model and without room for a new one."""
        if not self._cache.is_dir():
            return
        hidden = self._cache.with_suffix('.hidden')
        self._cache.rename(hidden)
        self._cache.write_text('')  # every attempt to write below it fails
        self.processes['detector_node'].send(signal.SIGKILL)
        self.pass_time(self.rng.uniform(3.0, 5.0))
        self._cache.unlink()
        hidden.rename(self._cache)
        self.pass_time(0.5)

    def _publish_garbage(self, kind: int) -> None:
        name = ('image', 'found', 'tracks', 'info', 'joints')[kind]
        make = {
            'image': garbage.image,
            'info': garbage.camera_info,
            'joints': garbage.joint_state,
        }.get(name, lambda rng: garbage.detections(rng, rng.randrange(20)))
        self._publishers[name].publish(make(self.rng))

    def _tick(self) -> None:
        last = time.monotonic()
        while not self._stopping.wait(TICK):
            now = time.monotonic()
            self._time, last = self._time + now - last, now
            stamp = Time(nanoseconds=max(int(self._time * 1e9), 0)).to_msg()
            self._clock.publish(Clock(clock=stamp))

    def _spin(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(Exception):
                self._executor.spin_once(timeout_sec=0.1)


# How often each kind is chosen; a full disk takes long.
WEIGHTS = {'kill': 20, 'stall': 20, 'garbage': 30, 'flood': 10, 'clock_jump': 17, 'full_disk': 3}


@contextlib.contextmanager
def chaos_folder(given: str) -> Iterator[Path]:
    """Yield a folder with a copy of the cache, so that the first start needs no compiler."""
    folder = Path(given or tempfile.mkdtemp(prefix='chaos-'))
    folder.mkdir(parents=True, exist_ok=True)
    compiled = cache_dir() / 'compiled'
    if compiled.is_dir() and not (folder / 'cache').exists():
        shutil.copytree(
            compiled, folder / 'cache' / 'compiled', ignore=shutil.ignore_patterns('.*')
        )
        (folder / 'cache').chmod(0o700)
    yield folder
    if not given:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Inject the faults, check, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--faults', type=int, default=200, help='number (default %(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='default %(default)s')
    parser.add_argument('--minutes', type=float, default=15, help='at most (default %(default)s)')
    parser.add_argument('--folder', default='', help='keep logs and cache there')
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    with chaos_folder(arguments.folder) as folder:
        rclpy.init()
        chaos = Chaos(arguments.seed, folder)
        try:
            problems = run(chaos, arguments.faults, 60 * arguments.minutes)
        finally:
            codes = chaos.stop()
            chaos.node.destroy_node()
            rclpy.try_shutdown()
        problems += check_rest(codes, folder)
    for problem in problems:
        print(f'FAILED: {problem}')
    print('all checks passed' if not problems else f'{len(problems)} checks failed')
    return 1 if problems else 0


def run(chaos: Chaos, faults: int, longest: float) -> list[str]:
    """Inject the faults and return what is wrong afterwards."""
    chaos.start()
    before = {name: process.memory() for name, process in chaos.processes.items()}
    end = time.monotonic() + longest
    while chaos.counts.total() < faults and time.monotonic() < end:
        (kind,) = chaos.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        getattr(chaos, kind)()
        chaos.counts[kind] += 1
        if chaos.counts.total() % 20 == 0:
            print(f'{chaos.counts.total()} faults: {dict(chaos.counts)}', flush=True)
    last = time.monotonic()
    chaos.pass_time(RECOVERY, lambda: chaos.observer.last_tracks > last + 0.1)
    recovered = chaos.observer.last_tracks > last
    problems = list(chaos.observer.violations[:5])
    if chaos.counts.total() < faults:
        problems.append(f'only {chaos.counts.total()} of {faults} faults within the time')
    if not recovered:
        problems.append(f'no tracks within {RECOVERY:.0f} s after the last fault')
    chaos.pass_time(15.0)
    for name, process in chaos.processes.items():
        print(
            f'{name}: {process.starts} starts, exit codes '
            f'{dict(collections.Counter(process.exits))}, memory {before[name]:.0f} to '
            f'{process.memory():.0f} MB'
        )
        if process.memory() > before[name] + MORE_MEMORY:
            problems.append(f'{name} has grown to {process.memory():.0f} MB')
        unexpected = set(process.exits) - {-signal.SIGKILL}
        if unexpected:
            problems.append(f'{name} ended by itself with {sorted(unexpected)}')
    print(
        f'{chaos.counts.total()} faults {dict(chaos.counts)}; {chaos.observer.messages} messages '
        f'with tracks, {chaos.observer.commands} commands of the head, '
        f'{len(chaos.observer.violations)} beyond a limit; tracks again '
        f'{"in time" if recovered else "not in time"}'
    )
    return problems


def check_rest(codes: dict[str, int], folder: Path) -> list[str]:
    """Return what is wrong after the end: exit codes, processes and files that are left."""
    problems = [f'{name} ended with {code}' for name, code in codes.items() if code != 0]
    problems += [f'the process {pid} is left' for pid in _processes_with(folder)]
    left = [path for path in folder.rglob('*') if path.name.startswith(('.', 'tmp'))]
    problems += [f'the temporary file {path.name} is left' for path in left]
    for log in folder.glob('*.log'):
        if 'Traceback' in log.read_text(errors='replace'):
            problems.append(f'{log.name} has a traceback')
    return problems


def _processes_with(folder: Path) -> list[int]:
    """Return the processes, besides this one, that have the cache of this run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            cache = process.environ().get('FACE_TRACKING_CACHE', '')
            if process.pid != os.getpid() and cache.startswith(str(folder)):
                found.append(process.pid)
    return found


if __name__ == '__main__':
    sys.exit(main())
