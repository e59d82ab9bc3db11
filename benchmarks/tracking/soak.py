# SPDX-License-Identifier: Apache-2.0
"""An hour's worth of pictures through the tracker: memory and latency must stay flat.

The built-in scenes play over and over with the real detector in every Nth picture; told are, for
each tenth of the time, the process' memory and what tracking a picture took. The pictures come as
fast as they are tracked.

    python benchmarks/tracking/soak.py --minutes 60
"""

from __future__ import annotations

import argparse
import gc

import numpy as np
import psutil
from tqdm import tqdm

from face_tracking.detection.detector import create_detector
from face_tracking.evaluation.people import find_people
from face_tracking.evaluation.sequences import Sequence, load_script
from face_tracking.faces import Detections
from face_tracking.tracking.tracker import FaceTracker

RATE = 30
SECOND = 1_000_000_000


def main() -> None:
    """Soak and print."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=60, help='of film (%(default)s)')
    parser.add_argument('--sequence', default='party')
    parser.add_argument('--detect-interval', type=int, default=5)
    parser.add_argument('--runtime', default='onnxruntime')
    args = parser.parse_args()
    frames = watch(args.sequence, args.runtime)
    tracker, process = FaceTracker(), psutil.Process()
    total = round(args.minutes * 60 * RATE)
    latency, newest = np.zeros(total), 0
    print('tenth  memory MB  median ms  99th percentile ms  ids so far  remembered or followed')
    for index in tqdm(range(total), unit='frame', disable=None, leave=False):
        image, found = frames[index % len(frames)]
        stamp = index * SECOND // RATE
        if index % args.detect_interval == 0:
            tracker.add_detections(Detections(stamp, found.boxes, found.scores, found.landmarks))
        tracks = tracker.step(image, stamp)
        latency[index] = tracker.timings['total']
        newest = max([newest, *tracks.ids.tolist()])
        if (index + 1) % (total // 10) == 0:
            gc.collect()
            part = latency[index + 1 - total // 10:index + 1]
            print(f'{(index + 1) // (total // 10):5d}  {process.memory_info().rss / 2**20:9.1f}  '
                  f'{np.median(part):9.3f}  {np.percentile(part, 99):18.3f}  {newest:10d}  '
                  f'{tracker.known:22d}', flush=True)


def watch(name: str, runtime: str) -> list[tuple[np.ndarray, Detections]]:
    """Return the pictures of a sequence with what the detector finds in each."""
    detector = create_detector(runtime=runtime, score_threshold=0.3)
    try:
        return [(frame.image, detector.detect(frame.image)) for frame, _ in tqdm(
            Sequence(load_script(name), find_people()), desc='drawing', disable=None)]
    finally:
        detector.close()


if __name__ == '__main__':
    main()
