# SPDX-License-Identifier: Apache-2.0
"""Families of detectors: one file each, with its recognizer and its decoder.

To add one, write a file here with a `base.Family` called ``FAMILY``; nothing else lists it.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from face_tracking.detection.families.base import Decoder, Family, Shapes


def _families() -> dict[str, Family]:
    """Return the families of all files of this folder, in the order of the files' names."""
    modules = (
        importlib.import_module(f'{__name__}.{module.name}')
        for module in pkgutil.iter_modules(__path__)
        if module.name != 'base'
    )
    found: list[Family] = [module.FAMILY for module in modules]
    return {family.name: family for family in found}


FAMILIES: dict[str, Family] = _families()
"""The families by the name of their decoder. A network is recognized by one of them at most."""


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
