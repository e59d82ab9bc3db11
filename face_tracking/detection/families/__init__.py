# SPDX-License-Identifier: Apache-2.0
"""Families of detectors: one file each, with its recognizer and its decoder.

To add one, write a file with a `base.Family` and add it to `FAMILIES`.
"""

from __future__ import annotations

from typing import Any

from face_tracking.detection.families import (
    anchor_free,
    blazeface,
    embedding,
    retinaface,
    scrfd,
    ultra_light,
    yolo_face,
    yunet,
)
from face_tracking.detection.families.base import Decoder, Family, Shapes

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        yunet,
        anchor_free,
        ultra_light,
        scrfd,
        retinaface,
        yolo_face,
        blazeface,
        embedding,
    )
}
"""The families by the name of their decoder, in the order in which networks are recognized."""


def recognize(outputs: Shapes, size: tuple[int, int] = (0, 0)) -> dict[str, Any] | None:
    """Return what a description says of a network with these outputs, None if unknown.

    :param outputs: shape of each output by its name, in the order of the file.
    :param size: width and height of the input in pixels.
    """
    for family in FAMILIES.values():
        found = family.recognize(outputs, size)
        if found is not None:
            return {'decoder': family.name, **found}
    return None


__all__ = ['FAMILIES', 'Decoder', 'Family', 'Shapes', 'recognize']
