# SPDX-License-Identifier: Apache-2.0
"""A stronger detector's opinion of every cell, to be imitated inside labelled faces.

The teacher is a YuNet in ONNX (raw outputs ``cls_S`` and ``obj_S`` for the strides S 8, 16,
32), whose grids are those of our network. Hinton et al., "Distilling the Knowledge in a Neural
Network", 2015.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from face_tracking.errors import UserError
from training.network import STRIDES


def load_yunet(path: Path, outputs: list[str], threads: int = 0) -> onnxruntime.InferenceSession:
    """Return a session of a network that has these ``outputs``.

    :param threads: 0 leaves it to ONNX Runtime.
    :raises UserError: it cannot be loaded, or lacks one of them.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
    except Exception as error:
        raise UserError(f'the teacher {path} cannot be loaded', 'name a YuNet in ONNX') from error
    missing = set(outputs) - {output.name for output in session.get_outputs()}
    if missing:
        raise UserError(
            f'the teacher {path} has no output {sorted(missing)[0]}',
            'name a YuNet with raw outputs',
        )
    return session


class Teacher:
    """Scores of a YuNet of one input size, run on batches of that size or a divisor of it.

    :param fine: also run it on the images at twice their size, where these tile its input, and
        take what it finds there into the cells of the smallest stride: of small faces it sees more
        than the student's resolution shows.
    """

    def __init__(self, path: Path, fine: bool = False):
        self.fine = fine
        self.outputs = [f'{kind}_{stride}' for kind in ('cls', 'obj') for stride in STRIDES]
        self.session = load_yunet(path, self.outputs, threads=1)
        entry = self.session.get_inputs()[0]
        self.input = entry.name
        self.height, self.width = entry.shape[2:]

    def check(self, sizes: list[tuple[int, int]]):
        """Raise UserError where canvases of (width, height) do not tile the teacher's input."""
        for width, height in sizes:
            if self.width % width or self.height % height:
                raise UserError(
                    f'canvases of {width}x{height} do not tile the input of the '
                    f'teacher, {self.width}x{self.height}',
                    'choose a size that divides it',
                )

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Return float32 (N, A, 2), class and object score of every cell, 0..1.

        :param images: uint8 (N, H, W, 3) BGR; H and W divide the teacher's and are multiples
            of 32. Cells are ordered by stride, then row-major.
        """
        found = self._scores(images)
        height, width = images.shape[1:3]
        if self.fine and not (self.height % (2 * height) or self.width % (2 * width)):
            larger = [cv2.resize(image, None, fx=2, fy=2) for image in images]
            small = pool_cells(self._scores(np.stack(larger)), height // STRIDES[0])
            cells = found[:, : small.shape[1]]
            better = small.prod(-1, keepdims=True) > cells.prod(-1, keepdims=True)
            found[:, : small.shape[1]] = np.where(better, small, cells)
        return found

    def _scores(self, images: np.ndarray) -> np.ndarray:
        count, height, width = images.shape[:3]
        rows, columns = self.height // height, self.width // width
        found = []
        for first in range(0, count, rows * columns):
            tiles = images[first : first + rows * columns]
            sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
            sheet[: len(tiles)] = tiles
            sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
            sheet = sheet.reshape(1, self.height, self.width, 3)
            found.append(self._tiles(sheet, rows, columns)[: len(tiles)])
        return np.concatenate(found)

    def _tiles(self, sheet, rows, columns):
        tensor = np.ascontiguousarray(sheet.transpose(0, 3, 1, 2), np.float32)
        outputs = self.session.run(self.outputs, {self.input: tensor})
        kinds = []
        for kind in (outputs[:3], outputs[3:]):
            cells = []
            for stride, values in zip(STRIDES, kind, strict=True):
                height, width = self.height // stride // rows, self.width // stride // columns
                grid = values.reshape(rows, height, columns, width).swapaxes(1, 2)
                cells.append(grid.reshape(rows * columns, height * width))
            kinds.append(np.concatenate(cells, axis=1))
        return np.clip(np.stack(kinds, axis=-1), 0, 1)


def pool_cells(scores: np.ndarray, rows: int) -> np.ndarray:
    """Return the best of every 2x2 cells of the first stride, float32 (N, rows * columns, 2).

    :param scores: float32 (N, A, 2) of images twice as large, cells ordered by stride.
    :param rows: rows of cells of the smallest stride in the images themselves.
    """
    count = len(scores)
    # Of A cells, 16 of 21 are of the first stride, 4 of the second, 1 of the third.
    first = scores[:, : scores.shape[1] * 16 // 21]
    blocks = first.reshape(count, rows, 2, -1, 2, 2).swapaxes(2, 3).reshape(count, -1, 4, 2)
    best = blocks.prod(-1).argmax(-1)
    return np.take_along_axis(blocks, best[:, :, None, None], axis=2)[:, :, 0]
