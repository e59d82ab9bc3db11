# SPDX-License-Identifier: Apache-2.0
"""An hour's worth of images through the tracker: memory and latency must stay flat.

A sequence plays over and over, with what the real detector finds in every Nth image; told are,
for each tenth of the time, the process' memory and what tracking an image took: in time, which
grows with whatever else the machine does, and in CPU time, which mostly does not. The images
come as fast as they are tracked.

    python benchmarks/tracking/soak.py --minutes 60 --plot soak.png
"""

from __future__ import annotations

import argparse
import gc
from time import perf_counter, thread_time

import cv2
import numpy as np
import psutil
from tqdm import tqdm

from face_tracking.detector import create_detector
from face_tracking.evaluation.actors import find_people
from face_tracking.evaluation.sequences import Sequence, load_script
from face_tracking.faces import Detections
from face_tracking.runtimes.base import DEFAULT
from face_tracking.tracking.tracker import FaceTracker

RATE = 30
SECOND = 1_000_000_000


def main() -> None:
    """Soak and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, default=60, help='of video (%(default)s)')
    parser.add_argument('--sequence', default='party')
    parser.add_argument('--detect-interval', type=int, default=5)
    parser.add_argument('--runtime', default=DEFAULT, help='of the detector (%(default)s)')
    parser.add_argument('--plot', metavar='FILE', help='draw memory and latency over the time')
    args = parser.parse_args()
    cv2.setNumThreads(1)  # so that this thread's CPU time is all there is
    frames = watch(args.sequence, args.runtime)
    tracker, process = FaceTracker(), psutil.Process()
    total = round(args.minutes * 60 * RATE)
    latency, cpu, newest = np.zeros(total), np.zeros(total), 0
    memory = []
    print(
        'tenth  memory MB  median ms  median CPU ms  99th percentile CPU ms  ids so far  '
        'remembered or followed'
    )
    for index in tqdm(range(total), unit='frame', disable=None, leave=False):
        image, found = frames[index % len(frames)]
        stamp = index * SECOND // RATE
        if index % args.detect_interval == 0:
            tracker.add_detections(Detections(stamp, found.boxes, found.scores, found.landmarks))
        started, cpu_started = perf_counter(), thread_time()
        tracks = tracker.step(image, stamp)
        latency[index] = 1e3 * (perf_counter() - started)
        cpu[index] = 1e3 * (thread_time() - cpu_started)
        newest = max([newest, *tracks.ids.tolist()])
        if (index + 1) % (RATE * 10) == 0:
            memory.append(process.memory_info().rss / 2**20)
        if (index + 1) % (total // 10) == 0:
            gc.collect()
            part = slice(index + 1 - total // 10, index + 1)
            print(
                f'{(index + 1) // (total // 10):5d}  {process.memory_info().rss / 2**20:9.1f}  '
                f'{np.median(latency[part]):9.3f}  {np.median(cpu[part]):13.3f}  '
                f'{np.percentile(cpu[part], 99):22.3f}  {newest:10d}  {tracker.track_count:22d}',
                flush=True,
            )
    if args.plot:
        draw(args.plot, memory, latency, cpu)


def draw(path: str, memory: list[float], latency: np.ndarray, cpu: np.ndarray) -> None:
    """Draw memory (MB, every 10 s) and milliseconds for each image over the minutes of video."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, (upper, lower) = pyplot.subplots(
        2, 1, sharex=True, figsize=(9, 5), layout='constrained'
    )
    upper.plot((np.arange(len(memory)) + 1) / 6, memory)
    upper.set_ylabel('memory, MB')
    upper.set_ylim(0, 1.2 * max(memory, default=1))
    window = RATE * 10
    for name, values in (('time', latency), ('CPU time', cpu)):
        rows = values[: len(values) // window * window].reshape(-1, window)
        minutes = (np.arange(len(rows)) + 1) / 6
        lower.plot(minutes, np.median(rows, axis=1), label=f'{name}, median')
        lower.plot(
            minutes,
            np.percentile(rows, 99, axis=1),
            alpha=0.4,
            linewidth=0.8,
            label=f'{name}, 99th percentile',
        )
    lower.set_yscale('log')
    lower.set_ylabel('ms for an image, 10 s each')
    lower.set_xlabel('minutes of video')
    lower.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=110)


def watch(name: str, runtime: str) -> list[tuple[np.ndarray, Detections]]:
    """Return the images of a sequence with what the detector finds in each."""
    detector = create_detector(runtime=runtime, score_threshold=0.3)
    try:
        return [
            (frame.image, detector.detect(frame.image))
            for frame, _ in tqdm(
                Sequence(load_script(name), find_people()), desc='drawing', disable=None
            )
        ]
    finally:
        detector.close()


if __name__ == '__main__':
    main()
