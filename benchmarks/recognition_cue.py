# SPDX-License-Identifier: Apache-2.0
"""Ids over absences on real clips: without a cue, by the appearance descriptor, by an embedding.

    python -m benchmarks.recognition_cue ../shared/videos/happy_a ../shared/videos/vlog
    python -m benchmarks.recognition_cue --join ../shared/videos

With ``--join``, every two clips become one in which their people leave and come back
(`benchmarks.joined_clips`), since few real clips show that, and the sums are printed. A clip is a
folder with ground truth (`face_tracking.evaluation.clips`). An absence is a gap of at least half a
second in the ground truth of a person who is labeled before and after it, or a person whose track
was lost for that long although labeled. After it, the id is kept if the track that
first covers the person again has the id of the track that covered the person last. People are
merged if one id covers each of two people in at least five images. The trackers get the same
detections and take turns image by image.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.joined_clips import joined
from face_tracking import boxes as box_arithmetic
from face_tracking.detector import FaceDetector, create_detector
from face_tracking.errors import UserError
from face_tracking.evaluation.baselines import OwnTracker
from face_tracking.evaluation.clips import Clip, find_clips
from face_tracking.evaluation.runner import follow, watch
from face_tracking.frame import Frame
from face_tracking.recognition.cue import embedding_cues
from face_tracking.simulation.rendering import GroundTruth
from face_tracking.tracking import appearance
from face_tracking.tracking.association import assign
from face_tracking.tracking.cue import Cue
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions

MIN_IOU = 0.5
ABSENCE = 0.5
"""Seconds without a track after which a person was absent."""
MERGED = 5
"""Images in which one id covers a second person before the two count as merged."""


class CueTracker(OwnTracker):
    """This package's tracker with given cues."""

    def __init__(self, cues: Sequence[Cue]):
        self.tracker = FaceTracker(TrackerOptions(low_score_threshold=0.3), cues)


def cues_by_name(networks: list[str]) -> dict[str, tuple[Cue, ...]]:
    """Return the cues that are compared: none, the descriptor, and it with each network."""
    return {
        'none': (),
        'descriptor': (appearance.CUE,),
        **{name: (appearance.CUE, *embedding_cues(name)) for name in networks},
    }


@dataclass
class Ids:
    """Which ids covered which people of a clip.

    :ivar images: by id and person, in how many images.
    :ivar last: by person, the last id and the number of the image.
    """

    absences: int = 0
    kept: int = 0
    last: dict[int, tuple[int, int]] = field(default_factory=dict)
    images: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, number: int, person: int, track: int, gap: int) -> None:
        """Record that a track covers a person in an image."""
        before = self.last.get(person)
        if before is not None and number - before[1] > gap:
            self.absences += 1
            self.kept += before[0] == track
        self.last[person] = (track, number)
        self.images[track][person] += 1

    @property
    def merged(self) -> int:
        """How many ids covered more than one person."""
        return sum(
            sum(count >= MERGED for count in people.values()) > 1
            for people in self.images.values()
        )


def score(
    sequence: Iterable[tuple[Frame, GroundTruth]],
    rate: float,
    cues: dict[str, tuple[Cue, ...]],
    interval: int,
    detector: FaceDetector,
) -> dict[str, Ids]:
    """Return what became of the ids of a tracker with each of the cues.

    :param rate: images per second.
    :param interval: of detection, in images.
    """
    watched = watch(sequence, detector, interval)
    truths = [truth for _, truth, _ in watched]
    found = {name: Ids() for name in cues}
    numbers = Counter()
    gap = round(ABSENCE * rate)

    def take(name, _frame, ids, boxes):
        number = numbers[name]
        numbers[name] += 1
        truth = truths[number]
        counted = truth.visibility > 0
        people, places = truth.ids[counted], truth.boxes[counted]
        if not len(people) or not len(ids):
            return
        overlap = box_arithmetic.iou(places, np.asarray(boxes, np.float32))
        for row, column in zip(*assign(1 - overlap, overlap >= MIN_IOU), strict=True):
            found[name].add(number, int(people[row]), int(ids[column]), gap)

    makers = {name: lambda chosen=chosen: CueTracker(chosen) for name, chosen in cues.items()}
    follow(watched, interval, makers, [take])
    return found


def main() -> int:
    """Score and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('clips', nargs='+', type=Path)
    parser.add_argument('--networks', nargs='+', default=['face_embedding'])
    parser.add_argument('--detect-interval', type=int, default=5)
    parser.add_argument('--join', action='store_true', help='join every two of the clips')
    args = parser.parse_args()
    detector = create_detector(score_threshold=0.3)
    print('| clip | cues | absences | id kept | ids on two people |')
    print('| --- | --- | ---: | ---: | ---: |')
    try:
        cues = cues_by_name(args.networks)
        clips = [Clip(folder) for path in args.clips for folder in find_clips(path)]
        if args.join:
            for elsewhere in (False, True):
                found = [
                    score(sequence, rate, cues, args.detect_interval, detector)
                    for rate, sequence in joined(clips, elsewhere)
                ]
                where = 'return elsewhere' if elsewhere else 'return as they left'
                print_rows(f'{len(found)} joined clips, {where}', found)
        else:
            for clip in clips:
                print_rows(
                    clip.name, [score(clip, clip.rate, cues, args.detect_interval, detector)]
                )
    except UserError as error:
        print(f'benchmarks.recognition_cue: {error}', file=sys.stderr)
        return 2
    finally:
        detector.close()
    return 0


def print_rows(name: str, found: list[dict[str, Ids]]) -> None:
    """Print the sums over some clips, a row for each choice of cues."""
    for cue in found[0]:
        ids = [each[cue] for each in found]
        print(
            f'| {name} | {cue} | {sum(each.absences for each in ids)} | '
            f'{sum(each.kept for each in ids)} | {sum(each.merged for each in ids)} |',
            flush=True,
        )


if __name__ == '__main__':
    sys.exit(main())
