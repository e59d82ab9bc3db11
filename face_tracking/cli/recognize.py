# SPDX-License-Identifier: Apache-2.0
"""Recognize enrolled people in images.

Takes image files and folders. Without --json it prints a line for each face: file, name,
similarity, and x, y, width and height in pixels. The name is "unknown" for a face that
matches no enrolled person, and "unclear" for one that is not seen well enough, with the reason.

With --demo it recognizes two enrolled people and an unknown one in a simulated scene instead, and
writes the video recognition.mp4 into the folder.

Exit code 1: no person was recognized in any image; with --demo, a name was wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_tracking.cli import recognition_arguments
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from face_tracking.detector import FaceDetector
    from face_tracking.recognition.recognizer import FaceRecognizer, FaceView

_UNCLEAR = 'unclear'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument('images', nargs='*', type=Path, help='image files or folders')
    parser.add_argument(
        '--demo', metavar='FOLDER', type=Path, help='play the demo and write its video there'
    )
    parser.add_argument(
        '--json', metavar='FILE', help='write the faces there; - is the standard output'
    )
    recognition_arguments.add_recognition_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Recognize, write, and report how many were recognized."""
    from face_tracking.cli.output import write_rows

    if args.demo:
        return _play_demo(args)
    if not args.images:
        raise UserError('no images are given', 'give image files or folders, or --demo FOLDER')
    files = recognition_arguments.image_files(args.images)
    rows: list[dict[str, Any]] = []
    with (
        recognition_arguments.opened_recognizer(args) as recognizer,
        recognition_arguments.opened_detector() as detector,
    ):
        for file in files:
            try:
                rows.append(_recognize(recognizer, detector, file))
            except UserError as error:
                print(f'skipped: {error}', file=sys.stderr)
    if not rows:
        raise UserError('none of the images can be read', 'check the files named above')
    if args.json:
        write_rows(args.json, rows)
    else:
        _print(rows)
    names = [face['name'] for row in rows for face in row['faces']]
    known = sum(name not in ('unknown', _UNCLEAR) for name in names)
    print(f'{known} of {len(names)} faces in {len(rows)} images recognized', file=sys.stderr)
    return 0 if known else 1


def _play_demo(args: argparse.Namespace) -> int:
    from face_tracking.cli.recognition_demo import play

    counts = play(args.demo, recognition_arguments.recognition_options(args))
    known = counts['right'] + counts['wrong'] + counts['no name']
    print(
        f'{counts["right"]} of {known} views of enrolled people named, {counts["wrong"]} names '
        f'wrong, {counts["unnamed"]} views of unknown people without a name; '
        f'see {args.demo / "recognition.mp4"}'
    )
    return 1 if counts['wrong'] else 0


def _recognize(recognizer: FaceRecognizer, detector: FaceDetector, file: Path) -> dict[str, Any]:
    from face_tracking.camera.image_file import read_image

    image = read_image(file)
    found = detector.detect(image)
    faces: list[dict[str, Any]] = []
    for row in range(len(found)):
        view = recognizer.look_at(image, found.boxes[row], float(found.scores[row]))
        x1, y1, x2, y2 = found.boxes[row].tolist()
        faces.append({'box': [x1, y1, x2 - x1, y2 - y1], **_name(recognizer, view)})
    return {'file': str(file), 'faces': faces}


def _name(recognizer: FaceRecognizer, view: FaceView) -> dict[str, Any]:
    """Return name and similarity of one view, and the reasons where it is unclear."""
    from face_tracking.recognition.identity import name_of_view

    if view.embedding is None:
        return {'name': _UNCLEAR, 'similarity': 0.0, 'reasons': list(view.reasons)}
    match = name_of_view(recognizer.gallery, recognizer.options, view.embedding)
    return {'name': match.name, 'similarity': round(match.similarity, 4)}


def _print(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for face in row['faces']:
            numbers = ' '.join(f'{value:.1f}' for value in face['box'])
            reasons = '\t' + ', '.join(face['reasons']) if 'reasons' in face else ''
            print(f'{row["file"]}\t{face["name"]}\t{face["similarity"]:.3f}\t{numbers}{reasons}')
