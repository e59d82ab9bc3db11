# SPDX-License-Identifier: Apache-2.0
"""Processor time of tracking 5 and 100 faces, beside that of baselines.

All trackers get the same images and detections, in turns, image by image, in one process. The
milliseconds of processor time per image are printed as means, medians and fastest tenths (which
other load disturbs least). ``motion`` is the visual tracker with the camera's motion,
``appearance`` the descriptors, ``association`` the rest; ``besides`` is the sum of the last two,
``all`` that of everything. The camera stands still, except in the last block, where it sways.

    python benchmarks/tracking/cost.py
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import cv2
import numpy as np
from skimage import data

from face_tracking.evaluation.baselines import LibraryTracker, OwnTracker
from face_tracking.faces import Detections
from face_tracking.tracking.tracker_options import TrackerOptions

INTERVAL = 33_333_333
WIDTH, HEIGHT = 640, 480
WARM_UP = 30


class Crowd:
    """Rows of faces that sway from side to side before a room.

    :param sway: pixels by which the camera sways to either side.
    """

    def __init__(self, count: int, sway: float = 0.0):
        self._sway = sway
        columns = int(np.ceil(np.sqrt(count * WIDTH / HEIGHT)))
        rows = -(-count // columns)
        x, y = np.meshgrid(
            (np.arange(columns) + 0.5) * WIDTH / columns, (np.arange(rows) + 0.5) * HEIGHT / rows
        )
        self._centers = np.stack([x.ravel(), y.ravel()], axis=1)[:count]
        height = min(0.8 * HEIGHT / rows, 0.85 * WIDTH / columns, 140)
        self._size = np.array([0.8 * height, height])
        self._rng = np.random.default_rng(0)
        room = self._rng.integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        self._room = cv2.resize(room, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        self._face = cv2.resize(
            data.astronaut()[63:176, 178:268, ::-1], tuple(int(side) for side in self._size)
        )

    def render(self, index: int) -> np.ndarray:
        """Return image ``index``, uint8 BGR."""
        image = np.roll(self._room, round(self._turned(index)), axis=1)
        height, width = self._face.shape[:2]
        corners = (self._at(index) - self._size / 2).astype(int)
        for x, y in np.clip(corners, 0, [WIDTH - width, HEIGHT - height]):
            image[y : y + height, x : x + width] = self._face
        return image

    def detections(self, index: int) -> Detections:
        """Return what a detector would find in image ``index``."""
        centers = self._at(index) + self._rng.normal(0, 0.5, self._centers.shape)
        boxes = np.concatenate([centers - self._size / 2, centers + self._size / 2], axis=1)
        count = len(boxes)
        return Detections(
            index * INTERVAL,
            boxes.astype(np.float32),
            np.full(count, 0.9, np.float32),
            np.full((count, 5, 2), np.nan, np.float32),
        )

    def _at(self, index: int) -> np.ndarray:
        return self._centers + np.array([5 * np.sin(index / 10) + self._turned(index), 0.0])

    def _turned(self, index: int) -> float:
        return self._sway * np.sin(index / 12)


def measure(count: int, interval: int, images: int, clock, sway: float = 0.0) -> None:
    """Print a block of the table."""
    crowd = Crowd(count, sway)
    own = OwnTracker(TrackerOptions(max_tracks=200))
    baselines = {'sort': LibraryTracker('sort'), 'bytetrack': LibraryTracker('bytetrack')}
    spent = defaultdict(list)
    for index in range(images):
        image = crowd.render(index)
        found = crowd.detections(index) if index % interval == 0 else None
        own.step(image, index * INTERVAL, found)
        timings = own.tracker.timings
        spent['face_tracking: motion'].append(timings['motion'])
        spent['face_tracking: appearance'].append(timings['appearance'])
        spent['face_tracking: association'].append(timings['association'])
        spent['face_tracking: besides'].append(timings['appearance'] + timings['association'])
        spent['face_tracking: all'].append(timings['total'])
        for name, baseline in baselines.items():
            started = clock()
            baseline.step(image, index * INTERVAL, found)
            spent[name].append(1e3 * (clock() - started))
    print(
        f'{count} faces, detections every {interval}. image'
        f'{", the camera sways" if sway else ""} (ms of CPU per image)'
    )
    besides, everything = (
        np.mean(spent[f'face_tracking: {name}'][WARM_UP:]) for name in ('besides', 'all')
    )
    for name, all_times in spent.items():
        times = all_times[WARM_UP:]
        ratio = (
            f'  face_tracking takes {everything / np.mean(times):.2f} times that, besides '
            f'{besides / np.mean(times):.2f}'
        ) * (name in baselines)
        print(
            f'  {name:26} mean {np.mean(times):7.3f}  median {np.median(times):7.3f}  '
            f'fastest tenth {np.percentile(times, 10):7.3f}{ratio}'
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=300, help='per block (%(default)s)')
    parser.add_argument('--faces', type=int, nargs='+', default=[5, 100])
    parser.add_argument('--intervals', type=int, nargs='+', default=[1, 2, 5])
    args = parser.parse_args()
    cv2.setNumThreads(1)
    time.perf_counter = time.thread_time  # the tracker's own timings, too, in CPU time
    for count in args.faces:
        for interval in args.intervals:
            measure(count, interval, args.images, time.thread_time)
    measure(5, 5, args.images, time.thread_time, sway=40.0)


if __name__ == '__main__':
    main()
