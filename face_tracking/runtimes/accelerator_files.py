# SPDX-License-Identifier: Apache-2.0
"""Files that the compiler of an accelerator made from a model: their names, and finding them.

The name contains the start of the ONNX file's hash, so that a file of older weights is never taken
for one of newer weights.
"""

from __future__ import annotations

from pathlib import Path

from face_tracking.compiler.artifact import cache_folder
from face_tracking.detection.model import Model
from face_tracking.errors import UserError

GUIDE = 'docs/accelerators.md'


def file_name(model: Model, ending: str) -> str:
    """Return the name of a model's file, such as ``face_tracking-320x240-0a1b2c3d.hef``."""
    return f'{model.name}-{model.width}x{model.height}-{model.sha256[:8]}{ending}'


def find_file(model: Model, ending: str, remedy: str) -> Path:
    """Return a model's file in the model's folder or in the cache.

    :param remedy: how to make it, as an imperative.
    :raises UserError: it is in neither.
    """
    name = file_name(model, ending)
    folders = model.path.parent, cache_folder()
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f'there is no {name} in {folders[0]} or {folders[1]}', remedy)
