# SPDX-License-Identifier: Apache-2.0
"""Lists of pairs of face images: CSV files, and the text files of Labeled Faces in the Wild.

View 1 of LFW (``pairsDevTest.txt``) is for choosing a network, View 2 (``pairs.txt``) has ten
folds and is for reporting (G. B. Huang et al., "Labeled Faces in the Wild", University of
Massachusetts technical report 07-49, 2007).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from face_tracking import files
from face_tracking.errors import UserError

LIST_NAMES = ('pairs.csv', 'pairsDevTest.txt', 'pairs.txt')
"""The lists that are looked for in a folder, View 1 first."""
MAX_PAIRS = 1_000_000
_FOLDERS = ('images', '.', 'images_deepfunneled')
_REMEDY = (
    'give a CSV file with the columns a, b and same, or the list pairs.txt or pairsDevTest.txt '
    'of Labeled Faces in the Wild'
)


@dataclass(frozen=True)
class Pair:
    """Two image files, whether they show one person, and the fold of the pair from 0."""

    first: str
    second: str
    same: bool
    fold: int = 0


def find_lists(folder: Path) -> list[Path]:
    """Return the lists of pairs in a folder, View 1 first.

    :raises UserError: there is none.
    """
    found = [folder / name for name in LIST_NAMES if (folder / name).is_file()]
    if not found:
        raise UserError(
            f'there is no list of pairs in {folder} ({", ".join(LIST_NAMES)})',
            'name the folder with --lfw or the list with --pairs',
        )
    return found


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a list.

    :raises UserError: it cannot be read, or is no list of pairs.
    """
    lines = files.read_text(path, 'list of pairs').splitlines()
    try:
        found = _of_table(lines) if path.suffix.lower() == '.csv' else _of_lfw(lines)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f'{path} is not a list of pairs ({error})', _REMEDY) from error
    if not 1 <= len(found) <= MAX_PAIRS or len({pair.same for pair in found}) < 2:
        raise UserError(
            f'{path} needs pairs of one person and of two', 'give the whole list of pairs'
        )
    return found


def find_image(folder: Path, file: str) -> Path:
    """Return where an image is: ``images/FILE``, ``images/NAME/FILE`` or ``NAME/FILE``.

    The first of these if there is none, for the message of the reader.
    """
    name = Path(file).stem.rpartition('_')[0]
    places = [
        place
        for below in _FOLDERS
        for place in (folder / below / file, folder / below / name / file)
    ]
    return next((place for place in places if place.is_file()), places[0])


def _of_table(lines: list[str]) -> list[Pair]:
    rows = list(csv.DictReader(lines))
    return [
        Pair(
            Path(row['a']).name, Path(row['b']).name, row['same'] == '1', int(row.get('fold') or 0)
        )
        for row in rows
    ]


def _of_lfw(lines: list[str]) -> list[Pair]:
    """Read ``FOLDS PAIRS`` or ``PAIRS``, then for each fold pairs of one person and of two."""
    header = [int(number) for number in lines[0].split()]
    folds, count = (header[0], header[1]) if len(header) > 1 else (1, header[0])
    rows = [line.split() for line in lines[1:] if line.strip()]
    if len(rows) != 2 * folds * count:
        raise ValueError(f'{len(rows)} pairs instead of {2 * folds * count}')
    found = []
    for number, row in enumerate(rows):
        if len(row) not in (3, 4):
            raise ValueError(f'line {number + 2} has {len(row)} words')
        second = row[2] if len(row) == 4 else row[0]
        found.append(
            Pair(
                _file(row[0], row[1]),
                _file(second, row[-1]),
                len(row) == 3,
                number // (2 * count),
            )
        )
    return found


def _file(name: str, number: str) -> str:
    if Path(name).name != name:
        raise ValueError(f'the name {name!r}')
    return f'{name}_{int(number):04d}.jpg'
