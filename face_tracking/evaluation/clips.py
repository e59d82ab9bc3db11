# SPDX-License-Identifier: Apache-2.0
"""Video clips with ground truth in the MOT challenge's format.

A clip is a folder with ``gt.txt`` (``frame,id,x,y,w,h,counts,...``, frames from 1) and the images:
``clip.mp4``, or ``img/`` with one file per image and the rate as ``fps`` in ``info.json``. Rows
whose seventh number is 0 are set aside with whatever is tracked on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from face_tracking.arrays import FloatArray
from face_tracking.camera.base import CameraSource, CaptureOptions
from face_tracking.camera.factory import open_camera
from face_tracking.errors import UserError
from face_tracking.files import read_json, read_text
from face_tracking.frame import Frame
from face_tracking.simulation.rendering import GroundTruth

GROUND_TRUTH = 'gt.txt'
_VIDEO, _IMAGES, _INFO = 'clip.mp4', 'img', 'info.json'
_LARGEST = 1 << 28  # bytes of a ground truth
_DEFAULT_RATE = 30.0


class Clip:
    """One clip; every iteration gives each image with its ground truth.

    :param folder: of the clip.
    :ivar name: of the folder.
    :ivar rate: images per second.
    :raises UserError: the ground truth cannot be read, or there are no images.
    """

    def __init__(self, folder: Path):
        self.name = folder.name
        self._source = folder / _VIDEO if (folder / _VIDEO).is_file() else folder / _IMAGES
        self._rows = _read_rows(folder / GROUND_TRUTH)
        if not self._source.exists():
            raise UserError(
                f'the clip {folder} has no images', f'put a {_VIDEO} or a folder {_IMAGES} into it'
            )
        self._rate = _image_rate(folder / _INFO) if self._source.name == _IMAGES else 0.0
        with self._open() as camera:
            self.rate = camera.rate or _DEFAULT_RATE

    def __iter__(self) -> Iterator[tuple[Frame, GroundTruth]]:
        with self._open() as camera:
            while (frame := camera.read()) is not None:
                yield frame, self._truth(frame.sequence + 1, frame.stamp)

    def _open(self) -> CameraSource:
        return open_camera(
            str(self._source), CaptureOptions(frame_rate=self._rate, realtime=False)
        )

    def _truth(self, number: int, stamp: int) -> GroundTruth:
        rows = self._rows[self._rows[:, 0] == number]
        boxes = rows[:, 2:6].astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        ids = rows[:, 1].astype(np.int64)
        return GroundTruth(
            stamp, ids, boxes, (rows[:, 6] > 0).astype(np.float32), tuple(map(str, ids))
        )


def find_clips(path: Path) -> list[Path]:
    """Return the folders of clips at ``path``: itself, or those in it, sorted by name.

    :raises UserError: there are none.
    """
    if (path / GROUND_TRUTH).is_file():
        return [path]
    clips = sorted(truth.parent for truth in path.glob(f'*/{GROUND_TRUTH}'))
    if not clips:
        raise UserError(
            f'no clips were found in {path}',
            f'give a folder with {GROUND_TRUTH} and {_VIDEO} or {_IMAGES}/, or a folder of these',
        )
    return clips


def _read_rows(path: Path) -> FloatArray:
    """Return frame, id, x, y, w, h and whether it counts, float64 (N, 7)."""
    try:
        rows = [
            [float(value) for value in (*line.split(','), '1')[:7]]
            for line in read_text(path, 'ground truth', _LARGEST).split()
        ]
        table = np.array(rows, float).reshape(-1, 7)
    except (ValueError, OverflowError) as error:
        raise UserError(
            f'the ground truth {path} cannot be read ({str(error)[:100]})',
            'write lines of frame,id,x,y,w,h,counts in the format of the MOT challenge',
        ) from error
    if not np.isfinite(table).all() or (table[:, 4:6] <= 0).any():
        raise UserError(
            f'the ground truth {path} has boxes without an area', 'correct or delete these lines'
        )
    return table


def _image_rate(path: Path) -> float:
    try:
        rate = float(read_json(path)['fps']) if path.exists() else _DEFAULT_RATE
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(
            f'{path} has no rate ({error!r})', 'write a JSON object with the number "fps"'
        ) from error
    if not 0 < rate <= 1000:
        raise UserError(f'{path} has a rate of {rate:g}', 'give "fps" from 0 to 1000')
    return rate
