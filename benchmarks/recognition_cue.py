# SPDX-License-Identifier: Apache-2.0
"""Ids over absences on real clips: the appearance descriptor alone, and with an embedding cue.

    python -m benchmarks.recognition_cue ../shared/videos/happy_a ../shared/videos/vlog

A clip is a folder with ground truth (`face_tracking.evaluation.clips`). An absence is a gap of at
least half a second in the ground truth of a person who is labeled before and after it, or a person
whose track was lost for that long although labeled. After it, the id is kept if the track that
first covers the person again has the id of the track that covered the person last. People are
merged if one id covers each of two people in at least five images. The trackers get the same
detections and take turns image by image.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.detector import create_detector
from face_tracking.errors import UserError
from face_tracking.evaluation.baselines import OwnTracker
from face_tracking.evaluation.clips import Clip, find_clips
from face_tracking.evaluation.runner import follow, watch
from face_tracking.recognition.cue import embedding_cues
from face_tracking.tracking import appearance
from face_tracking.tracking.association import assign
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions

MIN_IOU = 0.5
ABSENCE = 0.5
"""Seconds without a track after which a person was absent."""
MERGED = 5
"""Images in which one id covers a second person before the two count as merged."""


class CueTracker(OwnTracker):
    """This package's tracker with an embedding network as a second cue."""

    def __init__(self, network: str):
        self.tracker = FaceTracker(
            TrackerOptions(low_score_threshold=0.3),
            (appearance.CUE, *embedding_cues(network or None)),
        )


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


def score_clip(clip: Clip, networks: list[str], interval: int, detector) -> dict[str, Ids]:
    """Return what became of the ids of each tracker, by network ('' is none)."""
    watched = watch(clip, detector, interval)
    truths = [truth for _, truth, _ in watched]
    found = {network: Ids() for network in networks}
    numbers = Counter()
    gap = round(ABSENCE * clip.rate)

    def take(network, _frame, ids, boxes):
        number = numbers[network]
        numbers[network] += 1
        truth = truths[number]
        counted = truth.visibility > 0
        people, places = truth.ids[counted], truth.boxes[counted]
        if not len(people) or not len(ids):
            return
        overlap = box_arithmetic.iou(places, np.asarray(boxes, np.float32))
        for row, column in zip(*assign(1 - overlap, overlap >= MIN_IOU), strict=True):
            found[network].add(number, int(people[row]), int(ids[column]), gap)

    makers = {network: lambda network=network: CueTracker(network) for network in networks}
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
    args = parser.parse_args()
    detector = create_detector(score_threshold=0.3)
    networks = ['', *args.networks]
    print('| clip | cue | absences | id kept | ids on two people |')
    print('| --- | --- | ---: | ---: | ---: |')
    try:
        for path in args.clips:
            for folder in find_clips(path):
                clip = Clip(folder)
                rows = score_clip(clip, networks, args.detect_interval, detector)
                for network, ids in rows.items():
                    print(
                        f'| {clip.name} | {network or "descriptor alone"} | {ids.absences} | '
                        f'{ids.kept} | {ids.merged} |',
                        flush=True,
                    )
    except UserError as error:
        print(f'benchmarks.recognition_cue: {error}', file=sys.stderr)
        return 2
    finally:
        detector.close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
