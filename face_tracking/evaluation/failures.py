# SPDX-License-Identifier: Apache-2.0
"""Contact sheets of what a tracker does wrong: faces missed, ids stolen, false positives.

Each failure is shown once, in the image in which it begins: ground truth in green, tracks in red.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.arrays import Array, FloatArray, IntArray
from face_tracking.errors import UserError
from face_tracking.evaluation.tracking_metrics import MIN_VISIBILITY
from face_tracking.simulation.rendering import GroundTruth
from face_tracking.tracking.association import assign

KINDS = ('missed', 'stolen', 'false-positive')
_MATCH_IOU = 0.5
_TILE, _COLUMNS, _MAX_TILES = 200, 6, 36
_CONTEXT = 1.2  # box sizes shown around the box
_GREEN, _RED, _WHITE = (80, 220, 80), (60, 60, 240), (255, 255, 255)


@dataclass
class FailureSheets:
    """Collects the failures of one tracker on one clip.

    ``missed``: a face that no track covers. ``stolen``: a track on a face that another id had
    before. ``false-positive``: a track on no face.
    """

    tiles: dict[str, list[Array]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    _ids: dict[int, int] = field(default_factory=dict)
    _open: set[tuple[str, int]] = field(default_factory=set)

    def add(
        self,
        number: int,
        image: Array,
        truth: GroundTruth,
        ids: IntArray,
        boxes: FloatArray,
    ) -> None:
        """Compare the tracks in image ``number`` with the ground truth."""
        boxes = np.asarray(boxes, float).reshape(-1, 4)
        overlap = box_arithmetic.iou(truth.boxes.astype(float), boxes)
        rows, columns = assign(1 - overlap, overlap >= _MATCH_IOU)
        counted = truth.visibility >= MIN_VISIBILITY
        failures: list[tuple[str, int, FloatArray, str]] = []
        for row in np.flatnonzero(counted & ~np.isin(np.arange(len(truth)), rows)):
            person = int(truth.ids[row])
            failures.append(('missed', person, truth.boxes[row], f'face {person}'))
        for column in np.flatnonzero(~np.isin(np.arange(len(ids)), columns)):
            name = int(ids[column])
            failures.append(('false-positive', name, boxes[column], f'id {name}'))
        for row, column in zip(rows, columns, strict=True):
            person, name = int(truth.ids[row]), int(ids[column])
            if counted[row] and self._ids.get(person, name) != name:
                text = f'face {person}: id {self._ids[person]} to {name}'
                failures.append(('stolen', person, truth.boxes[row], text))
            self._ids[person] = name
        for kind, key, box, text in failures:
            self.counts[kind] += 1
            if (kind, key) not in self._open and len(self.tiles[kind]) < _MAX_TILES:
                drawn = _tile(image, box, truth.boxes[counted], boxes, f'{number}: {text}')
                self.tiles[kind].append(drawn)
        self._open = {(kind, key) for kind, key, _, _ in failures if kind != 'stolen'}

    def write(self, folder: Path, prefix: str) -> list[Path]:
        """Write a JPEG for each kind of failure that occurred; return their paths.

        :raises UserError: a file cannot be written.
        """
        written: list[Path] = []
        for kind, tiles in self.tiles.items():
            if not tiles:
                continue
            path = folder / f'{prefix}-{kind}.jpg'
            folder.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(path), _sheet(tiles)):
                raise UserError(f'{path} cannot be written', 'give a writable folder')
            written.append(path)
        return written


def _tile(
    image: Array,
    box: FloatArray,
    truth: Iterable[FloatArray],
    tracks: Iterable[FloatArray],
    text: str,
) -> Array:
    """Return the surroundings of a box, uint8 (side, side, 3), with all boxes drawn."""
    x1, y1, x2, y2 = np.asarray(box, float).tolist()
    side = max(x2 - x1, y2 - y1) * (1 + 2 * _CONTEXT)
    scale = _TILE / side
    shift = np.array([(x1 + x2 - side) / 2, (y1 + y2 - side) / 2])
    matrix = np.array([[scale, 0, -shift[0] * scale], [0, scale, -shift[1] * scale]])
    tile = cv2.warpAffine(image, matrix, (_TILE, _TILE))
    for color, boxes in ((_GREEN, truth), (_RED, tracks)):
        for other in boxes:
            low, high = ((np.asarray(other, float).reshape(2, 2) - shift) * scale).round()
            low, high = np.clip([low, high], -9999, 9999).astype(int).tolist()
            cv2.rectangle(tile, low, high, color, 1)
    cv2.putText(tile, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(tile, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA)
    return tile


def _sheet(tiles: list[Array]) -> Array:
    """Return tiles in rows, uint8 BGR."""
    columns = min(len(tiles), _COLUMNS)
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * _TILE, columns * _TILE, 3), np.uint8)
    for index, tile in enumerate(tiles):
        y, x = divmod(index, columns)
        sheet[y * _TILE : (y + 1) * _TILE, x * _TILE : (x + 1) * _TILE] = tile
    return sheet
