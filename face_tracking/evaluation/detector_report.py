# SPDX-License-Identifier: Apache-2.0
"""One row of figures for a detector on the labeled sets, and the table of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.camera.image_file import read_image
from face_tracking.evaluation.detection_metrics import (
    Curve,
    Matches,
    curve,
    landmark_error,
    match,
    recall_of,
)
from face_tracking.evaluation.labeled_images import SUBSETS, LabeledImage, read_labels
from face_tracking.faces import Detections

Detect = Callable[[Array], Detections]
"""From an image, uint8 (H, W, 3) BGR, to its faces in its pixels."""

MIN_SIDE = 12.0
"""A face counts from this shorter side on, in pixels with the image scaled to `REFERENCE_SIDE`."""
REFERENCE_SIDE = 320.0
HEIGHTS = ((12, 24), (24, 48), (48, 96), (96, 1000))
"""Ranges of the shorter side in pixels, the image scaled to `REFERENCE_SIDE`."""
LARGE = 48.0
"""Recall by pose, occlusion and blur is that of faces from this shorter side on, in pixels of
the image."""
FRAME = (640, 480)
ROBOT_SIDES = (20.0, 230.0)
"""Faces from three meters to half a meter, in pixels of a frame of 640x480."""
FALSE_ALARMS = 0.1
"""Per frame, at which the recall of the robot's regime is read."""


@dataclass(frozen=True)
class Sets:
    """The folders of labeled images; a figure is NaN where its folder is absent.

    :ivar wider: WIDER FACE's labels.
    :ivar fddb: FDDB's.
    :ivar landmarks: images of one face each with five points.
    :ivar others: further sets by name, of which the average precision is reported.
    """

    wider: Path | None = None
    fddb: Path | None = None
    landmarks: Path | None = None
    others: tuple[tuple[str, Path], ...] = ()


def report(detect: Detect, frames: Detect, sets: Sets, threshold: float) -> dict[str, float]:
    """Return the figures of a detector by the names of the table's columns.

    :param detect: scales an image to the detector's long side.
    :param frames: fits a frame of 640x480 into the detector's input.
    :param threshold: score from which a detection counts for recall and false alarms.
    """
    figures: dict[str, float] = {}
    wider = _search(detect, sets.wider)
    if wider:
        figures |= _wider_figures(wider, threshold)
    fddb = _search(detect, sets.fddb)
    if fddb:
        figures['FDDB AP'] = _curve(fddb, _large_enough).average_precision
    for name, folder in sets.others:
        figures[f'{name} AP'] = _curve(_search(detect, folder), _large_enough).average_precision
    points = _search(detect, sets.landmarks)
    if points:
        figures['landmark error'] = landmark_error(_matches(points, _all))[0]
    figures |= _robot_figures(frames, [sets.wider, sets.fddb], threshold)
    return figures


Searched = list[tuple[LabeledImage, Detections]]
Counts = Callable[[LabeledImage], Array]
"""From an image to which of its labels are to be found, bool (N,)."""


def _search(detect: Detect, folder: Path | None) -> Searched:
    return [(row, detect(read_image(row.path))) for row in read_labels(folder)] if folder else []


def _all(row: LabeledImage) -> Array:
    return np.ones(len(row.boxes), bool)


def _large_enough(row: LabeledImage) -> Array:
    return row.shorter_sides(REFERENCE_SIDE) >= MIN_SIDE


def _matches(searched: Searched, counts: Counts, ignores_small: bool = True) -> list[Matches]:
    found = []
    for row, detections in searched:
        side = MIN_SIDE * max(row.width, row.height) / REFERENCE_SIDE if ignores_small else 0.0
        found.append(match(row.labels(counts(row)), detections, side))
    return found


def _curve(searched: Searched, counts: Counts) -> Curve:
    return curve(_matches(searched, counts))


def _wider_figures(searched: Searched, threshold: float) -> dict[str, float]:
    figures = {'WIDER AP': _curve(searched, _large_enough).average_precision}
    for index, name in enumerate(SUBSETS):
        listed = _matches(searched, partial(_listed, top=index), False)
        figures[f'{name}'] = curve(listed).average_precision
    for low, high in HEIGHTS:
        sized = _curve(searched, partial(_between, low=low, high=high))
        figures[f'{low}-{high} px' if high < 1000 else f'from {low} px'] = sized.average_precision
    matches = _matches(searched, _large_in_image)
    groups: dict[str, Counts] = {
        'turned': lambda row: row.pose == 1,
        'occluded': lambda row: row.occlusion > 0,
        'blurred': lambda row: row.blur > 0,
    }
    for name, group in groups.items():
        figures[f'recall {name}'] = recall_of(
            matches, [group(row) for row, _ in searched], threshold
        )
    return figures


def _listed(row: LabeledImage, top: int) -> Array:
    return (row.subset >= 0) & (row.subset <= top)


def _between(row: LabeledImage, low: float, high: float) -> Array:
    sides = row.shorter_sides(REFERENCE_SIDE)
    return (sides >= low) & (sides < high)


def _large_in_image(row: LabeledImage) -> Array:
    return row.shorter_sides(max(row.width, row.height)) >= LARGE


def _robot_figures(
    frames: Detect, folders: Iterable[Path | None], threshold: float
) -> dict[str, float]:
    """Return recall and false alarms on images that fill a frame of 640x480."""
    matches = []
    for folder in folders:
        for row in read_labels(folder) if folder else []:
            image, scale = as_frame(read_image(row.path))
            found = frames(image)
            # Back to the pixels of the labels.
            found = Detections(0, found.boxes / scale, found.scores, found.landmarks / scale)
            sides = row.shorter_sides(max(row.width, row.height)) * scale
            counts = (sides >= ROBOT_SIDES[0]) & (sides <= ROBOT_SIDES[1])
            matches.append(match(row.labels(counts), found, ROBOT_SIDES[0] / scale))
    if not matches:
        return {}
    whole = curve(matches)
    return {
        f'robot recall at {FALSE_ALARMS}': whole.recall_at_false_alarms(FALSE_ALARMS),
        'robot recall': whole.recall_at(threshold),
        'false alarms': whole.false_alarms_at(threshold),
    }


def as_frame(image: Array) -> tuple[Array, float]:
    """Return an image scaled into a black frame of 640x480, top left, and by how much."""
    height, width = image.shape[:2]
    scale = min(FRAME[0] / width, FRAME[1] / height)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    frame = np.zeros((FRAME[1], FRAME[0], 3), np.uint8)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    frame[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=way)
    return frame, scale


def markdown(rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Return a Markdown table of figures by detector; a column is in it if any row has it."""
    columns = list(dict.fromkeys(name for _, figures in rows for name in figures))
    lines = [
        '| detector | ' + ' | '.join(columns) + ' |',
        '| --- |' + ' ---: |' * len(columns),
    ]
    for name, figures in rows:
        cells = (_cell(figures.get(column, math.nan)) for column in columns)
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def _cell(value: float) -> str:
    return '-' if math.isnan(value) else f'{value:.3f}'
