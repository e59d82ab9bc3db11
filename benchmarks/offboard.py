# SPDX-License-Identifier: Apache-2.0
"""Whether tracks hold while the detector is on another machine, over a bad network.

    python -m benchmarks.offboard [--delay 0.15] [--loss 0.05] [--transport small compressed]

As root: two network namespaces are joined by a link that delays each packet and loses some, both
ways. On one side run camera and tracker, on the other the detector, planned as offboard.launch.py
does. Two portraits move in front of the camera, 30 images per second. ``small`` is what the launch
file sets; ``compressed`` is full-size JPEG with reliable subscriptions on both sides.

Both faces are always visible, so that ``both`` should be 100 %. ``longest gap`` is the longest
time with fewer than two tracks, ``age`` the time from an image to its detections on the robot.
After the detector is ended, ``alone`` is the share of the images of the following 20 seconds in
which both are tracked: by the detector of the robot, after some seconds.
On a machine that has other work to do as well, put ``chrt -r 5`` in front.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.head_pose import portraits
from face_tracking.bringup.arguments import Chosen
from face_tracking.bringup.launch_files import LAUNCH_FILES
from face_tracking.bringup.processes import Process
from face_tracking.child_process import end_processes

HERE = Path(__file__).parent
_NUMBERS = itertools.count()
ROBOT, PC = 0, 1
SIZE = (640, 480)
FRAMES = 120
PATIENCE = 150.0  # seconds until both faces are tracked; a model may have to be compiled first
RELIABLE_IMAGES = 'qos_overrides./camera/image_raw/compressed.subscription.reliability'


def planned(side: str, **given: str) -> Process:
    """Return the process of one side of offboard.launch.py."""
    rows = LAUNCH_FILES['offboard'].arguments
    values = {row.name: row.default for row in rows}
    values |= {'side': side, 'head': 'no', **given}
    (process,) = LAUNCH_FILES['offboard'].plan(Chosen(rows, values))
    return process


def command(process: Process) -> list[str]:
    """Return the command line of a planned process."""
    found = shutil.which(
        process.executable, path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    )
    words = [found or process.executable, *process.arguments, '--ros-args']
    if process.namespace:
        words += ['-r', f'__ns:=/{process.namespace}']
    for name, other in process.remappings:
        words += ['-r', f'{name}:={other}']
    for path in process.files:
        words += ['--params-file', str(path)]
    for name, value in process.parameters.items():
        words += ['-p', f'{name}:={str(value).lower() if isinstance(value, bool) else value}']
    return ['env', *(f'{name}={value}' for name, value in process.environment.items()), *words]


def can_make_namespaces() -> bool:
    """Return whether this user can make network namespaces and TAP devices."""
    if os.geteuid() != 0 or shutil.which('ip') is None or not Path('/dev/net/tun').exists():
        return False
    made, _ = (
        subprocess.run(['ip', 'netns', verb, 'ft_probe'], check=False, capture_output=True)
        for verb in ('add', 'del')
    )
    return made.returncode == 0


@dataclass
class Machines:
    """Two network namespaces, a link between them, and the processes in them.

    :ivar names: of the namespaces, robot and PC.
    :ivar link: the process that is the link.
    :ivar folder: where the output of the processes goes.
    """

    names: tuple[str, str]
    link: subprocess.Popen[str]
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, machine: int, words: list[str]) -> Callable[[], str]:
        """Start a command on a machine; return a function that returns its output so far."""
        log = self.folder / f'{len(self.started)}.log'
        environment = {**os.environ, 'ROS_DOMAIN_ID': '33', 'PYTHONUNBUFFERED': '1'}
        environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'SUBNET'
        with log.open('wb') as output:
            self.started.append(
                subprocess.Popen(
                    ['ip', 'netns', 'exec', self.names[machine], *words],
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        return log.read_text

    def sent(self) -> list[int]:
        """Return the bytes that robot and PC have sent since the last call."""
        assert self.link.stdin and self.link.stdout
        self.link.stdin.write('\n')
        self.link.stdin.flush()
        return [int(word) for word in self.link.stdout.readline().split()]


@contextlib.contextmanager
def two_machines(delay: float, loss: float) -> Iterator[Machines]:
    """Set up two machines whose packets take ``delay`` seconds and are lost with ``loss``."""
    with contextlib.ExitStack() as stack:
        robot, pc = (stack.enter_context(_namespace(name)) for name in ('ft_robot', 'ft_pc'))
        ends = [robot, '10.99.0.1', pc, '10.99.0.2']
        link = subprocess.Popen(
            [sys.executable, str(HERE / 'lossy_link.py'), str(delay), str(loss), *ends],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(end_processes, link, timeout=0)
        assert link.stdout and link.stdout.readline() == 'ready\n'
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        machines = Machines((robot, pc), link, Path(folder))
        stack.callback(lambda: end_processes(*machines.started, timeout=30))
        yield machines


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[str]:
    """Make a network namespace whose name begins with ``name``, and delete it again."""
    name = f'{name}_{os.getpid()}_{next(_NUMBERS)}'
    subprocess.run(['ip', 'netns', 'add', name], check=True)
    try:
        yield name
    finally:
        subprocess.run(['ip', 'netns', 'del', name], check=True)


def start_listener(machines: Machines) -> Callable[[], list[dict]]:
    """Start a listener on the robot; return a function that returns the rows it has printed."""
    said = machines.start(ROBOT, [sys.executable, str(HERE / 'track_listener.py')])
    # The last line may be half written.
    return lambda: [json.loads(line) for line in said().split('\n')[:-1] if line.startswith('{')]


def of_topic(rows: list[dict], topic: str) -> list[dict]:
    """Return the rows of one topic."""
    return [row for row in rows if row['topic'] == topic]


def until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Wait for a condition.

    :raises TimeoutError: it does not hold in time.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f'nothing happened for {timeout:.0f} s')
        time.sleep(0.5)


def draw_people(folder: Path) -> Path:
    """Write a loop of images in which two portraits move up to 60 pixels a second."""
    faces = [cv2.resize(portrait[:420], (230, 260)) for _, portrait in portraits()]
    for index in range(FRAMES):
        phase = 2 * np.pi * index / FRAMES
        image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
        for number, face in enumerate(faces):
            x = 45 + 320 * number + int(38 * np.sin(phase + number))
            y = 110 + int(30 * np.cos(phase + 2 * number))
            image[y : y + face.shape[0], x : x + face.shape[1]] = face
        cv2.imwrite(str(folder / f'{index:03}.png'), image)
    return folder


def measure(transport: str, options: argparse.Namespace, album: Path) -> dict[str, str]:
    """Return a row of the table."""
    robot, pc = planned('robot', camera=str(album)), planned('pc')
    if transport == 'compressed':
        own = {**pc.parameters, 'image_transport': 'compressed', RELIABLE_IMAGES: 'reliable'}
        pc = Process(**{**vars(pc), 'parameters': own})
        plain = {k: v for k, v in robot.parameters.items() if not k.startswith('qos_overrides')}
        robot = Process(**{**vars(robot), 'parameters': plain})
    with two_machines(options.delay, options.loss) as machines:
        size = ('-p', 'width:=0', '-p', 'height:=0')
        machines.start(ROBOT, [*command(robot), '-p', f'frame_rate:={options.rate}', *size])
        rows = start_listener(machines)
        machines.start(PC, command(pc))
        detector = machines.started[-1]
        until(lambda: any(len(row['ids']) == 2 for row in of_topic(rows(), 'faces/tracks')))
        time.sleep(3)
        machines.sent()
        begin = len(rows())
        started = time.monotonic()
        time.sleep(options.seconds)
        seconds = time.monotonic() - started
        seen, sent = rows()[begin:], machines.sent()
        end_processes(detector, timeout=30)
        gone = len(rows())
        time.sleep(20)
        alone = of_topic(rows()[gone:], 'faces/tracks')
    share = sum(len(row['ids']) == 2 for row in alone) / max(len(alone), 1)
    return summary(seen, seconds, sent) | {'alone': f'{100 * share:.0f} %', 'transport': transport}


def summary(rows: list[dict], seconds: float, sent: list[int]) -> dict[str, str]:
    """Return the columns of the table for the rows of a listener."""
    tracks = of_topic(rows, 'faces/tracks')
    ages = [row['age'] for row in of_topic(rows, 'faces/detections')] or [float('nan')]
    whole = [row for row in tracks if len(row['ids']) == 2]
    times = [tracks[0]['at'], *(row['at'] for row in whole), tracks[-1]['at']] if tracks else [0]
    return {
        'images': f'{len(tracks) / seconds:.0f}/s',
        'detections': f'{len(ages) / seconds:.1f}/s',
        'age, median': f'{np.median(ages):.2f} s',
        '95 %': f'{np.percentile(ages, 95):.2f} s',
        'both': f'{100 * len(whole) / max(len(tracks), 1):.1f} %',
        'longest gap': f'{np.diff(times).max(initial=0):.2f} s',
        'ids': ' '.join(sorted({i for row in tracks for i in row['ids']}, key=int)),
        'robot sends': f'{sent[ROBOT] / seconds / 1e3:.0f} kB/s',
        'PC sends': f'{sent[PC] / seconds / 1e3:.0f} kB/s',
    }


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seconds', type=float, default=60.0, help='measured for each transport')
    parser.add_argument('--delay', type=float, default=0.15, help='seconds, each way')
    parser.add_argument('--loss', type=float, default=0.05, help='share of the packets, each way')
    parser.add_argument('--rate', type=float, default=30.0, help='images per second')
    parser.add_argument(
        '--transport', nargs='+', default=['small'], choices=['small', 'compressed']
    )
    options = parser.parse_args()
    if not can_make_namespaces():
        sys.stderr.write('needs root, iproute2 and /dev/net/tun\n')
        return 2
    with tempfile.TemporaryDirectory() as folder:
        album = draw_people(Path(folder))
        results = [measure(transport, options, album) for transport in options.transport]
    print(f'load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors')
    columns = ['transport', *(name for name in results[0] if name != 'transport')]
    print('| ' + ' | '.join(columns) + ' |')
    print('|' + ' --- |' * len(columns))
    for result in results:
        print('| ' + ' | '.join(result[name] for name in columns) + ' |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
