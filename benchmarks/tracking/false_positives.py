# SPDX-License-Identifier: Apache-2.0
"""False positives beside those of an earlier version of the tracker, at the same recall.

The earlier version is checked out of git into a temporary worktree and runs in a process of its
own, on the same images and the same detections. A false positive is a box that covers no
face (IoU 0.5).
The present tracker runs with several values of ``score_threshold``; of those that reach the recall
of the earlier version, the one with the fewest false positives is compared.

    python benchmarks/tracking/false_positives.py ../shared/videos   # folders of clips
    python benchmarks/tracking/false_positives.py stroll party       # synthetic sequences
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2

from face_tracking.cli.evaluate import sequences_of
from face_tracking.detector import create_detector
from face_tracking.evaluation.baselines import EvaluatedTracker, OwnTracker
from face_tracking.evaluation.runner import follow, watch
from face_tracking.evaluation.tracking_metrics import score
from face_tracking.tracking.tracker_options import TrackerOptions

FIRST_VERSION = 'f365eaf'
"""The last commit of the first version, before the modules were restructured."""

THRESHOLDS = (0.6, 0.65, 0.7, 0.75)
_ROOT = Path(__file__).resolve().parents[2]

_SERVER = """
import pickle, sys
from face_tracking.faces import Detections
from face_tracking.tracking.tracker import FaceTracker
source, sink, tracker = sys.stdin.buffer, sys.stdout.buffer, FaceTracker()
while True:
    try:
        image, stamp, found = pickle.load(source)
    except EOFError:
        break
    if found is not None:
        tracker.add_detections(Detections(stamp, *found))
    tracks = tracker.step(image, stamp)
    pickle.dump((tracks.ids, tracks.boxes), sink)
    sink.flush()
"""


class EarlierTracker(EvaluatedTracker):
    """The tracker of an earlier version, in a process that ends with this object.

    :param folder: a checkout of that version.
    """

    def __init__(self, folder: Path):
        self._process = subprocess.Popen(
            [sys.executable, '-c', _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, 'PYTHONPATH': f'{folder}:{os.environ.get("PYTHONPATH", "")}'},
            cwd=folder,
        )

    def step(self, image, stamp, found):
        """Send the image and the detections; return the ids and the boxes."""
        arrays = None if found is None else (found.boxes, found.scores, found.landmarks)
        pickle.dump((image, stamp, arrays), self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary worktree."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'earlier'
        git = ['git', '-C', str(_ROOT), 'worktree']
        subprocess.run([*git, 'add', '--quiet', '--detach', str(path), commit], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, 'remove', '--force', str(path)], check=True)


def main() -> None:
    """Run both versions and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('sequences', nargs='*', help='as of "face_tracking evaluate"')
    parser.add_argument('--commit', default=FIRST_VERSION, help='the earlier version')
    parser.add_argument('--detect-interval', type=int, default=1, metavar='N')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    detector = create_detector(score_threshold=0.3, threads=1)
    makers = {
        threshold: partial(OwnTracker, TrackerOptions(score_threshold=threshold))
        for threshold in THRESHOLDS
    }
    sheets: dict = {}
    with checkout(args.commit) as folder:
        for _, images, _ in sequences_of(args.sequences):
            watched = watch(images, detector)
            trackers = {'earlier': partial(EarlierTracker, folder), **makers}
            for name, sheet in follow(watched, args.detect_interval, trackers).items():
                sheets.setdefault(name, []).append(sheet)
    detector.close()
    report({name: score(rows) for name, rows in sheets.items()}, args.commit)


def report(results: dict, commit: str) -> None:
    """Print a line for each tracker, and the false positives at the same recall."""
    print(
        'tracker                       recall  false positives  HOTA  switches  initiation delay'
    )
    for name, row in results.items():
        label = f'version {commit}' if name == 'earlier' else f'face_tracking, threshold {name}'
        print(
            f'{label:29} {100 * row.recall:6.1f}  {row.false_positives:15d}  '
            f'{100 * row.hota:4.1f}  {row.switches:8d}  {row.initiation_delay:16.1f}'
        )
    before = results.pop('earlier')
    enough = {name: row for name, row in results.items() if row.recall >= before.recall}
    if not enough:
        print('no threshold reaches the recall of the earlier version')
        return
    name, best = min(enough.items(), key=lambda item: item[1].false_positives)
    print(
        f'at a recall of at least {100 * before.recall:.1f}: {best.false_positives} false '
        f'positives (threshold {name}) instead of {before.false_positives}: '
        f'{best.false_positives / max(before.false_positives, 1):.2f} of them'
    )


if __name__ == '__main__':
    main()
