# SPDX-License-Identifier: Apache-2.0
"""List, enroll, rename and forget people; export and import them.

Embeddings are stored in a database in the user's data folder; images are stored only with
--keep-images. "forget" deletes a person permanently. An export that was written before is not
touched by it.

  face_tracking people enroll Anna anna1.jpg anna2.jpg
  face_tracking people enroll --folders family/     (a folder of images for each person)
  face_tracking people enroll Anna --camera 0       (prints what to do next)
  face_tracking people list
  face_tracking people rename Anna "Anna Maria"
  face_tracking people forget Anna
  face_tracking people export people.json
  face_tracking people import people.json

Exit code 1: "list" found no people.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from face_tracking.cli import recognition_arguments
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from face_tracking.arrays import ImageArray
    from face_tracking.detector import FaceDetector
    from face_tracking.recognition.recognizer import FaceRecognizer

_GUIDED_SECONDS = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    listed = actions.add_parser('list', help='print who is enrolled')
    listed.add_argument('--json', action='store_true', help='print JSON')
    enroll = actions.add_parser('enroll', help='enroll a person from images, a video or a camera')
    enroll.add_argument('name', nargs='?', help='the name of the person')
    enroll.add_argument('images', nargs='*', type=Path, help='images, folders of images, a video')
    enroll.add_argument('--folders', type=Path, help='a folder with a folder for each person')
    enroll.add_argument(
        '--force',
        action='store_true',
        help='enroll views that do not agree with each other, or look like another person, too',
    )
    enroll.add_argument('--camera', metavar='DEVICE', help='a camera: its number or device file')
    rename = actions.add_parser('rename', help='give a person another name')
    rename.add_argument('name')
    rename.add_argument('new_name')
    forget = actions.add_parser('forget', help='delete a person permanently')
    forget.add_argument('name')
    export = actions.add_parser('export', help='write all people to a file')
    export.add_argument('file', type=Path)
    imported = actions.add_parser('import', help='add the people of an exported file')
    imported.add_argument('file', type=Path)
    for action in (listed, enroll, rename, forget, export, imported):
        recognition_arguments.add_recognition_arguments(action)


def run(args: argparse.Namespace) -> int:
    """Carry out one action."""
    with recognition_arguments.opened_recognizer(args) as recognizer:
        return _ACTIONS[args.action](recognizer, args)


def _list(recognizer: FaceRecognizer, args: argparse.Namespace) -> int:
    people = recognizer.gallery.people()
    if args.json:
        rows = [
            {'name': person.name, 'views': person.views, 'enrolled': person.enrolled}
            for person in people
        ]
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        for person in people:
            day = time.strftime('%Y-%m-%d', time.localtime(person.enrolled))
            print(f'{person.name}\t{person.views} views\tenrolled {day}')
    print(f'{len(people)} people in {recognizer.gallery.path}', file=sys.stderr)
    return 0 if people else 1


def _enroll(recognizer: FaceRecognizer, args: argparse.Namespace) -> int:
    with recognition_arguments.opened_detector() as detector:
        if args.folders:
            return _enroll_folders(recognizer, detector, args.folders, args.force)
        if not args.name:
            raise UserError('no name is given', 'give the name of the person before the images')
        if args.camera is not None:
            return _enroll_guided(
                recognizer, detector, args.name, _stream_images(args.camera, True)
            )
        if len(args.images) == 1 and _is_video(args.images[0]):
            return _enroll_guided(
                recognizer,
                detector,
                args.name,
                _stream_images(str(args.images[0]), False),
                patient=False,
            )
        files = recognition_arguments.image_files(args.images)
        if not files:
            raise UserError(
                f'no images of {args.name} are given', 'give image files, a video or --camera 0'
            )
        return _enroll_files(recognizer, detector, args.name, files, args.force)


def _enroll_files(
    recognizer: FaceRecognizer,
    detector: FaceDetector,
    name: str,
    files: list[Path],
    force: bool,
) -> int:
    from face_tracking.camera.image_file import read_image
    from face_tracking.recognition.enrollment import enroll_images

    def images() -> Iterator[tuple[str, ImageArray]]:
        for file in files:
            try:
                yield str(file), read_image(file)
            except UserError as error:
                print(f'skipped: {error}', file=sys.stderr)

    result = enroll_images(recognizer, detector, name, images(), force)
    for file, reason in result.rejected:
        print(f'skipped: {file}: {reason}', file=sys.stderr)
    print(f'{name}: {result.added} views added')
    return 0


def _enroll_folders(
    recognizer: FaceRecognizer, detector: FaceDetector, folder: Path, force: bool
) -> int:
    from face_tracking.camera.image_folder import SUFFIXES
    from face_tracking.recognition.enrollment import people_of_folder

    if not folder.is_dir():
        raise UserError(f'there is no folder {folder}', 'check the path')
    enrolled = 0
    for name, files in people_of_folder(folder, SUFFIXES):
        try:
            _enroll_files(recognizer, detector, name, files, force)
            enrolled += 1
        except UserError as error:
            print(f'skipped: {name}: {error}', file=sys.stderr)
    if not enrolled:
        raise UserError(
            f'no person in {folder} could be enrolled', 'see the reasons above for each person'
        )
    return 0


def _enroll_guided(
    recognizer: FaceRecognizer,
    detector: FaceDetector,
    name: str,
    images: Iterator[ImageArray],
    patient: bool = True,
) -> int:
    """Enroll from a stream of images.

    :param patient: whether to wait for a view of each side, and fail without; a recorded video
        gives what it shows.
    """
    from face_tracking.recognition.enrollment import GuidedEnrollment

    guide, printed = GuidedEnrollment(recognizer, detector), ''
    end = time.monotonic() + _GUIDED_SECONDS
    for image in images:
        guide.add(image)
        if guide.hint != printed:
            printed = guide.hint
            print(printed, file=sys.stderr, flush=True)
        if guide.done or (patient and time.monotonic() > end):
            break
    if not guide.views:
        raise UserError(f'{name} was not seen well enough ({guide.hint})', 'try again')
    print(f'{name}: {recognizer.gallery.enroll(name, guide.views)} views added')
    return 0


def _is_video(path: Path) -> bool:
    from face_tracking.camera.image_folder import SUFFIXES

    return path.is_file() and path.suffix.lower() not in SUFFIXES


def _stream_images(uri: str, realtime: bool) -> Iterator[ImageArray]:
    from face_tracking.camera.base import CaptureOptions
    from face_tracking.camera.factory import open_camera

    with open_camera(uri, CaptureOptions(realtime=realtime)) as source:
        while (frame := source.read()) is not None:
            yield frame.image


def _rename(recognizer: FaceRecognizer, args: argparse.Namespace) -> int:
    recognizer.gallery.rename(args.name, args.new_name)
    print(f'{args.name} is now {args.new_name}')
    return 0


def _forget(recognizer: FaceRecognizer, args: argparse.Namespace) -> int:
    recognizer.gallery.forget(args.name)
    print(f'{args.name} is forgotten')
    return 0


def _export(recognizer: FaceRecognizer, args: argparse.Namespace) -> int:
    count = recognizer.gallery.export(args.file)
    print(f'{count} people written to {args.file}')
    return 0


def _import(recognizer: FaceRecognizer, args: argparse.Namespace) -> int:
    count = recognizer.gallery.import_people(args.file)
    print(f'{count} people imported')
    return 0


_ACTIONS = {
    'list': _list,
    'enroll': _enroll,
    'rename': _rename,
    'forget': _forget,
    'export': _export,
    'import': _import,
}
