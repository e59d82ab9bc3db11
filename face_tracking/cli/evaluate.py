# SPDX-License-Identifier: Apache-2.0
"""Score the tracker and baselines on sequences with ground truth (HOTA, IDF1, MOTA).

SEQUENCE is the name of a synthetic sequence in config/sequences, a YAML file like these, a folder
of a video clip (clip.mp4 or img/ with gt.txt in the MOT challenge's format), or a folder of such
folders. Each image is rendered or read, and searched by the detector, once; then all trackers get
the same images and detections, in turns, image by image. The table shows HOTA, IDF1 and MOTA in
per cent, identity switches, fragmentations, recall (the share of faces that a track covers),
false positives (boxes on no face), the track initiation delay (images of a person before a track
covers it, mean over all people) and milliseconds per image.

Trackers: face_tracking (this package, with the default options), face_tracking-flow, -kcf, -csrt,
-mosse and -none (by the motion estimator), sort, bytetrack, ocsort, botsort and cbiou (package
trackers), article (detect, then KCF until the next detection, without a motion model), and ideal
(the detections under the ids of the ground truth, the limit of all association; with
--detect-interval 1).

With --cases N, also in how many of N cases an id survives one second of full occlusion, and an
absence of three seconds of one of two people.

The options of the tracker were chosen on the sequences of config/sequences. With --held-out, those
of config/sequences/held_out are used instead, on which nothing was tuned, with people who are in
none of the others (where there are enough photographs), and with other cases.

The people are those of the photographs in ../shared/faces/dev where that folder exists, otherwise
the two portraits of scikit-image and matplotlib.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from face_tracking.cli import arguments, evaluate_recognition
from face_tracking.files import expand

if TYPE_CHECKING:
    from face_tracking.arrays import FloatArray, IntArray
    from face_tracking.detector import FaceDetector
    from face_tracking.evaluation.baselines import EvaluatedTracker
    from face_tracking.evaluation.failures import FailureSheets
    from face_tracking.evaluation.id_survival import Outcome
    from face_tracking.evaluation.plots import Table
    from face_tracking.evaluation.runner import Makers, Watched
    from face_tracking.evaluation.tracking_metrics import Scores, Sheet
    from face_tracking.frame import Frame
    from face_tracking.simulation.rendering import GroundTruth
    from face_tracking.simulation.scene import Cutout

OWN_TRACKER = 'face_tracking'
DEFAULT_TRACKERS = (OWN_TRACKER, 'sort', 'bytetrack', 'article')
FURTHER_TRACKERS = ('ocsort', 'botsort', 'cbiou', 'ideal')
_HELD_OUT_SEED = 1000
MOTION_ESTIMATORS = ('flow', 'kcf', 'csrt', 'mosse', 'none')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        'sequences',
        nargs='*',
        metavar='SEQUENCE',
        help='names in config/sequences, YAML files, or folders of clips (default: all '
        'sequences); or the word recognition, to score face recognition on Labeled Faces in the '
        'Wild instead',
    )
    parser.add_argument(
        '--trackers',
        nargs='+',
        default=DEFAULT_TRACKERS,
        metavar='NAME',
        choices=(
            *DEFAULT_TRACKERS,
            *FURTHER_TRACKERS,
            *(f'{OWN_TRACKER}-{name}' for name in MOTION_ESTIMATORS),
        ),
        help='the trackers to score (default: %(default)s)',
    )
    parser.add_argument(
        '--detect-interval',
        nargs='+',
        type=arguments.positive,
        default=[5, 1],
        metavar='N',
        help='detect in every Nth image; a table for each (default: 5 and 1)',
    )
    parser.add_argument(
        '--low-score-threshold',
        type=arguments.fraction,
        default=0.3,
        metavar='X',
        help='minimum score of the detections that the trackers get; --score-threshold is the '
        'minimum to spawn a track (default: %(default)s)',
    )
    parser.add_argument(
        '--held-out',
        action='store_true',
        help='use the sequences, people and cases on which nothing was tuned',
    )
    parser.add_argument(
        '--cases',
        type=arguments.count,
        default=0,
        metavar='N',
        help='also evaluate N occlusions and N absences',
    )
    parser.add_argument('--plot', metavar='FILE', help='draw the scores (.png, .svg, .pdf)')
    parser.add_argument('--json', metavar='FILE', help='write the scores as JSON')
    parser.add_argument(
        '--mot',
        metavar='FOLDER',
        help='write ground truth and tracks in the format of the MOT challenge, and the images '
        'of synthetic sequences as videos',
    )
    parser.add_argument(
        '--failures',
        metavar='FOLDER',
        help='draw contact sheets of the failures of each tracker: faces missed, ids stolen, '
        'false positives (tracks without a face)',
    )
    parser.add_argument(
        '--input-size',
        type=arguments.size,
        metavar='WxH',
        help="size of the network's input (default: that of the model)",
    )
    arguments.add_detector_arguments(parser)
    evaluate_recognition.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score the trackers, print the tables and write the files."""
    if args.sequences == ['recognition']:
        return evaluate_recognition.run(args)
    from face_tracking.detector import create_detector
    from face_tracking.evaluation.tracking_metrics import metrics_library

    metrics_library()  # reports at once that it is missing
    chosen = arguments.detector_options(args)
    chosen['score_threshold'] = min(args.score_threshold, args.low_score_threshold)
    detector = create_detector(input_size=args.input_size, **chosen)
    try:
        tables = _score_sequences(args, detector)
        for interval, table in tables.items():
            _print(interval, table)
        if args.cases:
            for line in _try_cases(args, detector):
                print(line)
    finally:
        detector.close()
    if args.json:
        from face_tracking.cli.output import write_text

        write_text(args.json, _as_json(tables))
    if args.plot:
        from face_tracking.evaluation.plots import draw

        draw(tables, args.plot)
    return 0


def _makers(args: argparse.Namespace, watched: Watched) -> Makers:
    """Return a function for each tracker that makes a new one for the sequence ``watched``."""
    from face_tracking.evaluation.baselines import (
        LIBRARY_TRACKERS,
        DetectAndTrack,
        IdealAssociation,
        LibraryTracker,
        OwnTracker,
    )
    from face_tracking.tracking.tracker_options import TrackerOptions

    def make(name: str) -> Callable[[], EvaluatedTracker]:
        if name == 'article':
            return lambda: DetectAndTrack(args.score_threshold)
        if name == 'ideal':
            return lambda: IdealAssociation(truth for _, truth, _ in watched)
        if name in LIBRARY_TRACKERS:
            return lambda: LibraryTracker(name, args.score_threshold)
        chosen = TrackerOptions(
            score_threshold=args.score_threshold, low_score_threshold=args.low_score_threshold
        )
        if name != OWN_TRACKER:
            chosen = replace(chosen, visual_tracker=name.removeprefix(f'{OWN_TRACKER}-'))
        return lambda: OwnTracker(chosen)

    return {name: make(name) for name in args.trackers}


def sequences_of(
    names: Iterable[str], held_out: bool = False
) -> Iterator[tuple[str, Iterable[tuple[Frame, GroundTruth]], float]]:
    """Yield the name, the images with ground truth and the rate of each sequence or clip.

    :param names: as on the command line; if there are none, all synthetic sequences.
    """
    from face_tracking.evaluation.clips import Clip, find_clips
    from face_tracking.evaluation.sequences import Sequence, load_script, sequence_names

    people = None
    for name in names or sequence_names(held_out):
        if expand(name).is_dir():
            for folder in find_clips(expand(name)):
                clip = Clip(folder)
                yield clip.name, clip, clip.rate
        else:
            script = load_script(name, held_out)
            people = people or _people(held_out)
            yield script.name, Sequence(script, people), script.rate


def _people(held_out: bool) -> tuple[Cutout, ...]:
    from face_tracking.evaluation.actors import find_people
    from face_tracking.evaluation.sequences import held_out_people

    return held_out_people(find_people()) if held_out else find_people()


def _score_sequences(
    args: argparse.Namespace, detector: FaceDetector
) -> dict[int, dict[str, dict[str, Scores]]]:
    """Return ``{interval: {tracker: {sequence or "all": Scores}}}``."""
    from face_tracking.cli.output import progress
    from face_tracking.evaluation.runner import follow, watch
    from face_tracking.evaluation.tracking_metrics import score

    sheets: dict[tuple[int, str], dict[str, Sheet]] = {
        (interval, name): {} for interval in args.detect_interval for name in args.trackers
    }
    with progress(sequences_of(args.sequences, args.held_out), unit='sequence') as sequences:
        for name, images, rate in sequences:
            watched = watch(images, detector)
            makers = _makers(args, watched)
            for interval in args.detect_interval:
                listeners = _listeners(args, name, interval, watched, rate)
                found = follow(watched, interval, makers, [each.add for each in listeners])
                for tracker, sheet in found.items():
                    sheets[interval, tracker][name] = sheet
                for each in listeners:
                    each.write()
    return {
        interval: {
            name: {
                **{key: score([sheet]) for key, sheet in sheets[interval, name].items()},
                'all': score(list(sheets[interval, name].values())),
            }
            for name in args.trackers
        }
        for interval in args.detect_interval
    }


def _listeners(
    args: argparse.Namespace, name: str, interval: int, watched: Watched, rate: float
) -> list[_MotFiles | _Failures]:
    listeners: list[_MotFiles | _Failures] = []
    if args.mot:
        listeners.append(_MotFiles(Path(args.mot) / name, interval, watched, rate))
    if args.failures:
        listeners.append(_Failures(Path(args.failures), name, interval, watched))
    return listeners


class _MotFiles:
    """Writes the tracks of one sequence, and its ground truth and video."""

    def __init__(self, folder: Path, interval: int, watched: Watched, rate: float):
        self._folder, self._interval, self._watched, self._rate = folder, interval, watched, rate
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, frame: Frame, ids: IntArray, boxes: FloatArray) -> None:
        from face_tracking.evaluation.mot_format import track_lines

        self._lines.setdefault(name, []).extend(track_lines(frame.sequence + 1, ids, boxes))

    def write(self) -> None:
        from face_tracking.cli.video_writer import VideoWriter
        from face_tracking.evaluation import mot_format
        from face_tracking.evaluation.tracking_metrics import MIN_VISIBILITY

        for name, lines in self._lines.items():
            mot_format.write(self._folder / f'{name}-every-{self._interval}.txt', lines)
        mot_format.write(
            self._folder / 'gt' / 'gt.txt',
            (
                line
                for frame, truth, _ in self._watched
                for line in mot_format.truth_lines(frame.sequence + 1, truth, MIN_VISIBILITY)
            ),
        )
        video = VideoWriter(self._folder / f'{self._folder.name}.mp4', self._rate)
        for frame, _, _ in self._watched:
            video.write(frame.image)
        video.close()


class _Failures:
    """Draws the failures of each tracker on one sequence."""

    def __init__(self, folder: Path, name: str, interval: int, watched: Watched):
        self._folder, self._prefix = folder, f'{name}-every-{interval}'
        self._truths = {frame.sequence: truth for frame, truth, _ in watched}
        self._sheets: dict[str, FailureSheets] = {}

    def add(self, name: str, frame: Frame, ids: IntArray, boxes: FloatArray) -> None:
        from face_tracking.evaluation.failures import FailureSheets

        sheets = self._sheets.setdefault(name, FailureSheets())
        truth = self._truths[frame.sequence]
        sheets.add(frame.sequence, frame.image, truth, ids, boxes)

    def write(self) -> None:
        for name, sheets in self._sheets.items():
            sheets.write(self._folder, f'{self._prefix}-{name}')
            counts = ', '.join(f'{count} {kind}' for kind, count in sheets.counts.items())
            print(f'{self._prefix} {name}: {counts}')


def _try_cases(args: argparse.Namespace, detector: FaceDetector) -> Iterator[str]:
    """Yield a line for each tracker and kind of case."""
    from face_tracking.cli.output import progress
    from face_tracking.evaluation.id_survival import absence, judge, occlusion
    from face_tracking.evaluation.runner import every, watch
    from face_tracking.evaluation.sequences import Sequence

    interval, people = args.detect_interval[0], _people(args.held_out)
    seeds = (
        range(_HELD_OUT_SEED, _HELD_OUT_SEED + args.cases) if args.held_out else range(args.cases)
    )
    kinds = {'full occlusion': occlusion, 'absence': absence}
    for kind, script_of in kinds.items():
        outcomes: dict[str, list[Outcome]] = {name: [] for name in args.trackers}
        for seed in progress(seeds, desc=kind, unit='case'):
            watched = watch(Sequence(script_of(seed), people), detector, interval)
            for name, make in _makers(args, watched).items():
                outcomes[name].append(
                    judge(
                        [(frame, truth) for frame, truth, _ in watched],
                        every(interval, watched),
                        make(),
                    )
                )
        for name, rows in outcomes.items():
            hidden = sorted(row.hidden for row in rows)
            yield (
                f'{kind} of {hidden[0]:.1f} to {hidden[-1]:.1f} s: {name} keeps the id in '
                f'{sum(row.survived for row in rows)} of {len(rows)}'
            )


def _print(interval: int, table: Table) -> None:
    width = max(len(name) for name in table)
    longest = max(len(name) for rows in table.values() for name in rows)
    print(
        f'\ndetection in every {interval}. image' if interval > 1 else '\ndetection in every image'
    )
    print(
        f'{"sequence":{longest}}  {"tracker":{width}}  HOTA  IDF1  MOTA  switches  '
        'fragmentations  recall  false positives  initiation delay  ms/image'
    )
    for sequence in next(iter(table.values())):
        for name, rows in table.items():
            row = rows[sequence]
            print(
                f'{sequence:{longest}}  {name:{width}}  {100 * row.hota:4.1f}  '
                f'{100 * row.idf1:4.1f}  {100 * row.mota:4.1f}  {row.switches:8d}  '
                f'{row.fragmentations:14d}  {100 * row.recall:6.1f}  '
                f'{row.false_positives:15d}  {row.initiation_delay:16.1f}  {row.milliseconds:8.2f}'
            )


def _as_json(tables: Mapping[int, Table]) -> str:
    import json
    from dataclasses import asdict

    return (
        json.dumps(
            {
                str(interval): {
                    name: {key: asdict(row) for key, row in rows.items()}
                    for name, rows in table.items()
                }
                for interval, table in tables.items()
            },
            indent=1,
        )
        + '\n'
    )
