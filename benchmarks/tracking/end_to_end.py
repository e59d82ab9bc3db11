# SPDX-License-Identifier: Apache-2.0
"""Frames per second and HOTA of the whole loop, beside the article's scheme.

Both loops get the same 640x480 videos with several faces, detect in every 5th image and take
turns image by image in one process, one CPU thread each. OwnTracker is that of "face_tracking
track": the default model, runtime and tracker. The article's detects with the same weights,
unquantized, through ONNX Runtime and follows with KCF in between. Printed are frames per second
without the time for decoding, and with it counted to both, though "face_tracking track" decodes in
another thread.

    python benchmarks/tracking/end_to_end.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from tqdm import tqdm

from face_tracking.cli.video_writer import VideoWriter
from face_tracking.detector import create_detector
from face_tracking.evaluation.actors import find_people
from face_tracking.evaluation.baselines import DetectAndTrack, OwnTracker
from face_tracking.evaluation.sequences import Sequence, load_script
from face_tracking.evaluation.tracking_metrics import Sheet, score
from face_tracking.runtimes.base import DEFAULT

INTERVAL = 5
WARM_UP = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('sequences', nargs='*', default=['crossing', 'leaving', 'party'])
    parser.add_argument(
        '--runtime', default=DEFAULT, help='of this package (default: %(default)s)'
    )
    parser.add_argument('--model', default=None, help='of both (default: the bundled one)')
    parser.add_argument('--threads', type=int, default=1, help='of both detectors')
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    loops = {
        'face_tracking': (
            create_detector(args.model, args.runtime, threads=args.threads, score_threshold=0.3),
            OwnTracker,
        ),
        'article': (
            create_detector(args.model, 'onnxruntime', threads=args.threads),
            DetectAndTrack,
        ),
    }
    sheets = {name: [] for name in loops}
    reading = []
    with tempfile.TemporaryDirectory() as folder:
        for name in tqdm(args.sequences, disable=None, unit='video'):
            for loop, sheet in compete(name, loops, Path(folder), reading).items():
                sheets[loop].append(sheet)
    read = float(np.mean(reading))
    results = {name: score(rows) for name, rows in sheets.items()}
    print(f'decoding an image takes {read:.2f} ms')
    for name, result in results.items():
        spent = result.milliseconds
        print(
            f'{name:13} {spent:7.2f} ms an image: {1e3 / spent:6.1f} frames per second, '
            f'{1e3 / (read + spent):6.1f} with decoding; HOTA {100 * result.hota:.1f}, '
            f'IDF1 {100 * result.idf1:.1f}, {result.switches} switches'
        )
    own, article = (results[name].milliseconds for name in ('face_tracking', 'article'))
    print(
        f'face_tracking is {article / own:.2f} times as fast, with decoding '
        f'{(read + article) / (read + own):.2f} times'
    )


def compete(name: str, loops: dict, folder: Path, reading: list[float]) -> dict[str, Sheet]:
    """Return each loop's sheet for one sequence; add the decoding times to ``reading``."""
    ground_truth = write_video(name, folder / f'{name}.mp4')
    capture = cv2.VideoCapture(str(folder / f'{name}.mp4'))
    running = {loop: (detector, make(), Sheet()) for loop, (detector, make) in loops.items()}
    for index, truth in enumerate(ground_truth):
        started = perf_counter()
        _, image = capture.read()
        if index >= WARM_UP:
            reading.append(1e3 * (perf_counter() - started))
        for detector, tracker, sheet in running.values():
            started = perf_counter()
            found = detector.detect(image, truth.stamp) if index % INTERVAL == 0 else None
            ids, boxes = tracker.step(image, truth.stamp, found)
            spent = 1e3 * (perf_counter() - started)
            sheet.add(truth, ids, boxes, image.shape[1::-1], spent)
    capture.release()
    for _, _, sheet in running.values():
        sheet.milliseconds = sheet.milliseconds[WARM_UP:]
    return {loop: sheet for loop, (_, _, sheet) in running.items()}


def write_video(name: str, path: Path) -> list:
    """Write a sequence as a video and return its ground truth."""
    script = load_script(name)
    video, ground_truth = VideoWriter(path, script.rate), []
    for frame, truth in Sequence(script, find_people()):
        video.write(frame.image)
        ground_truth.append(truth)
    video.close()
    return ground_truth


if __name__ == '__main__':
    main()
