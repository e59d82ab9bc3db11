# SPDX-License-Identifier: Apache-2.0
"""The detector families, one file each; a file added here is registered by being here.

See :mod:`face_tracking.detection.family` for what a family's file contains.
"""

from __future__ import annotations

import importlib
import pkgutil

from face_tracking.detection.family import Family, PublishedModel, Recognition, Shapes
from face_tracking.errors import UserError


def _load() -> dict[str, Family]:
    modules = (
        importlib.import_module(f'{__name__}.{module.name}')
        for module in pkgutil.iter_modules(__path__)
    )
    return {family.name: family for family in (module.FAMILY for module in modules)}


FAMILIES = _load()
"""The families by the names that model descriptions use."""
PUBLISHED: dict[str, PublishedModel] = {
    name: model for family in FAMILIES.values() for name, model in family.published.items()
}
"""The model files that ``face_tracking fetch-model`` offers, by short name."""


def recognize(outputs: Shapes) -> tuple[Family, Recognition] | None:
    """Return the family of a network with these outputs, None if no family recognizes it.

    :param outputs: the shape of each output by its name, in the order of the file.
    """
    for family in FAMILIES.values():
        found = family.recognize(outputs)
        if found is not None:
            return family, found
    return None


def find_family(name: str, model: str) -> Family:
    """Return the family that a model description names as its decoder.

    :param model: the model's name, for the message.
    :raises UserError: there is no such family.
    """
    if name not in FAMILIES:
        raise UserError(
            f'the model {model} names an unknown decoder {name[:80]}',
            f'correct its description to one of {", ".join(FAMILIES)}',
        )
    return FAMILIES[name]
