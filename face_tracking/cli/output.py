# SPDX-License-Identifier: Apache-2.0
"""What the commands write: JSON, images, progress."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from face_tracking.arrays import Array
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.files import expand


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """Return a progress bar on stderr; none is drawn where stderr is not a terminal."""
    return tqdm(items, disable=None, leave=False, dynamic_ncols=True, **options)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file that appears complete or not at all.

    Yields the path of a temporary file beside it, with the same suffix, which replaces ``path`` at
    the end; after an error it is removed, and what ``path`` held before is kept.

    :raises UserError: it cannot be written.
    """
    # The name cannot be guessed, so that no other user can put a link there in a shared folder.
    partial = path.with_name(f'.{path.stem[:64]}.{secrets.token_hex(8)}{path.suffix}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f'cannot write {path} ({error.strerror or error})',
            'check the folder, its permissions and the space left',
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def check_outputs(
    outputs: Iterable[tuple[str, str | Path | None]], inputs: Iterable[str | Path] = ()
) -> None:
    """Check that no output is an input or another output.

    :param outputs: options and the paths that they give; None and ``-`` are no files.
    :param inputs: paths that are read; other texts, such as the URI of a camera, are skipped.
    :raises UserError: two of them are the same file.
    """
    known = {_identity(path): f'the input {path}' for path in inputs}
    for name, path in outputs:
        if path is None or str(path) == '-':
            continue
        key = _identity(path)
        folder = _identity(Path(path).parent)
        if folder in known and os.path.exists(path):
            raise UserError(
                f'{name} {path} is a file of {known[folder]}',
                'give a path in another folder: it would be overwritten',
            )
        if key in known:
            raise UserError(
                f'{name} {path} is {known[key]}', 'give another path: it would be overwritten'
            )
        known[key] = f'the same file as {name}'


def _identity(path: str | Path) -> object:
    """Return what two paths of the same file have in common, hard links included."""
    try:
        path = expand(path)
        status = os.stat(path)
    except (OSError, ValueError, UserError):
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def write_text(path: str | Path, text: str) -> None:
    """Write a file, complete or not at all; ``-`` is the standard output.

    :raises UserError: it cannot be written.
    """
    if str(path) == '-':
        sys.stdout.write(text)
        return
    with whole_file(Path(path)) as partial:
        partial.write_text(text, encoding='utf-8')


def write_rows(path: str | Path, rows: Iterable[object]) -> None:
    """Write a JSON list with one row on a line, so that it can be read and compared."""
    lines = ',\n'.join(json.dumps(row) for row in rows)
    write_text(path, f'[\n{lines}\n]\n' if lines else '[]\n')


def write_image(path: Path, image: Array) -> None:
    """Write an image in the format of the file's suffix, complete or not at all.

    :raises UserError: it cannot be written.
    """
    try:
        encoded, data = cv2.imencode(path.suffix, image)
    except cv2.error:
        encoded, data = False, np.zeros(0, np.uint8)
    if not encoded:
        raise UserError(f'OpenCV does not write images such as {path.name}', 'use .png or .jpg')
    with whole_file(path) as partial:
        partial.write_bytes(data.tobytes())


def box_to_list(box: Array) -> list[float]:
    """Return ``[x, y, w, h]``, to a hundredth of a pixel, of a box ``[x1, y1, x2, y2]``."""
    x1, y1, x2, y2 = (float(side) for side in box)
    return [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]


def faces_to_list(found: Detections) -> list[dict[str, Any]]:
    """Return the faces of one image, each as box, landmarks (where there are any) and score."""
    rows = []
    for box, score, points in zip(found.boxes, found.scores, found.landmarks, strict=True):
        row: dict[str, Any] = {'box': box_to_list(box), 'score': round(float(score), 5)}
        if np.isfinite(points).all():
            row['landmarks'] = [round(float(value), 2) for value in points.ravel()]
        rows.append(row)
    return rows
