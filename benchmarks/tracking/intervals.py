# SPDX-License-Identifier: Apache-2.0
"""Accuracy and cost at different detection intervals.

Each image is read and searched once; then the tracker runs at every interval on the same images
and detections, in turns. Latency is the time from an image to its tracks: the tracker's, and the
detector's in the images in which it runs. Processor time is that of both for a second of video,
with one thread. The last column is an estimate for a Raspberry Pi 5: the detections of a second of
video times the milliseconds of --pi-detection. "auto" is detect_interval 0 with --cpu-budget, each
detection costed at the same milliseconds.

    python benchmarks/tracking/intervals.py ../shared/videos     # folders of clips
    python benchmarks/tracking/intervals.py crossing party       # synthetic sequences
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from time import perf_counter, thread_time

import cv2
import numpy as np

from face_tracking.cli import arguments
from face_tracking.cli.evaluate import sequences_of
from face_tracking.detection.scheduler import Budget, DetectionScheduler
from face_tracking.detector import FaceDetector, create_detector
from face_tracking.evaluation.tracking_metrics import Sheet, score
from face_tracking.faces import Detections, Tracks
from face_tracking.frame import Frame
from face_tracking.tracking.tracker import FaceTracker

INTERVALS = (1, 2, 3, 5, 0)


@dataclass
class Cost:
    """What one interval took over all sequences.

    :ivar latencies: milliseconds from each image to its tracks.
    :ivar processor: milliseconds of processor time for each image.
    :ivar detections: number of images in which the detector ran.
    :ivar seconds: duration of the sequences.
    """

    latencies: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    detections: int = 0
    seconds: float = 0.0


class Run:
    """The tracker at one interval, over one sequence.

    :param interval: detect in every Nth image; 0 = as a ``DetectionScheduler`` decides.
    """

    def __init__(self, interval: int, cost: Cost, budget: float, detection: float):
        self.sheet = Sheet()
        self._interval, self._cost, self._detection = interval, cost, detection
        self._tracker = FaceTracker()
        self._scheduler = DetectionScheduler(Budget(budget))
        self._tracks: Tracks | None = None

    def step(self, frame: Frame, truth, found: Detections, spent: tuple[float, float]) -> None:
        """Process one image, for which detection would take ``spent`` ms of time and processor."""
        detect = self._due(frame)
        started, processor = perf_counter(), thread_time()
        if detect:
            self._tracker.add_detections(found)
        self._tracks = self._tracker.step(frame, frame.stamp)
        cost = self._cost
        cost.detections += detect
        cost.latencies.append(1e3 * (perf_counter() - started) + detect * spent[0])
        cost.processor.append(1e3 * (thread_time() - processor) + detect * spent[1])
        size = frame.width, frame.height
        self.sheet.add(truth, self._tracks.ids, self._tracks.boxes, size, cost.latencies[-1])

    def _due(self, frame: Frame) -> bool:
        if self._interval:
            return frame.sequence % self._interval == 0
        due = self._scheduler.should_detect(frame, frame.stamp, self._tracks)
        if due:
            self._scheduler.spent(1e-3 * self._detection)
        return due


def timed(detector: FaceDetector, frame: Frame) -> tuple[Detections, tuple[float, float]]:
    """Return the detections in an image, and the milliseconds of time and of processor."""
    started, processor = perf_counter(), thread_time()
    found = detector.detect(frame, frame.stamp)
    return found, (1e3 * (perf_counter() - started), 1e3 * (thread_time() - processor))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('sequences', nargs='*', help='as of "face_tracking evaluate"')
    parser.add_argument('--pi-detection', type=float, default=2.0, metavar='MS')
    parser.add_argument('--cpu-budget', type=float, default=0.5, help='of auto (%(default)s)')
    parser.add_argument('--input-size', type=arguments.size, metavar='WxH')
    arguments.add_detector_arguments(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    chosen = {**arguments.detector_options(args), 'threads': 1, 'score_threshold': 0.3}
    detector = create_detector(input_size=args.input_size, **chosen)
    costs = {interval: Cost() for interval in INTERVALS}
    sheets: dict[int, list[Sheet]] = {interval: [] for interval in INTERVALS}
    for _, images, rate in sequences_of(args.sequences):
        runs = {
            interval: Run(interval, costs[interval], args.cpu_budget, args.pi_detection)
            for interval in INTERVALS
        }
        for frame, truth in images:
            found, spent = timed(detector, frame)
            for run in runs.values():
                run.step(frame, truth, found, spent)
        for interval, run in runs.items():
            sheets[interval].append(run.sheet)
            costs[interval].seconds += len(run.sheet.milliseconds) / rate
    detector.close()
    print(
        'interval  HOTA  recall  false positives  initiation delay  latency ms  95th  CPU ms/s  '
        'Pi 5 ms/s'
    )
    for interval in INTERVALS:
        row, cost = score(sheets[interval]), costs[interval]
        print(
            f'{interval or "auto":>8}  {100 * row.hota:4.1f}  {100 * row.recall:6.1f}  '
            f'{row.false_positives:15d}  {row.initiation_delay:16.1f}  '
            f'{np.median(cost.latencies):10.2f}  {np.percentile(cost.latencies, 95):4.1f}  '
            f'{sum(cost.processor) / cost.seconds:8.0f}  '
            f'{cost.detections * args.pi_detection / cost.seconds:9.0f}'
        )


if __name__ == '__main__':
    main()
