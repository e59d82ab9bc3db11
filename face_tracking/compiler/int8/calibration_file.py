# SPDX-License-Identifier: Apache-2.0
"""The result of a calibration as a file, which the compiler reads.

A node needs its hash alone. The file names the models that it belongs to by their SHA-256, so
that the ranges of other weights are never used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_tracking import files
from face_tracking.arrays import Array
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from face_tracking.compiler.int8.quantization import Ranges

FORMAT = 1
SUFFIX = '.int8.json'
CALIBRATE = 'run "face_tracking compile --precision int8 --calibration FOLDER"'
MAX_STEPS = 64 << 20
"""Maximum size of the rounding steps of one layer in bytes."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration that belongs to a model.

    :ivar sha256: SHA-256 of the file's content.
    """

    path: Path
    sha256: str


def write_calibration(path: Path, ranges: Ranges, models: Mapping[str, str], images: int) -> None:
    """Write a calibration.

    :param models: names and SHA-256 of the ONNX files with these weights.
    :param images: how many images it was made with.
    :raises UserError: it cannot be written.
    """
    lines = [
        f' "format": {FORMAT}',
        f' "models": {json.dumps(dict(models))}',
        f' "images": {images}',
    ]
    written = {'peaks': ranges.peaks, 'clips': ranges.clips}
    if ranges.lows:
        written['lows'] = ranges.lows
    for name, maps in written.items():
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
    files.write_text(path, '{\n' + ',\n'.join(lines) + '\n}\n')


def read_calibration(path: Path) -> Ranges:
    """Return the ranges in a calibration.

    :raises UserError: it is not a calibration, or is damaged.
    """
    from face_tracking.compiler.int8.quantization import Ranges

    content = files.read_json(path, 'calibration')
    with files.malformed(path, 'calibration', CALIBRATE):
        if content['format'] != FORMAT:
            raise ValueError(f'it has format {content["format"]}')
        steps = {
            str(name): _unpacked(packed, shape)
            for name, (shape, packed) in content.get('steps', {}).items()
        }
        return Ranges(
            _channels(content['peaks']),
            _channels(content['clips']),
            steps,
            _channels(content.get('lows', {})),
        )


def _channels(rows: Mapping[str, Any]) -> dict[str, Array]:
    """Return the ranges of each feature map, float64 (channels,)."""
    import numpy as np

    found = {str(name): np.asarray(row, np.float64) for name, row in rows.items()}
    for name, row in found.items():
        if row.ndim != 1 or not np.isfinite(row).all() or (row < 0).any():
            raise ValueError(f'the ranges of {name} are not numbers from 0')
    return found


def _unpacked(packed: str, shape: list[int]) -> Array:
    import numpy as np

    decompressor = zlib.decompressobj()
    content = decompressor.decompress(b64decode(packed), MAX_STEPS)
    return np.frombuffer(content, np.int8).reshape(shape)


def own_file(model_sha256: str) -> Path:
    """Return the path of a user's own calibration of a model."""
    return files.cache_dir() / 'calibration' / f'{model_sha256[:32]}{SUFFIX}'


def find_calibration(
    model: Path, model_sha256: str, precision: str = 'int8'
) -> CalibrationFile | None:
    """Return a model's calibration: the user's own, the one beside the model, or the package's.

    The package ships calibrations of detectors that others publish, and that are fetched to a
    folder of the user's.

    :param model: path of the ONNX file.
    :param precision: the requested one; with ``auto`` a calibration of other weights is ignored
        with a warning.
    :raises UserError: int8 was requested and there is no calibration of these weights.
    """
    stem = re.sub(r'_\d+x\d+$', '', model.stem)
    for path in dict.fromkeys(
        [
            own_file(model_sha256),
            model.with_name(model.stem + SUFFIX),
            model.with_name(stem + SUFFIX),
            files.share_dir() / 'models' / (model.stem + SUFFIX),
        ]
    ):
        if not path.is_file():
            continue
        found = _calibration_of(path, model_sha256)
        if found is not None:
            return found
        problem = (
            f'the calibration {path} is of another version, or belongs to other weights '
            f'than {model.name}'
        )
        if precision == 'int8':
            raise UserError(problem, CALIBRATE)
        _log.warning('%s; computing in floating point instead: %s', problem, CALIBRATE)
        return None
    if precision == 'int8':
        raise UserError(f'the model {model} was not calibrated for int8', CALIBRATE)
    return None


def _calibration_of(path: Path, model_sha256: str) -> CalibrationFile | None:
    """Return the calibration in a file if it belongs to a model, else None."""
    try:
        content = files.read_bytes(path, files.MAX_TEXT_BYTES, 'calibration')
        rows = json.loads(content)
        known = set(rows['models'].values()) if rows['format'] == FORMAT else set()
    except (UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if model_sha256 not in known:
        return None
    return CalibrationFile(path, hashlib.sha256(content).hexdigest())
