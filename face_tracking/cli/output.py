# SPDX-License-Identifier: Apache-2.0
"""What the commands write: JSON, images, progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from face_tracking.errors import UserError
from face_tracking.faces import Detections


def progress(items: Iterable | None = None, **options) -> tqdm:
    """Return a progress bar on stderr; none is drawn where nobody watches a terminal."""
    return tqdm(items, disable=None, leave=False, dynamic_ncols=True, **options)


def write_text(path: str | Path, text: str):
    """Write a file, whole or not at all; ``-`` is the standard output.

    :raises UserError: if it cannot be written.
    """
    if str(path) == '-':
        sys.stdout.write(text)
        return
    path = Path(path)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f'cannot write {path} ({error.strerror})', 'check the folder and its permissions'
        ) from error


def write_rows(path: str | Path, rows: Iterable):
    """Write a JSON list with one row on a line, so that it can be read and compared."""
    lines = ',\n'.join(json.dumps(row) for row in rows)
    write_text(path, f'[\n{lines}\n]\n' if lines else '[]\n')


def write_image(path: Path, image: np.ndarray):
    """Write an image in the format of the file's suffix.

    :raises UserError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = cv2.imwrite(str(path), image)
    except (OSError, cv2.error) as error:
        raise UserError(f'cannot write {path} ({error})', 'check the folder') from error
    if not written:
        raise UserError(f'cannot write {path}', 'check the folder and its permissions')


def box_to_list(box: np.ndarray) -> list[float]:
    """Return ``[x, y, w, h]``, to a hundredth of a pixel, of a box ``[x1, y1, x2, y2]``."""
    x1, y1, x2, y2 = (float(side) for side in box)
    return [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]


def faces_to_list(found: Detections) -> list[dict]:
    """Return the faces of one image, each as box, landmarks (where there are any) and score."""
    rows = []
    for box, score, points in zip(found.boxes, found.scores, found.landmarks, strict=True):
        row = {'box': box_to_list(box), 'score': round(float(score), 5)}
        if np.isfinite(points).all():
            row['landmarks'] = [round(float(value), 2) for value in points.ravel()]
        rows.append(row)
    return rows
