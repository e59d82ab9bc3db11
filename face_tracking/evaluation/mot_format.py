# SPDX-License-Identifier: Apache-2.0
"""The MOT challenge's text format: one line for each box (motchallenge.net, "MOT16")."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from face_tracking.arrays import FloatArray
from face_tracking.simulation.rendering import GroundTruth

FACE_CLASS = 1


def truth_lines(number: int, truth: GroundTruth, least_visibility: float) -> list[str]:
    """Return the ground truth of image ``number``, counted from 1.

    A line is ``frame,id,x,y,w,h,counts,class,visibility``; a face that shows less than
    ``least_visibility`` is there, but does not count.
    """
    return [
        f'{number},{identity},{_box(box)},{int(visibility >= least_visibility)},'
        f'{FACE_CLASS},{visibility:.3f}\n'
        for identity, box, visibility in zip(truth.ids, truth.boxes, truth.visibility, strict=True)
    ]


def track_lines(number: int, ids: Iterable[int], boxes: FloatArray) -> list[str]:
    """Return what was followed in image ``number``, ``frame,id,x,y,w,h,1,-1,-1,-1``."""
    return [
        f'{number},{identity},{_box(box)},1,-1,-1,-1\n'
        for identity, box in zip(ids, boxes, strict=True)
    ]


def write(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file, its folder made where need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(lines))


def _box(box: FloatArray) -> str:
    x1, y1, x2, y2 = (float(side) for side in box)
    return f'{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}'
