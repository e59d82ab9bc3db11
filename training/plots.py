# SPDX-License-Identifier: Apache-2.0
"""What one would rather look at: the curves of a run, and a sheet of detections.

``python -m training.plots runs/NAME`` draws the curves into the run's ``curves.png``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import cv2
import numpy as np

from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.visualization import annotate

TILE = 200
SHEET_COLUMNS = 10
SHEET_IMAGES = 80


def curves(table: Path, out: Path):
    """Draw the losses and the validation figures of a metrics file.

    :raises UserError: if there is no such file, or nothing in it.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    if not table.is_file():
        raise UserError(f'there is no {table}', 'name the folder of a run')
    with table.open(newline='') as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise UserError(f'{table} has no rows yet', 'let the run take 50 steps')
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5), layout='constrained')
    for name in ('total', 'score', 'box', 'landmarks', 'quality'):
        left.plot(
            [int(row['step']) for row in rows], [float(row[name]) for row in rows], label=name
        )
    left.set(xlabel='step', ylabel='loss', yscale='log')
    left.legend()
    checked = [row for row in rows if row['validation_ap']]
    for name, label in (
        ('validation_ap', 'average precision'),
        ('validation_landmark_error', 'landmark error / eye distance'),
    ):
        right.plot(
            [int(row['step']) for row in checked],
            [float(row[name]) for row in checked],
            marker='.',
            label=label,
        )
    right.set(xlabel='step', title='validation', ylim=(0, 1))
    right.legend()
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def sheet(samples, found, out: Path, threshold: float):
    """Draw up to 80 images, evenly chosen, with the faces found in them."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, SHEET_IMAGES).astype(int))
    tiles = []
    for k in chosen if samples else []:
        image = samples[k].levels[0]
        shown = found[k].scores >= threshold
        scale = TILE / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        faces = Detections(
            0,
            found[k].boxes[shown] * np.float32(scale),
            found[k].scores[shown],
            found[k].landmarks[shown] * np.float32(scale),
        )
        tile = np.zeros((TILE, TILE, 3), np.uint8)
        image = annotate(image, faces)
        tile[: image.shape[0], : image.shape[1]] = image
        tiles.append(tile)
    tiles += [np.zeros((TILE, TILE, 3), np.uint8)] * (-len(tiles) % SHEET_COLUMNS)
    rows = [np.hstack(tiles[k : k + SHEET_COLUMNS]) for k in range(0, len(tiles), SHEET_COLUMNS)]
    if not rows or not cv2.imwrite(str(out), np.vstack(rows)):
        raise UserError(f'cannot write {out}', 'name a .png in a folder that exists')


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m training.plots',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('run', type=Path, help='folder of a training run')
    arguments = parser.parse_args(argv)
    try:
        curves(arguments.run / 'metrics.csv', arguments.run / 'curves.png')
    except UserError as error:
        print(f'plots: {error}', file=sys.stderr)
        return 2
    print(arguments.run / 'curves.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
