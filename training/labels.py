# SPDX-License-Identifier: Apache-2.0
"""Annotated images: three annotation formats in, one record out.

``scored JSON``
    A list of ``{"file", "faces": [{"box": [x, y, w, h], "landmarks": [x1, y1, ... y5],
    "score"}]}``; a face of a score below 0.7 is a region to ignore, one below 0.3 is dropped.
``COCO JSON``
    ``images``, ``annotations`` with ``bbox`` [x, y, w, h]; ``iscrowd`` is a region to ignore;
    five ``keypoints`` (x, y, visibility) where there are landmarks.
``WIDER FACE text``
    The image's name, the number of faces, then for each face ``x y w h blur expression
    illumination invalid occlusion pose``; ``invalid`` 1 is a region to ignore.

Landmarks are ordered as they lie in the image from left to right: eye, eye, nose tip, mouth
corner, mouth corner.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from face_tracking.errors import UserError

FACE_SCORE = 0.7
IGNORE_SCORE = 0.3
ANNOTATION_SUFFIXES = ('.json', '.txt')


@dataclasses.dataclass(frozen=True)
class Annotated:
    """One image's annotation.

    :param file: where the image is.
    :param boxes: float32 (N, 4), ``[x1, y1, x2, y2]`` in its pixels.
    :param landmarks: float32 (N, 5, 2) in its pixels, NaN where unknown.
    :param ignore: bool (N,), regions that count neither as face nor as background.
    :param weights: float32 (N,), how often each face is drawn beside others.
    :param points_only: the landmarks alone are known (see ``dataset.Image``).
    """

    file: Path
    boxes: np.ndarray
    landmarks: np.ndarray
    ignore: np.ndarray
    weights: np.ndarray | None = None
    points_only: bool = False

    def __post_init__(self):
        if self.weights is None:
            object.__setattr__(self, 'weights', np.ones(len(self.boxes), np.float32))

    @property
    def peopled(self) -> bool:
        """Whether anything in the image is, or may be, a face."""
        return len(self.boxes) > 0


def read_folder(folder: Path, warn: Callable[[str], None]) -> list[Annotated]:
    """Return what the annotation files of ``folder`` say, sorted by image.

    Annotation files lie directly in the folder; the images they name lie relative to it (or
    to its subfolder ``images``). A file that cannot be understood is named to ``warn`` and
    skipped.

    :raises UserError: if the folder is not there or no annotation in it can be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f'there is no folder {folder}', 'name a folder of annotated images')
    found: dict[Path, Annotated] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ANNOTATION_SUFFIXES or not path.is_file():
            continue
        try:
            for row in read_file(path):
                found[row.file] = row
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            warn(f'skipped annotation file {path}: {reason}')
    if not found:
        raise UserError(
            f'no annotations in {folder}',
            'put a COCO .json, a WIDER FACE .txt or a labels.json there',
        )
    return [found[file] for file in sorted(found)]


def read_file(path: Path) -> list[Annotated]:
    """Return the annotations of one file in any of the three formats.

    :raises ValueError, KeyError, TypeError: if it is in none of them.
    """
    path = Path(path)
    if path.suffix.lower() == '.txt':
        return _read_wider(path)
    data = json.loads(path.read_text(encoding='utf-8'))
    if isinstance(data, list):
        return [_from_scored(path.parent, row) for row in data]
    if isinstance(data, dict) and 'images' in data and 'annotations' in data:
        return _read_coco(path.parent, data)
    raise ValueError('neither a list of images nor COCO (images, annotations)')


def _located(folder: Path, name: str) -> Path:
    direct = folder / name
    below = folder / 'images' / name
    return below if not direct.exists() and below.exists() else direct


def _annotated(file: Path, rows: list) -> Annotated:
    """Build a record of rows (x, y, w, h, landmarks or None, ignore)."""
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    unknown = np.full((5, 2), np.nan, np.float32)
    points = [unknown if row[4] is None else np.reshape(row[4], (5, 2)) for row in rows]
    landmarks = np.array(points, np.float32).reshape(-1, 5, 2)
    ignore = np.array([bool(row[5]) for row in rows], bool)
    if not np.isfinite(boxes).all():
        raise ValueError(f'{file.name}: a box is not a number')
    sound = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Annotated(file, boxes[sound], landmarks[sound], ignore[sound])


def _from_scored(folder: Path, row: dict) -> Annotated:
    rows = [
        (*face['box'], face.get('landmarks'), face.get('score', 1.0) < FACE_SCORE)
        for face in row['faces']
        if face.get('score', 1.0) >= IGNORE_SCORE
    ]
    found = _annotated(_located(folder, row['file']), rows)
    weights = np.array(
        [
            _weight(face)
            for face in row['faces']
            if face.get('score', 1.0) >= IGNORE_SCORE and min(face['box'][2:]) > 0
        ],
        np.float32,
    )
    points_only = any(face.get('box_from_landmarks') for face in row['faces'])
    return dataclasses.replace(found, weights=weights, points_only=points_only)


def _weight(face: dict) -> float:
    """Return how often to draw a face: hard ones, which are rare, more often."""
    return (
        1.0
        + 1.5 * bool(face.get('pose'))
        + 0.75 * face.get('occlusion', 0)
        + 0.5 * face.get('blur', 0)
        + 0.5 * face.get('illumination', 0)
        + 1.0 * bool(face.get('turned'))
    )


def _read_coco(folder: Path, data: dict) -> list[Annotated]:
    rows: dict[int, list] = {image['id']: [] for image in data['images']}
    for item in data['annotations']:
        points = item.get('keypoints')
        landmarks = None
        if points is not None and len(points) == 15 and all(points[2::3]):
            landmarks = np.reshape(points, (5, 3))[:, :2]
        rows[item['image_id']].append((*item['bbox'], landmarks, item.get('iscrowd', 0)))
    return [
        _annotated(_located(folder, image['file_name']), rows[image['id']])
        for image in data['images']
    ]


def _read_wider(path: Path) -> list[Annotated]:
    lines = [line.strip() for line in path.read_text(encoding='utf-8').splitlines()]
    lines = [line for line in lines if line]
    found, at = [], 0
    while at < len(lines):
        name = lines[at]
        if at + 1 >= len(lines) or not lines[at + 1].isdigit():
            raise ValueError(f'the number of faces is missing after "{name}"')
        count = int(lines[at + 1])
        at += 2
        # An empty image is followed by one row of zeros in the published files.
        if count == 0 and at < len(lines) and set(lines[at].split()) == {'0'}:
            at += 1
        rows = []
        for line in lines[at : at + count]:
            values = [float(value) for value in line.split()]
            if len(values) < 4:
                raise ValueError(f'"{line}" of "{name}" is no box')
            rows.append((*values[:4], None, len(values) > 7 and values[7] == 1))
        if len(rows) < count:
            raise ValueError(f'"{name}" has fewer faces than it says')
        at += count
        found.append(_annotated(_located(path.parent, name), rows))
    return found


def corrected(rows: list[Annotated], corrections: dict) -> list[Annotated]:
    """Return ``rows`` after a person's ``corrections`` of them (see ``corrections.yaml``)."""
    no_face, unsure, always = corrected_names(corrections)
    kept = []
    for row in rows:
        name = f'{row.file.parent.name}/{row.file.stem}'
        found = row
        if name in unsure:
            found = dataclasses.replace(row, ignore=np.ones(len(row.boxes), bool))
        elif name in no_face:
            found = dataclasses.replace(
                row,
                boxes=row.boxes[:0],
                landmarks=row.landmarks[:0],
                ignore=row.ignore[:0],
                weights=row.weights[:0],
            )
        elif row.file.parent.name in always and not (~row.ignore).any():
            continue
        kept.append(found)
    return kept


def corrected_names(corrections: dict) -> tuple[set[str], set[str], set[str]]:
    """Return the images without a face, the unsure ones, and the folders of faces."""
    return (
        _names(corrections.get('no_face', [])),
        _names(corrections.get('unsure', [])),
        set(corrections.get('always_a_face', [])),
    )


def _names(entries: list[str]) -> set[str]:
    names = set()
    for entry in entries:
        first, _, last = entry.partition('..')
        if not last:
            names.add(first)
            continue
        stem = first[: -len(last)]
        names |= {
            f'{stem}{number:0{len(last)}d}'
            for number in range(int(first[-len(last) :]), int(last) + 1)
        }
    return names
