# SPDX-License-Identifier: Apache-2.0
"""Success of the tracker on one person, on sequences in the layout of the OTB benchmark.

    python benchmarks/tracking/success.py OTB/Girl OTB/David:300 --detect-interval 5

A sequence is a folder with ``img/`` and ``groundtruth_rect.txt`` (x, y, width, height of the
target in each image, zeros where it is not labeled); ``:300`` names the first image that has
ground truth. Success is the share of images in which the box has an intersection over union above
a threshold, and its AUC the mean over the thresholds 0 to 1 (Wu et al., "Online Object Tracking: A
Benchmark", CVPR 2013). There, a tracker is given the target; here, it is the first track that
covers it. "one id" counts only boxes of that track, "any id" those of the track that fits best.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import cv2
import numpy as np

from face_tracking import boxes as box_math
from face_tracking.detector import create_detector
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.files import read_text
from face_tracking.frame import Frame
from face_tracking.tracking.tracker import FaceTracker

RATE = 30.0
THRESHOLDS = np.linspace(0, 1, 21)
_MAX_SIZE = 1 << 24  # bytes of a ground truth
_COVERED = 0.5


def main() -> int:
    """Run all sequences and print one row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('sequences', nargs='+', metavar='FOLDER[:FIRST]')
    parser.add_argument('--detect-interval', type=int, default=2)
    parser.add_argument('--model', help='a path or a name; default: the bundled one')
    options = parser.parse_args()
    print('| sequence | images | AUC, one id | AUC, any id | ids on the target |')
    print('| --- | ---: | ---: | ---: | ---: |')
    try:
        for text in options.sequences:
            folder, _, first = text.partition(':')
            paths, truth = read_sequence(Path(folder), int(first or 1))
            one, any_id, ids = overlaps(paths, truth, options.detect_interval, options.model)
            print(
                f'| {Path(folder).name} | {len(truth)} | {100 * auc(one):.1f} '
                f'| {100 * auc(any_id):.1f} | {ids} |'
            )
    except (UserError, ValueError) as error:
        print(f'success: {error}', file=sys.stderr)
        return 2
    return 0


def read_sequence(folder: Path, first: int) -> tuple[list[Path], np.ndarray]:
    """Return the images and the target's boxes ``[x1, y1, x2, y2]``, float32 (N, 4).

    :param first: number of the first image that has ground truth, from 1.
    :raises UserError: a file is missing or malformed.
    """
    text = read_text(folder / 'groundtruth_rect.txt', 'ground truth', _MAX_SIZE)
    rows = [re.split(r'[,\s]+', line.strip()) for line in text.splitlines() if line.strip()]
    try:
        truth = np.array(rows, np.float32).reshape(-1, 4)
    except ValueError:
        raise UserError(
            f'{folder}/groundtruth_rect.txt is malformed', 'each line is x, y, width, height'
        ) from None
    truth[:, 2:] += truth[:, :2]
    images = (folder / 'img').glob('*')
    paths = sorted(path for path in images if path.suffix in ('.jpg', '.png'))[first - 1 :]
    paths = paths[: len(truth)]
    if not paths:
        raise UserError(f'{folder}/img has no images from {first} on', 'check the folder')
    return paths, truth[: len(paths)]


def overlaps(
    paths: list[Path], truth: np.ndarray, interval: int, model: str | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Track a sequence; return the overlap of the target's track and of the best track.

    Both are float (M,), of the M images with ground truth. The third value
    is the number of ids that covered the target.
    """
    detector, tracker = create_detector(model, score_threshold=0.3), FaceTracker()
    own, best = np.zeros(len(paths)), np.zeros(len(paths))
    labeled = (truth[:, 2:] > truth[:, :2]).all(1)
    ids: list[int] = []
    for number, (path, box) in enumerate(zip(paths, truth, strict=True)):
        image, stamp = cv2.imread(str(path)), round(1e9 * number / RATE)
        if image is None:
            raise UserError(f'{path} cannot be decoded', 'copy it again')
        frame = Frame(image, stamp)
        if number % interval == 0:
            tracker.add_detections(detector.detect(frame, stamp))
        tracks: Tracks = tracker.step(frame, stamp)
        if not len(tracks) or not labeled[number]:
            continue
        overlap = box_math.iou(box[None], tracks.boxes)[0]
        best[number] = overlap.max()
        covering = int(tracks.ids[overlap.argmax()])
        if best[number] > _COVERED and covering not in ids:
            ids.append(covering)
        if ids:
            own[number] = overlap[tracks.ids == ids[0]].max(initial=0)
    detector.close()
    return own[labeled], best[labeled], len(ids)


def auc(overlap: np.ndarray) -> float:
    """Return the area under the success curve of overlaps (N,), 0 to 1."""
    return float((overlap[:, None] > THRESHOLDS).mean())


if __name__ == '__main__':
    sys.exit(main())
