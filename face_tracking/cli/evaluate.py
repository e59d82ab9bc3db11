# SPDX-License-Identifier: Apache-2.0
"""Score the tracker, and others beside it, on sequences with truth.

Every sequence is drawn, and every image searched by the detector, once; then all followers get
the same images and detections, in turns, image by image. The table tells HOTA, IDF1 and
MOTA in per cent, identity switches, fragmentations and milliseconds per image.

Followers: ours (the default options), ours-flow, ours-kcf, ours-csrt, ours-mosse and ours-none
(by what carries a face between detections), sort and bytetrack (package trackers), and article
(detect, then KCF until the next detection, no motion model).

With --cases N it also tells how many ids survive a second of full occlusion, and an absence of
three seconds of one of two people, in N cases each.

The tracker's thresholds were chosen on the sequences of config/sequences. With --held-out it
scores those of config/sequences/held_out instead, on which nothing was ever tuned, played by
people who act in none of the others (where there are enough photographs); its cases are others.

The photographs of ../shared/faces/dev act where that folder is present, otherwise the two
portraits that come with scikit-image and matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from face_tracking.cli import arguments, evaluate_recognition

FOLLOWERS = ('ours', 'sort', 'bytetrack', 'article')
_HELD_OUT_SEED = 1000
CARRIERS = ('flow', 'kcf', 'csrt', 'mosse', 'none')


def add_arguments(parser: argparse.ArgumentParser):
    """Add this command's arguments."""
    parser.add_argument(
        'sequences',
        nargs='*',
        metavar='SEQUENCE',
        help='names in config/sequences, or YAML files (default: all of them); or the word '
        'recognition, to score face recognition on Labeled Faces in the Wild instead',
    )
    parser.add_argument(
        '--followers',
        nargs='+',
        default=FOLLOWERS,
        metavar='NAME',
        choices=(*FOLLOWERS, *(f'ours-{name}' for name in CARRIERS)),
        help='whom to score (default: %(default)s)',
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
        help='let the followers see faces from this score on; --score-threshold '
        'is what may begin a track (default: %(default)s)',
    )
    parser.add_argument(
        '--held-out',
        action='store_true',
        help='take the sequences, people and cases on which nothing was tuned',
    )
    parser.add_argument(
        '--cases',
        type=arguments.count,
        default=0,
        metavar='N',
        help='also try N occlusions and N absences',
    )
    parser.add_argument('--plot', metavar='FILE', help='draw the scores (.png, .svg, .pdf)')
    parser.add_argument('--json', metavar='FILE', help='write the scores as JSON')
    parser.add_argument(
        '--mot',
        metavar='FOLDER',
        help='write the truth and what was followed '
        'as MOT challenge text, and the images as videos',
    )
    arguments.add_detector_arguments(parser)
    evaluate_recognition.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score everybody, print the tables, write what is asked for."""
    if args.sequences == ['recognition']:
        return evaluate_recognition.run(args)
    from face_tracking.detector import create_detector
    from face_tracking.evaluation.tracking_metrics import metrics_library

    metrics_library()  # says at once when it is missing
    chosen = arguments.detector_options(args)
    chosen['score_threshold'] = min(args.score_threshold, args.low_score_threshold)
    detector = create_detector(**chosen)
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


def _makers(args):
    from face_tracking.evaluation.baselines import (
        DetectAndTrackFollower,
        FaceTrackerFollower,
        LibraryFollower,
    )
    from face_tracking.tracking.tracker_options import TrackerOptions

    def make(name):
        if name == 'article':
            return lambda: DetectAndTrackFollower(args.score_threshold)
        if name in ('sort', 'bytetrack'):
            return lambda: LibraryFollower(name, args.score_threshold)
        changes = {'visual_tracker': name[5:]} if name != 'ours' else {}
        chosen = TrackerOptions(
            score_threshold=args.score_threshold,
            low_score_threshold=args.low_score_threshold,
            **changes,
        )
        return lambda: FaceTrackerFollower(chosen)

    return {name: make(name) for name in args.followers}


def _people(args):
    from face_tracking.evaluation.actors import find_people
    from face_tracking.evaluation.sequences import held_out_people

    return held_out_people(find_people()) if args.held_out else find_people()


def _score_sequences(args, detector):
    """Return ``{interval: {follower: {sequence or "all": Scores}}}``."""
    from face_tracking.cli.output import progress
    from face_tracking.evaluation.runner import follow, watch
    from face_tracking.evaluation.sequences import Sequence, load_script, sequence_names
    from face_tracking.evaluation.tracking_metrics import score

    names = args.sequences or sequence_names(args.held_out)
    scripts, people = [load_script(name, args.held_out) for name in names], _people(args)
    makers = _makers(args)
    sheets = {(interval, name): {} for interval in args.detect_interval for name in makers}
    with progress(total=len(scripts) * (1 + len(args.detect_interval)), unit='pass') as bar:
        for script in scripts:
            sequence = Sequence(script, people)
            bar.set_description(script.name)
            watched = watch(sequence, detector)
            bar.update()
            for interval in args.detect_interval:
                files = _MotFiles(args.mot, script, interval) if args.mot else None
                found = follow(watched, interval, makers, files and files.add)
                for name, sheet in found.items():
                    sheets[interval, name][script.name] = sheet
                if files:
                    files.write(watched)
                bar.update()
    return {
        interval: {
            name: {
                **{key: score([sheet]) for key, sheet in sheets[interval, name].items()},
                'all': score(list(sheets[interval, name].values())),
            }
            for name in makers
        }
        for interval in args.detect_interval
    }


class _MotFiles:
    """Collects what is followed in one sequence; truth and video are written along with it."""

    def __init__(self, folder: str, script, interval: int):
        self._folder = Path(folder) / script.name
        self._rate = script.rate
        self._interval = interval
        self._lines: dict[str, list[str]] = {}

    def add(self, name, frame, ids, boxes):
        from face_tracking.evaluation.mot_format import track_lines

        self._lines.setdefault(name, []).extend(track_lines(frame.sequence + 1, ids, boxes))

    def write(self, watched):
        from face_tracking.cli.video_writer import VideoWriter
        from face_tracking.evaluation import mot_format
        from face_tracking.evaluation.tracking_metrics import LEAST_VISIBILITY

        for name, lines in self._lines.items():
            mot_format.write(self._folder / f'{name}-every-{self._interval}.txt', lines)
        mot_format.write(
            self._folder / 'gt' / 'gt.txt',
            (
                line
                for frame, truth, _ in watched
                for line in mot_format.truth_lines(frame.sequence + 1, truth, LEAST_VISIBILITY)
            ),
        )
        video = VideoWriter(self._folder / f'{self._folder.name}.mp4', self._rate)
        for frame, _, _ in watched:
            video.write(frame.image)
        video.close()


def _try_cases(args, detector):
    """Yield a line for each follower and kind of case."""
    from face_tracking.cli.output import progress
    from face_tracking.evaluation.id_survival import absence, judge, occlusion
    from face_tracking.evaluation.runner import every, watch
    from face_tracking.evaluation.sequences import Sequence

    makers, interval, people = _makers(args), args.detect_interval[0], _people(args)
    seeds = (
        range(_HELD_OUT_SEED, _HELD_OUT_SEED + args.cases) if args.held_out else range(args.cases)
    )
    kinds = {'full occlusion': occlusion, 'absence': absence}
    for kind, script_of in kinds.items():
        outcomes = {name: [] for name in makers}
        for seed in progress(seeds, desc=kind, unit='case'):
            watched = watch(Sequence(script_of(seed), people), detector, interval)
            for name, make in makers.items():
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


def _print(interval, table):
    width = max(len(name) for name in table)
    longest = max(len(name) for rows in table.values() for name in rows)
    print(
        f'\ndetection in every {interval}. image' if interval > 1 else '\ndetection in every image'
    )
    print(
        f'{"sequence":{longest}}  {"follower":{width}}  HOTA  IDF1  MOTA  switches  '
        'fragmentations  ms/image'
    )
    for sequence in next(iter(table.values())):
        for name, rows in table.items():
            row = rows[sequence]
            print(
                f'{sequence:{longest}}  {name:{width}}  {100 * row.hota:4.1f}  '
                f'{100 * row.idf1:4.1f}  {100 * row.mota:4.1f}  {row.switches:8d}  '
                f'{row.fragmentations:14d}  {row.milliseconds:10.2f}'
            )


def _as_json(tables) -> str:
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
