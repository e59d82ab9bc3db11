# SPDX-License-Identifier: Apache-2.0
"""Measure detectors by human labels and print one Markdown table.

LABELS is a folder with the sets "wider", "fddb" and "landmarks", or some of them, each with its
images and labels.json (docs/training.md has the format).

Columns: average precision at IoU 0.5 of WIDER FACE's faces from 12 px on (the shorter side, with
the image scaled to a long side of 320 px), of its lists easy, medium and hard (whose smallest
faces have fewer pixels than a network can find at 320), and by size; recall at the score
threshold of faces from 48 px on that are turned, occluded or blurred; average precision on FDDB;
mean landmark error over the distance of the eyes; and the regime of a robot: frames of 640x480
with faces of 20 to 230 px, recall at 0.1 false alarms per frame, recall and false alarms per
frame at the score threshold.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from face_tracking.cli import arguments
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from face_tracking.evaluation.detector_report import Sets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument('labels', type=Path, metavar='LABELS', help='folder of the labeled sets')
    parser.add_argument(
        '--long-sides',
        nargs='+',
        type=arguments.positive,
        default=[320, 640],
        metavar='N',
        help='long sides in pixels that images are scaled to (default: 320 640)',
    )
    parser.add_argument(
        '--baselines',
        nargs='*',
        default=[],
        metavar='MODEL',
        help='further models to measure, with ONNX Runtime; "haar" is the frontal face cascade '
        'of OpenCV',
    )
    parser.add_argument(
        '--baseline-threshold',
        type=arguments.fraction,
        default=0.7,
        metavar='X',
        help='score threshold of the baselines (default: %(default)s)',
    )
    parser.add_argument(
        '--set',
        nargs=2,
        action='append',
        default=[],
        metavar=('NAME', 'FOLDER'),
        help='a further labeled set, of which the average precision is printed',
    )
    parser.add_argument('--json', metavar='FILE', help='write the figures as JSON; - is stdout')
    arguments.add_detector_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure every detector at every size, and print the table."""
    from face_tracking.cli.output import progress
    from face_tracking.evaluation.detector_report import markdown

    sets = _sets(args)
    jobs = [(None, side) for side in args.long_sides]
    jobs += [(name, side) for name in args.baselines for side in args.long_sides]
    rows: list[tuple[str, dict[str, float]]] = []
    with progress(jobs, unit='detector') as bar:
        for name, side in bar:
            try:
                rows.append(_measure(name, side, sets, args))
            except UserError as error:
                # One baseline that is missing does not cost the hours of the others.
                if name is None:
                    raise
                bar.write(f'skipped {name} at {side}: {error}', file=sys.stderr)
                continue
            bar.write(f'measured {rows[-1][0]}', file=sys.stderr)
    print(markdown(rows))
    if args.json:
        import json

        from face_tracking.cli.output import write_text

        write_text(args.json, json.dumps(dict(rows), indent=1) + '\n')
    return 0


def _sets(args: argparse.Namespace) -> Sets:
    from face_tracking.evaluation.detector_report import Sets

    folders = {
        name: args.labels / name if (args.labels / name / 'labels.json').is_file() else None
        for name in ('wider', 'fddb', 'landmarks')
    }
    others = tuple((name, Path(folder)) for name, folder in args.set)
    if not others and not any(folders.values()):
        raise UserError(
            f'{args.labels} contains none of the sets wider, fddb and landmarks',
            'name a folder with at least one of them, each with its labels.json',
        )
    return Sets(**folders, others=others)


MIN_SCORE = 0.02
"""Average precision needs the detections of low scores as well."""


def _measure(
    name: str | None, long_side: int, sets: Sets, args: argparse.Namespace
) -> tuple[str, dict[str, float]]:
    """Return the name of a row and its figures."""
    from face_tracking.evaluation.detector_report import report
    from face_tracking.multi_size_detector import MultiSizeDetector

    if name == 'haar':
        from face_tracking.evaluation.haar import HaarDetector

        haar = HaarDetector(long_side)
        return f'Haar, {long_side}', report(haar.detect, haar.detect, sets, 0.0)
    options = arguments.detector_options(args) | {'score_threshold': MIN_SCORE, 'max_faces': 0}
    threshold = args.score_threshold
    if name is not None:
        options |= {'model': name, 'runtime': 'onnxruntime', 'precision': 'auto'}
        threshold = args.baseline_threshold
    detector = MultiSizeDetector(long_side=long_side, **options)
    try:
        return f'{detector.name}, {long_side}', report(
            detector.detect, detector.detect, sets, threshold
        )
    finally:
        detector.close()
