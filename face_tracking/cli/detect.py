# SPDX-License-Identifier: Apache-2.0
"""Find the faces in images.

Takes image files and folders (read with their subfolders). Images that cannot be read are
named and skipped. Without --json and --annotate it prints a line for each face: file, score, and
x, y, width and height in pixels.

The JSON is a list of {"file", "width", "height", "faces": [{"box": [x, y, w, h], "score",
"landmarks": [x1, y1, ... x5, y5]}]}, in pixels of the image, "file" relative to the folder.
The landmarks are right eye, left eye, nose tip, right and left mouth corner, as the image shows
them from left to right.

Exit code 1: there was no face in any image.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_tracking.cli import arguments
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from tqdm import tqdm

    from face_tracking.multi_size_detector import MultiSizeDetector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument('images', nargs='+', type=Path, help='image files or folders')
    parser.add_argument(
        '--json', metavar='FILE', help='write the faces there; - is the standard output'
    )
    parser.add_argument(
        '--annotate',
        metavar='FOLDER',
        type=Path,
        help='write the images there with the faces drawn in',
    )
    parser.add_argument(
        '--long-side',
        type=arguments.positive,
        metavar='N',
        help='scale each image to this long side in pixels before detection '
        '(default: that of the model); more finds smaller faces, slower',
    )
    arguments.add_detector_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Detect, write the files and print how many faces were found."""
    from face_tracking.cli.output import check_outputs, progress, write_rows
    from face_tracking.multi_size_detector import MultiSizeDetector

    files = _files(args.images)
    outputs = _output_paths(args.annotate, [name for _, name in files])
    check_outputs(
        [('--json', args.json), *(('--annotate', path) for path in outputs)],
        [path for path, _ in files],
    )
    detector = MultiSizeDetector(long_side=args.long_side, **arguments.detector_options(args))
    rows, broken = [], 0
    try:
        with progress(files, unit='image') as bar:
            for (path, name), output in zip(bar, outputs or [None] * len(files), strict=True):
                try:
                    rows.append(_detect(detector, path, name, output, args, bar))
                except _BrokenImageError as error:
                    broken += 1
                    bar.write(f'skipped: {error}', file=sys.stderr)
    finally:
        detector.close()
    if args.json:
        write_rows(args.json, rows)
    faces = sum(len(row['faces']) for row in rows)
    print(
        f'{faces} faces in {len(rows)} images' + (f', {broken} skipped' if broken else ''),
        file=sys.stderr,
    )
    if not rows:
        raise UserError('none of the images can be read', 'check the files named above')
    return 0 if faces else 1


class _BrokenImageError(Exception):
    """An image that cannot be read."""


def _detect(
    detector: MultiSizeDetector,
    path: Path,
    name: str,
    output: Path | None,
    args: argparse.Namespace,
    bar: tqdm[Any],
) -> dict[str, Any]:
    from face_tracking.camera.image_file import read_image
    from face_tracking.cli.output import faces_to_list, write_image
    from face_tracking.visualization import annotate

    try:
        image = read_image(path)
    except UserError as error:
        raise _BrokenImageError(str(error)) from error
    found = detector.detect(image)
    faces = faces_to_list(found)
    row = {
        'file': name,
        'width': image.shape[1],
        'height': image.shape[0],
        'faces': faces,
    }
    if output is not None:
        write_image(output, annotate(image, found))
    if not args.json and not args.annotate:
        for face in faces:
            numbers = ' '.join(f'{value:.1f}' for value in face['box'])
            bar.write(f'{name}\t{face["score"]:.3f}\t{numbers}', file=sys.stdout)
    return row


def _files(arguments: list[Path]) -> list[tuple[Path, str]]:
    """Return each image's path, and its name for the output: relative to its folder."""
    from face_tracking.camera.image_folder import find_images

    files: list[tuple[Path, str]] = []
    for argument in arguments:
        if argument.is_dir():
            files += [
                (path, path.relative_to(argument).as_posix()) for path in find_images(argument)
            ]
        elif argument.exists():
            files.append((argument, str(argument)))
        else:
            raise UserError(f'there is no file or folder {argument}', 'check the path')
    if not files:
        raise UserError(
            'there are no images in ' + ', '.join(map(str, arguments)),
            'give image files, or a folder that holds some',
        )
    # Folders may hold images of the same name: these get their whole path.
    counts = Counter(name for _, name in files)
    return [(path, name if counts[name] == 1 else str(path)) for path, name in files]


def _output_paths(folder: Path | None, names: list[str]) -> list[Path]:
    """Return where each image is written, no two in the same place; empty without a folder."""
    if folder is None:
        return []
    paths: dict[Path, None] = {}
    for name in names:
        wanted, number = folder / _relative(name), 1
        path = wanted
        while path in paths:
            number += 1
            path = wanted.with_stem(f'{wanted.stem}_{number}')
        paths[path] = None
    return list(paths)


def _relative(name: str) -> Path:
    """Return a place below the output folder for an image, wherever it lies itself."""
    path = Path(name)
    if path.is_absolute():
        return Path(path.name)
    return Path(*(part for part in path.parts if part != '..'))
