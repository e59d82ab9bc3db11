# SPDX-License-Identifier: Apache-2.0
"""Detection and tracking beside other busy processes: ``face_tracking bench contention``.

Each row is measured on an idle machine, then beside one and two processes that never sleep. Images
arrive at 30 Hz, as from a camera, so that threads sleep between them. The table has the median and
the 95th percentile in milliseconds of wall-clock time, and the 95th percentile beside two busy
processes over the median without any. Images that the tracker leaves out, because the scene is
calm, take next to no time and do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.pipeline_scene import draw
from face_tracking.cli import arguments
from face_tracking.cli.output import write_text
from face_tracking.detector import create_detector
from face_tracking.errors import UserError
from face_tracking.frame import Frame
from face_tracking.tracking.tracker import FaceTracker

PERIOD = 1 / 30
WARM_UP = 10
BUSY = (0, 1, 2)

Step = Callable[[int], Any]
"""Works on an image, by its number; returns False if the image does not count."""


def rows(images: list[np.ndarray], model: str | None) -> dict[str, Callable[[], Step]]:
    """Return what is measured: by name, a function that prepares a step."""
    cores = os.cpu_count() or 1

    def detection(runtime: str, threads: int) -> Callable[[], Step]:
        def prepare() -> Step:
            detector = create_detector(model, runtime, threads=threads)
            return lambda number: detector.detect(images[number % len(images)])

        return prepare

    def opencv(threads: int) -> Callable[[], Step]:
        def prepare() -> Step:
            detector = create_detector(model, 'opencv', threads=1)
            cv2.setNumThreads(threads)
            return lambda number: detector.detect(images[number % len(images)])

        return prepare

    def tracking() -> Step:
        tracker, detector = FaceTracker(), create_detector(model)
        found = [detector.detect(image) for image in images]

        def step(number: int) -> bool:
            stamp, frame = round(number * PERIOD * 1e9), Frame(images[number % len(images)])
            counts = not tracker.will_skip(frame, stamp)
            if number % 5 == 0:
                detections = found[number % len(images)]
                detections.stamp = stamp
                tracker.add_detections(detections)
            tracker.step(frame, stamp)
            return counts

        return step

    return {
        'tracker step': tracking,
        'detection, TVM, default': detection('tvm', 0),
        f'detection, TVM, {cores} threads': detection('tvm', cores),
        'detection, ONNX Runtime, 1 thread': detection('onnxruntime', 1),
        f'detection, ONNX Runtime, {cores} threads': detection('onnxruntime', cores),
        'detection, OpenCV, 1 thread': opencv(1),
        f'detection, OpenCV, {cores} threads': opencv(cores),
        **({'detection, ncnn, 1 thread': ncnn(images, model)} if has_ncnn() else {}),
    }


def has_ncnn() -> bool:
    """Return whether ncnn and its converter are installed (``make bench`` installs them)."""
    from importlib.util import find_spec

    return find_spec('ncnn') is not None and find_spec('pnnx') is not None


def ncnn(images: list[np.ndarray], model: str | None) -> Callable[[], Step]:
    """Return what prepares ncnn on the same network."""

    def prepare() -> Step:
        import tempfile

        import ncnn as library

        from benchmarks.instructions import convert_for_ncnn
        from face_tracking.detection.model import load_model

        loaded = load_model(model)
        folder = Path(tempfile.mkdtemp())
        param = convert_for_ncnn(loaded, folder)
        network = library.Net()
        network.opt.num_threads = 1
        network.load_param(str(param))
        network.load_model(str(param).replace('.param', '.bin'))
        inputs, outputs = network.input_names(), network.output_names()
        size = loaded.width, loaded.height

        def step(number: int) -> None:
            image = cv2.resize(images[number % len(images)], size, interpolation=cv2.INTER_AREA)
            extractor = network.create_extractor()
            kind = library.Mat.PixelType.PIXEL_BGR
            extractor.input(inputs[0], library.Mat.from_pixels(image, kind, *size))
            for name in outputs:
                extractor.extract(name)

        return step

    return prepare


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep some processes running that never sleep."""
    command = [sys.executable, '-c', 'while True: pass']
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        time.sleep(0.3 * bool(count))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(step: Step, runs: int) -> tuple[float, float]:
    """Return the median and the 95th percentile of a step in milliseconds."""
    taken = []
    due = time.perf_counter()
    for number in range(runs + WARM_UP):
        due = max(due + PERIOD, time.perf_counter())
        time.sleep(max(due - time.perf_counter(), 0))
        begin = time.perf_counter()
        counts = step(number)
        if number >= WARM_UP and counts is not False:
            taken.append(1e3 * (time.perf_counter() - begin))
    median, high = np.percentile(taken, [50, 95])
    return float(median), float(high)


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', help='the detector (default: the bundled one)')
    parser.add_argument(
        '--rounds', type=arguments.positive, default=150, help='images (default: %(default)s)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    found = []
    try:
        from skimage import data

        portrait = np.ascontiguousarray(data.astronaut()[:300, 80:380, ::-1])
        images = draw(portrait, 640, 480, 1, 60)
        print('| median (95th percentile), ms | idle | beside 1 | beside 2 | p95 of 2 / idle |')
        print('| --- | ---: | ---: | ---: | ---: |')
        for name, prepare in rows(images, args.model).items():
            step = prepare()
            cells = []
            for count in BUSY:
                with busy_processes(count):
                    cells.append(measure(step, args.rounds))
            cv2.setNumThreads(1)
            ratio = cells[-1][1] / cells[0][0]
            shown = ' | '.join(f'{median:.2f} ({high:.2f})' for median, high in cells)
            print(f'| {name} | {shown} | {ratio:.1f} |', flush=True)
            found.append({'row': name, 'busy': BUSY, 'median_p95_ms': cells, 'ratio': ratio})
    except UserError as error:
        print(f'contention: {error}', file=sys.stderr)
        return 2
    if args.json:
        write_text(args.json, json.dumps(found, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
