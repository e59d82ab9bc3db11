# SPDX-License-Identifier: Apache-2.0
"""What calibration found, as a file: read by the compiler, known to the node by its hash alone.

The file names the models that it belongs to by their SHA-256, so that ranges of other weights are
never taken for theirs.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from face_tracking import files
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from face_tracking.compiler.int8.quantization import Ranges

FORMAT = 1
SUFFIX = '.int8.json'
CALIBRATE = 'run "face_tracking compile --precision int8 --calibration FOLDER"'


@dataclass(frozen=True)
class RangesFile:
    """A calibration that belongs to a model.

    :ivar sha256: of the file's content.
    """

    path: Path
    sha256: str


def write_ranges(path: Path, ranges: Ranges, models: Mapping[str, str], images: int) -> None:
    """Write a calibration.

    :param models: the names and SHA-256 of the ONNX files with these weights.
    :raises UserError: it cannot be written.
    """
    from face_tracking.cli.output import write_text

    lines = [
        f' "format": {FORMAT}',
        f' "models": {json.dumps(dict(models))}',
        f' "images": {images}',
    ]
    for name, maps in (('peaks', ranges.peaks), ('clips', ranges.clips)):
        rows = ',\n'.join(
            f'  {json.dumps(key)}: [{", ".join(f"{value:.4g}" for value in row)}]'
            for key, row in maps.items()
        )
        lines.append(f' "{name}": {{\n{rows}\n }}')
    steps = {
        name: [
            list(array.shape),
            b64encode(zlib.compress(array.astype('int8').tobytes(), 9)).decode(),
        ]
        for name, array in ranges.steps.items()
    }
    rows = ',\n'.join(f'  {json.dumps(key)}: {json.dumps(row)}' for key, row in steps.items())
    lines.append(f' "steps": {{\n{rows}\n }}')
    write_text(path, '{\n' + ',\n'.join(lines) + '\n}\n')


def read_ranges(path: Path) -> Ranges:
    """Return what a file holds.

    :raises UserError: it is no calibration.
    """
    import numpy as np

    from face_tracking.compiler.int8.quantization import Ranges

    try:
        content = json.loads(path.read_text())
        if content['format'] != FORMAT:
            raise ValueError(f'it has format {content["format"]}')
        steps = {
            name: np.frombuffer(zlib.decompress(b64decode(packed)), np.int8).reshape(shape)
            for name, (shape, packed) in content.get('steps', {}).items()
        }
        return Ranges(dict(content['peaks']), dict(content['clips']), steps)
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise UserError(f'the calibration {path} cannot be used ({error})', CALIBRATE) from error


def own_file(model_sha256: str) -> Path:
    """Return where a user's own calibration of a model lies."""
    return files.cache_dir() / 'calibration' / f'{model_sha256[:32]}{SUFFIX}'


def find_ranges(model: Path, model_sha256: str, precision: str = 'int8') -> RangesFile | None:
    """Return a model's calibration: the user's own, else the one that lies beside the model.

    :param precision: that was asked for; with ``auto`` a calibration of other weights is merely
        passed over, with a warning.
    :raises UserError: int8 was asked for, and there is none, or only one of other weights.
    """
    stem = re.sub(r'_\d+x\d+$', '', model.stem)
    for path in dict.fromkeys(
        [
            own_file(model_sha256),
            model.with_name(model.stem + SUFFIX),
            model.with_name(stem + SUFFIX),
        ]
    ):
        if not path.is_file():
            continue
        try:
            content = path.read_bytes()
            rows = json.loads(content)
            known = set(rows['models'].values()) if rows['format'] == FORMAT else set()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            known = set()
        if model_sha256 in known:
            return RangesFile(path, hashlib.sha256(content).hexdigest())
        problem = (
            f'the calibration {path} is of another version, or belongs to other weights '
            f'than {model.name}'
        )
        if precision == 'int8':
            raise UserError(problem, CALIBRATE)
        print(
            f'face_tracking: {problem}, computing in floating point instead: {CALIBRATE}',
            file=sys.stderr,
        )
        return None
    if precision == 'int8':
        raise UserError(f'the model {model} was not calibrated for int8', CALIBRATE)
    return None
