# SPDX-License-Identifier: Apache-2.0
"""Models as data: the weights, the format of the input, the meaning of the outputs.

A description is a small YAML file beside the weights::

    name: face_tracking
    license: Apache-2.0
    input: {color: bgr, mean: [0, 0, 0], scale: 1.0}   # tensor = (pixel - mean) * scale
    decoder: {name: anchor_free, strides: [8, 16, 32]}  # further keys are the decoder's options
    outputs: [head_8, head_16, head_32]                 # in the order that the decoder expects
    size_multiple: 32             # the input's sides can be changed to multiples of this
    default_size: [320, 240]      # width, height
    files:                        # the same weights, exported for one or several input sizes
      - {file: face_tracking_320x240.onnx, size: [320, 240], sha256: 0a1b...}

Only ``decoder``, ``files``, ``name`` and ``outputs`` are required. An ONNX file without a
description is recognized by the names of its outputs if it belongs to a known family.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from face_tracking import files
from face_tracking.detection.families import recognize
from face_tracking.detection.onnx_utils import MAX_SIDE, PROBE, reshaped, signature
from face_tracking.detection.published_models import PUBLISHED
from face_tracking.errors import UserError

ENVIRONMENT = 'FACE_TRACKING_MODEL'
BUNDLED = 'face_tracking.yaml'
SUFFIXES = ('.yaml', '.onnx')
DESCRIPTIONS = ('.yaml', '.yml')
FALLBACKS = ('yunet_n_320_320.onnx', 'face_detection_yunet_2023mar.onnx')
"""Files that are searched for in the cache and in ``../shared/models`` if no model is bundled."""
GUIDE = 'docs/models.md'
MAX_DESCRIPTION = 1 << 20
MAX_ENTRIES = 64
"""Maximum number of outputs and of files in a description."""


@dataclass(frozen=True)
class ModelFile:
    """One exported file: its path, its input size in pixels, its SHA-256 ('' if unknown).

    Width and height are 0 where the file leaves the input size open.
    """

    path: Path
    width: int
    height: int
    sha256: str = ''

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the input in pixels."""
        return self.width, self.height


@dataclass(frozen=True)
class ModelDescription:
    """What is needed to run a detector and to decode its outputs.

    :ivar decoder: name of the family in :mod:`face_tracking.detection.families`.
    :ivar decoder_options: keyword arguments of its decoder, e.g. ``strides``.
    :ivar outputs: names of the network's outputs, in the decoder's order.
    :ivar color: ``bgr`` or ``rgb``, the channel order of the network's input.
    :ivar mean: subtracted from each pixel value (0 to 255), in the network's channel order.
    :ivar scale: factor applied after the subtraction.
    :ivar size_multiple: the input's sides can be changed to multiples of this.
    """

    name: str
    decoder: str
    outputs: tuple[str, ...]
    files: tuple[ModelFile, ...]
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    color: str = 'bgr'
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    size_multiple: int = 32
    default_size: tuple[int, int] | None = None
    license: str = ''


@dataclass(frozen=True)
class Model:
    """A detector at one input size, ready for a runtime.

    :ivar path: the ONNX file; its own input size may be another one, see :meth:`onnx_bytes`.
    :ivar sha256: of that file.
    :ivar width: of the network's input in pixels, like ``height``.
    :ivar native_size: width and height that the file was exported for.
    :ivar trusted_folder: compiled libraries in the model's folder may be loaded. False for a
        model that was named at run time, for example by a peer on the network.
    """

    description: ModelDescription
    path: Path
    sha256: str
    width: int
    height: int
    native_size: tuple[int, int]
    trusted_folder: bool = True

    @property
    def name(self) -> str:
        """The model's name."""
        return self.description.name

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the network's input in pixels."""
        return self.width, self.height

    def onnx_bytes(self) -> bytes:
        """Return the ONNX model at this input size.

        :raises UserError: the file cannot be changed to this size.
        """
        if self.input_size == self.native_size:
            return files.read_bytes(self.path, files.MAX_MODEL_BYTES, 'model')
        return reshaped(self.path, self.width, self.height)


def load_model(
    name: str | os.PathLike[str] | None = None,
    input_size: tuple[int, int] | None = None,
    trusted_folder: bool = True,
) -> Model:
    """Find a model and check it.

    :param name: path of a description or an ONNX file, or a model's name. Without one: the model
        that ``FACE_TRACKING_MODEL`` names, the bundled model, one in the cache, or one in
        ``../shared/models``, in this order.
    :param input_size: width and height of the network's input in pixels; the model's default if
        None.
    :param trusted_folder: see :class:`Model`.
    :raises UserError: the model is missing, truncated, of the wrong kind or has the wrong hash,
        or cannot have this input size.
    """
    path = find_model(name)
    is_onnx = path.suffix not in DESCRIPTIONS
    description = describe(path)
    chosen = _file_for(description, input_size, only=path if path.suffix == '.onnx' else None)
    width, height = input_size or _default_size(description, chosen, is_onnx)
    _check_size(description, chosen, width, height)
    sha256 = _checked_hash(chosen)
    return Model(description, chosen.path, sha256, width, height, chosen.size, trusted_folder)


def _default_size(
    description: ModelDescription, chosen: ModelFile, is_onnx: bool
) -> tuple[int, int]:
    """Return the input size of a model for which none was asked."""
    # Whoever names a file of several wants that one as it is.
    if is_onnx and min(chosen.size):
        return chosen.size
    return description.default_size or chosen.size


def _check_size(description: ModelDescription, chosen: ModelFile, width: int, height: int) -> None:
    step = description.size_multiple
    if min(width, height) == 0:
        raise UserError(
            f'the model {description.name} has no fixed input size',
            f'give one as input_size or --long-side, in multiples of {step}, for example '
            f'{_example(step)}',
        )
    if (width, height) == chosen.size:
        return
    fits = not (width % step or height % step)
    if not fits or not 1 <= min(width, height) <= max(width, height) <= MAX_SIDE:
        own = f', or {chosen.width}x{chosen.height}' if min(chosen.size) else ''
        raise UserError(
            f'the model {description.name} cannot take images of {width}x{height} pixels',
            f'give a width and a height that are multiples of {step}{own}',
        )


def _example(step: int) -> str:
    return 'x'.join(str(max(round(side / step), 1) * step) for side in (640, 480))


def describe(path: Path) -> ModelDescription:
    """Return the description of a model: a YAML file's, that beside an ONNX file, or inferred.

    :param path: of the description or the ONNX file, as :func:`find_model` returns it.
    :raises UserError: it cannot be read, or the network is not recognized.
    """
    return read_description(path) if path.suffix in DESCRIPTIONS else _description_of(path)


def find_model(name: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of the description or ONNX file that ``name`` stands for.

    :raises UserError: there is none.
    """
    name = name or os.environ.get(ENVIRONMENT)
    if not name:
        return _default_model()
    path = files.expand(name)
    try:
        found = _existing(path, str(name))
        if found is not None:
            return found
        is_folder = path.is_dir()
    except OSError as error:  # such as a name that is too long
        raise files.os_error(
            f'cannot look for the model {str(name)[:80]}', error, 'check the name'
        ) from error
    if is_folder:
        raise UserError(f'the model {path} is a folder', 'name the .onnx or .yaml file in it')
    if str(name) in PUBLISHED:
        raise UserError(
            f'the model {name} is not on this machine', f'run "face_tracking fetch-model {name}"'
        )
    raise UserError(
        f'no model {str(name)[:200]} was found',
        f'give the path of an .onnx or .yaml file, or one of the names {", ".join(known_names())}',
    )


def _existing(path: Path, name: str) -> Path | None:
    if path.is_file():
        return path
    for folder in _folders():
        for file in _candidates(name):
            if (folder / file).is_file():
                return folder / file
    return None


def known_names() -> list[str]:
    """Return the names of all models that are on this machine or can be fetched."""
    found = {
        path.stem
        for folder in _folders()
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix in SUFFIXES
    }
    return sorted(found | set(PUBLISHED))


def read_description(path: Path) -> ModelDescription:
    """Read a description from YAML; the files that it names are expected beside it.

    :raises UserError: it cannot be read, or a key is missing or has a wrong value.
    """
    content = files.read_yaml(path, 'model description', MAX_DESCRIPTION)
    with files.malformed(path, 'model description', f'compare it with {GUIDE}'):
        return _from_mapping(content, path.parent)


def _from_mapping(content: object, folder: Path) -> ModelDescription:
    if not isinstance(content, Mapping):
        raise TypeError('it is not a mapping')
    content = cast('Mapping[str, Any]', content)
    decoder = dict(content['decoder'])
    pixels = dict(content.get('input') or {})
    rows, outputs = _sequence(content, 'files'), _sequence(content, 'outputs')
    default = content.get('default_size')
    return ModelDescription(
        name=str(content['name'])[:200],
        decoder=str(decoder.pop('name')),
        decoder_options=decoder,
        outputs=tuple(str(output) for output in outputs),
        files=tuple(
            ModelFile(folder / str(row['file']), *_size(row['size']), str(row.get('sha256', '')))
            for row in rows
        ),
        color=_color(pixels.get('color', 'bgr')),
        mean=_mean(pixels.get('mean', (0, 0, 0))),
        scale=_finite(pixels.get('scale', 1), 'input.scale'),
        size_multiple=_side(content.get('size_multiple', 32)),
        default_size=_size(default) if default else None,
        license=str(content.get('license', ''))[:200],
    )


def _sequence(content: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = content[key]
    if not isinstance(found, list) or not 1 <= len(found) <= MAX_ENTRIES:
        raise ValueError(f'{key} is not a list of 1 to {MAX_ENTRIES} entries')
    return found


def _color(value: Any) -> str:
    if value not in ('bgr', 'rgb'):
        raise ValueError(f'input.color is {value!r}, not bgr or rgb')
    return value


def _mean(values: Any) -> tuple[float, float, float]:
    if len(values) != 3:
        raise ValueError('input.mean needs three numbers')
    first, second, third = (_finite(value, 'input.mean') for value in values)
    return first, second, third


def _finite(value: Any, name: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f'{name} is {number}')
    return number


def _size(pair: Any) -> tuple[int, int]:
    width, height = pair
    return _side(width), _side(height)


def _side(value: Any) -> int:
    side = int(value)
    if side != value or not 1 <= side <= MAX_SIDE:
        raise ValueError(f'{value!r} is not a length of 1 to {MAX_SIDE} pixels')
    return side


def _description_of(path: Path) -> ModelDescription:
    """Return the description that lies beside an ONNX file, or infer one from its outputs."""
    own = path.with_suffix('.yaml')
    if own.is_file():
        return read_description(own)
    for beside in sorted(path.parent.glob('*.yaml')):
        try:
            if path.name not in files.read_text(beside, limit=MAX_DESCRIPTION):
                continue
            description = read_description(beside)
        except UserError:
            continue  # some other YAML file that happens to mention the name
        if any(file.path.name == path.name for file in description.files):
            return description
    return _inferred(path)


def _inferred(path: Path) -> ModelDescription:
    width, height, outputs = signature(path)
    found = recognize(outputs, (width, height) if width and height else PROBE)
    if found is None:
        raise UserError(
            f'{path} is not a face detector that can be recognized (its outputs are '
            f'{", ".join(list(outputs)[:6])})',
            f'write a description as {GUIDE} shows',
        )
    return ModelDescription(name=path.stem, files=(ModelFile(path, width, height),), **found)


def _file_for(
    description: ModelDescription, size: tuple[int, int] | None, only: Path | None
) -> ModelFile:
    """Return the file exported for ``size``, or the one that is best changed to it."""
    candidates = [
        file for file in description.files if only is None or file.path.name == only.name
    ]
    if not candidates:
        raise UserError(
            f'the description beside {only} does not list it',
            'add it to the files there, or remove the description',
        )
    size = size or (description.default_size if only is None else None)
    exact = [file for file in candidates if file.size == size]
    if exact or size is None:
        return (exact or candidates)[0]
    return max(candidates, key=lambda file: file.width * file.height)


def _checked_hash(file: ModelFile) -> str:
    content = files.read_bytes(file.path, files.MAX_MODEL_BYTES, 'model')
    if not content:
        raise UserError(f'the model {file.path} is empty', 'fetch it again')
    found = hashlib.sha256(content).hexdigest()
    if file.sha256 and found != file.sha256:
        raise UserError(
            f'the model {file.path} is truncated or altered: its SHA-256 is {found[:16]}..., '
            f'its description says {file.sha256[:16]}...',
            'fetch it again, or correct the description',
        )
    return found


def _default_model() -> Path:
    places = [files.share_dir() / 'models' / BUNDLED]
    if not places[0].is_file():
        places = [folder / file for folder in _folders()[1:] for file in FALLBACKS]
    for path in places:
        if path.is_file():
            return path
    raise UserError(
        'there is no face detector on this machine',
        'run "face_tracking fetch-model yunet", or name one by the parameter "model" '
        f'or the environment variable {ENVIRONMENT}',
    )


def _folders() -> list[Path]:
    root = files.share_dir()
    return [root / 'models', files.cache_dir() / 'models', root.parent / 'shared' / 'models']


def _candidates(name: str) -> list[str]:
    published = PUBLISHED.get(name)
    return [
        name,
        *(name + suffix for suffix in SUFFIXES),
        *([published.file] if published else []),
    ]
