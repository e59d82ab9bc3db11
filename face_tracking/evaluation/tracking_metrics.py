# SPDX-License-Identifier: Apache-2.0
"""The field's metrics: HOTA, CLEAR and identity, as the package ``trackers`` computes them.

HOTA: J. Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", 2021.
CLEAR (MOTA): K. Bernardin and R. Stiefelhagen, "Evaluating Multiple Object Tracking Performance",
2008. IDF1: E. Ristani et al., "Performance Measures and a Data Set for Multi-Target,
Multi-Camera Tracking", 2016.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from face_tracking import boxes as box_arithmetic
from face_tracking.arrays import FloatArray, IntArray
from face_tracking.errors import UserError
from face_tracking.evaluation.baselines import INSTALL
from face_tracking.simulation.rendering import GroundTruth
from face_tracking.tracking.association import assign

MIN_VISIBILITY = 0.5
"""A face of which less is seen counts neither for nor against a tracker."""

_MATCH = 0.5


@dataclass(frozen=True)
class Scores:
    """One line of the table.

    :ivar hota: 0 to 1, like ``idf1``; ``mota`` is at most 1.
    :ivar switches: how often a person's id changed.
    :ivar fragmentations: how often a person was lost and found again.
    :ivar recall: share of the faces that a track covers, 0 to 1.
    :ivar false_positives: number of boxes that cover no face.
    :ivar initiation_delay: images of a person before the first that a track covers, mean over the
        people; all images of a person that no track ever covers.
    :ivar milliseconds: mean time for an image.
    """

    hota: float
    idf1: float
    mota: float
    switches: int
    fragmentations: int
    recall: float = float('nan')
    false_positives: int = 0
    initiation_delay: float = float('nan')
    milliseconds: float = float('nan')


@dataclass
class Sheet:
    """What a tracker reported in each image of a sequence, beside the ground truth.

    :ivar milliseconds: time for each image.
    """

    truth_ids: list[IntArray] = field(default_factory=list)
    ids: list[IntArray] = field(default_factory=list)
    overlaps: list[FloatArray] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def add(
        self,
        truth: GroundTruth,
        ids: IntArray,
        boxes: FloatArray,
        size: tuple[int, int],
        milliseconds: float,
    ) -> None:
        """Add one image of (width, height) ``size``.

        Boxes are clipped to the image, those of the ground truth too. As in the MOT challenge, a
        box on a face that hardly shows is set aside before anything is counted.
        """
        overlap = box_arithmetic.iou(
            box_arithmetic.clip(truth.boxes.astype(float), *size),
            box_arithmetic.clip(np.asarray(boxes, float), *size),
        )
        shown = truth.visibility >= MIN_VISIBILITY
        rows, columns = assign(1 - overlap, overlap >= _MATCH)
        kept = np.ones(len(ids), bool)
        kept[columns[~shown[rows]]] = False
        self.truth_ids.append(truth.ids[shown])
        self.ids.append(np.asarray(ids)[kept])
        self.overlaps.append(overlap[shown][:, kept])
        self.milliseconds.append(milliseconds)


def score(sheets: list[Sheet]) -> Scores:
    """Return the scores over all ``sheets`` together.

    :raises UserError: the package ``trackers`` is missing.
    """
    library = metrics_library()
    parts = [_parts(library, sheet) for sheet in sheets]
    hota = library.aggregate_hota_metrics([part[0] for part in parts])
    clear = library.aggregate_clear_metrics([part[1] for part in parts])
    identity = library.aggregate_identity_metrics([part[2] for part in parts])
    times = np.concatenate([sheet.milliseconds for sheet in sheets])
    delays = [delay for sheet in sheets for delay in initiation_delays(sheet)]
    return Scores(
        float(hota['HOTA']),
        float(identity['IDF1']),
        float(clear['MOTA']),
        int(clear['IDSW']),
        int(clear['Frag']),
        float(clear['CLR_Re']),
        int(clear['CLR_FP']),
        float(np.mean(delays)) if delays else float('nan'),
        float(times.mean()),
    )


def initiation_delays(sheet: Sheet) -> list[int]:
    """Return for each person the number of images before the first that a track covers."""
    covered: dict[int, list[bool]] = {}
    for people, overlap in zip(sheet.truth_ids, sheet.overlaps, strict=True):
        best = overlap.max(axis=1, initial=0.0)
        for person, found in zip(people.tolist(), (best >= _MATCH).tolist(), strict=True):
            covered.setdefault(person, []).append(found)
    return [row.index(True) if True in row else len(row) for row in covered.values()]


def _parts(library: ModuleType, sheet: Sheet) -> tuple[dict[str, Any], ...]:
    """Return the numbers of HOTA, CLEAR and identity of a sequence."""
    truth, ids = _counted(sheet.truth_ids), _counted(sheet.ids)
    return (
        library.compute_hota_metrics(truth, ids, sheet.overlaps),
        library.compute_clear_metrics(truth, ids, sheet.overlaps, threshold=_MATCH),
        library.compute_identity_metrics(truth, ids, sheet.overlaps, threshold=_MATCH),
    )


def _counted(ids: list[IntArray]) -> list[IntArray]:
    """Return the ids renumbered from 0 without gaps, as the library expects them."""
    names = np.unique(np.concatenate(ids)) if ids else np.zeros(0, int)
    return [np.searchsorted(names, row) for row in ids]


def metrics_library() -> ModuleType:
    """Return the module with the metrics.

    :raises UserError: the package ``trackers`` is missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import trackers.eval
    except ImportError as error:
        raise UserError(f'the evaluation needs the package trackers ({error})', INSTALL) from error
    return trackers.eval
