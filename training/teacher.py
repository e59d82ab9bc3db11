# SPDX-License-Identifier: Apache-2.0
"""A stronger detector's opinion of every cell, to be imitated inside labelled faces.

The teacher is a YuNet in ONNX (raw outputs ``cls_S`` and ``obj_S`` for the strides S 8, 16,
32), whose grids are those of our network. Hinton et al., "Distilling the Knowledge in a Neural
Network", 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch.nn import functional

from face_tracking.errors import UserError
from training.network import STRIDES
from training.onnx_graph import OnnxGraph, before_flattening

Run = Callable[[torch.Tensor], list[torch.Tensor]]
"""Takes sheets, float32 (S, 3, H, W), returns class, then object scores, (S, H / s, W / s) for
each stride s."""
SHEETS = 32
"""Sheets that are run at once on a GPU, for its memory."""


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
    :param device: where it runs: ONNX Runtime on one core, or PyTorch on a GPU.
    """

    def __init__(self, path: Path, fine: bool = False, device: torch.device | None = None):
        self.fine = fine
        self.outputs = [f'{kind}_{stride}' for kind in ('cls', 'obj') for stride in STRIDES]
        session = load_yunet(path, self.outputs, threads=1)
        entry = session.get_inputs()[0]
        self.height, self.width = entry.shape[2:]
        if device is None or device.type == 'cpu':
            self._run = _on_cpu(session, self.outputs)
        else:
            self._run = _on_gpu(path, self.outputs, device)

    def check(self, sizes: list[tuple[int, int]]):
        """Raise UserError where canvases of (width, height) do not tile the teacher's input."""
        for width, height in sizes:
            if self.width % width or self.height % height:
                raise UserError(
                    f'canvases of {width}x{height} do not tile the input of the '
                    f'teacher, {self.width}x{self.height}',
                    'choose a size that divides it',
                )

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, A, 2), class and object score of every cell, 0..1.

        :param images: uint8 (N, 3, H, W) BGR; H and W divide the teacher's and are multiples
            of 32. Cells are ordered by stride, then row-major.
        """
        images = images.float()
        found = self._scores(images)
        height, width = images.shape[2:]
        if self.fine and not (self.height % (2 * height) or self.width % (2 * width)):
            larger = functional.interpolate(images, scale_factor=2, mode='bilinear')
            small = pool_cells(self._scores(larger.round_()), height // STRIDES[0])
            cells = found[:, : small.shape[1]]
            better = small.prod(-1, keepdim=True) > cells.prod(-1, keepdim=True)
            found[:, : small.shape[1]] = torch.where(better, small, cells)
        return found

    def _scores(self, images: torch.Tensor) -> torch.Tensor:
        """Lay the images (N, 3, H, W) on sheets of the teacher's size and run it on those."""
        count, _, height, width = images.shape
        rows, columns = self.height // height, self.width // width
        sheets = -(-count // (rows * columns))
        tiles = functional.pad(images, (0, 0, 0, 0, 0, 0, 0, sheets * rows * columns - count))
        tiles = tiles.reshape(sheets, rows, columns, 3, height, width).permute(0, 3, 1, 4, 2, 5)
        maps = self._run(tiles.reshape(sheets, 3, self.height, self.width))
        kinds = [
            torch.cat([_untiled(grid, rows, columns) for grid in kind], dim=1)
            for kind in (maps[:3], maps[3:])
        ]
        return torch.stack(kinds, dim=-1)[:count].clamp(0, 1)


def _untiled(grid: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return the cells of each tile, (S * rows * columns, cells), of maps (S, H, W)."""
    sheets, height, width = grid.shape
    tiles = grid.reshape(sheets, rows, height // rows, columns, width // columns)
    return tiles.swapaxes(2, 3).reshape(sheets * rows * columns, -1)


def _on_cpu(session: onnxruntime.InferenceSession, outputs: list[str]) -> Run:
    entry = session.get_inputs()[0]
    height, width = entry.shape[2:]

    def run(sheets: torch.Tensor) -> list[torch.Tensor]:
        rows = [session.run(outputs, {entry.name: sheet[None]}) for sheet in sheets.numpy()]
        return [
            torch.from_numpy(np.concatenate(values)).reshape(-1, height // stride, width // stride)
            for values, stride in zip(zip(*rows, strict=True), 2 * STRIDES, strict=True)
        ]

    return run


def _on_gpu(path: Path, outputs: list[str], device: torch.device) -> Run:
    maps = before_flattening(path, outputs)
    network = OnnxGraph(path, maps).to(device, memory_format=torch.channels_last).eval()

    def run(sheets: torch.Tensor) -> list[torch.Tensor]:
        parts = []
        for some in sheets.contiguous(memory_format=torch.channels_last).split(SHEETS):
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                parts.append([found.float().sigmoid()[:, 0] for found in network(some)])
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    return run


def pool_cells(scores: torch.Tensor, rows: int) -> torch.Tensor:
    """Return the best of every 2x2 cells of the first stride, float32 (N, rows * columns, 2).

    :param scores: float32 (N, A, 2) of images twice as large, cells ordered by stride.
    :param rows: rows of cells of the smallest stride in the images themselves.
    """
    count = len(scores)
    # Of A cells, 16 of 21 are of the first stride, 4 of the second, 1 of the third.
    first = scores[:, : scores.shape[1] * 16 // 21]
    blocks = first.reshape(count, rows, 2, -1, 2, 2).swapaxes(2, 3).reshape(count, -1, 4, 2)
    best = blocks.prod(-1).argmax(-1)
    return blocks.take_along_dim(best[:, :, None, None], dim=2)[:, :, 0]
