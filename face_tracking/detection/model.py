# SPDX-License-Identifier: Apache-2.0
"""Models as data: which file, what it takes in, what its outputs mean.

A description is a small YAML file beside the weights::

    name: face_tracking
    license: Apache-2.0
    input: {color: bgr, mean: [0, 0, 0], scale: 1.0}   # tensor = (pixel - mean) * scale
    decoder: {name: anchor_free, strides: [8, 16, 32]}  # further keys are the decoder's own
    outputs: [head_8, head_16, head_32]                 # in the order that the decoder wants
    size_multiple: 32             # sides to which the network can be re-shaped
    default_size: [320, 240]      # width, height
    files:                        # the same weights, exported for one or several input sizes
      - {file: face_tracking_320x240.onnx, size: [320, 240], sha256: 0a1b...}

Only ``name``, ``decoder``, ``outputs`` and ``files`` are compulsory. An ONNX file without a
description is recognized by its outputs if it belongs to a known family.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from face_tracking import files
from face_tracking.detection import families, published_models
from face_tracking.errors import UserError

ENVIRONMENT = 'FACE_TRACKING_MODEL'
BUNDLED = 'face_tracking.yaml'
SUFFIXES = ('.yaml', '.onnx')
FALLBACKS = ('yunet_n_320_320.onnx', 'face_detection_yunet_2023mar.onnx')
"""What to look for in the cache and in ``../shared/models`` where no model is bundled."""


@dataclass(frozen=True)
class ModelFile:
    """One exported file: its path, its input size in pixels, its SHA-256 ('' if unstated).

    A side of 0 is left open by the file.
    """

    path: Path
    width: int
    height: int
    sha256: str = ''


@dataclass(frozen=True)
class ModelDescription:
    """What one needs to know to run a detector and to read its outputs.

    :ivar decoder: name of the decoder in :mod:`face_tracking.detection.families`.
    :ivar decoder_options: keyword arguments for it, e.g. ``strides``.
    :ivar outputs: names of the network's outputs, in the decoder's order.
    :ivar color: ``bgr`` or ``rgb``, the channel order that the network takes.
    :ivar mean: subtracted from each pixel value (0..255), in the network's channel order.
    :ivar scale: then multiplied.
    :ivar size_multiple: the input's sides may be re-shaped to multiples of this.
    """

    name: str
    decoder: str
    outputs: tuple[str, ...]
    files: tuple[ModelFile, ...]
    decoder_options: Mapping = field(default_factory=dict)
    color: str = 'bgr'
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    size_multiple: int = 32
    default_size: tuple[int, int] | None = None
    license: str = ''


@dataclass(frozen=True)
class Model:
    """A detector at one input size, ready for a runtime.

    :ivar path: the ONNX file; its own input size may be another, see :meth:`onnx_bytes`.
    :ivar sha256: of that file.
    :ivar width: of the network's input in pixels, like ``height``.
    """

    description: ModelDescription
    path: Path
    sha256: str
    width: int
    height: int
    native_size: tuple[int, int]

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

        :raises UserError: if the file cannot be re-shaped to it.
        """
        if self.input_size == self.native_size:
            return self.path.read_bytes()
        from face_tracking.detection.onnx_utils import reshaped

        return reshaped(self.path, self.width, self.height)


def load_model(
    name: str | os.PathLike | None = None, input_size: tuple[int, int] | None = None
) -> Model:
    """Find a model and check it.

    :param name: path of a description or an ONNX file, or a model's name; without one, what
        ``FACE_TRACKING_MODEL`` names, the bundled model, one in the cache, or one in
        ``../shared/models``, in that order.
    :param input_size: width and height of the network's input in pixels; the model's own
        default if None.
    :raises UserError: if it is missing, truncated, of the wrong kind or with the wrong hash.
    """
    path = find_model(name)
    description = describe(path)
    chosen = _file_for(description, input_size, only=path if path.suffix == '.onnx' else None)
    width, height = input_size or description.default_size or (chosen.width, chosen.height)
    native = chosen.width, chosen.height
    step = description.size_multiple
    if not (width and height):
        raise UserError(
            f'the model {description.name} leaves its input size open',
            f'give one as input_size or --long-side, in multiples of {step}, for example 640x480',
        )
    if min(width, height) < 1 or ((width, height) != native and (width % step or height % step)):
        raise UserError(
            f'the model {description.name} cannot take images of {width}x{height} pixels',
            f'give a width and a height that are multiples of {step}, or {native[0]}x{native[1]}',
        )
    return Model(description, chosen.path, _checked_hash(chosen), width, height, native)


def describe(path: Path) -> ModelDescription:
    """Return the description of a model: a YAML file's, that beside an ONNX file, or inferred.

    :param path: of the description or the ONNX file, as `find_model` returns it.
    :raises UserError: if it cannot be read or the network is not recognized.
    """
    is_description = path.suffix in ('.yaml', '.yml')
    return read_description(path) if is_description else _description_of(path)


def find_model(name: str | os.PathLike | None = None) -> Path:
    """Return the path of the description or ONNX file that ``name`` means.

    :raises UserError: if there is none.
    """
    name = name or os.environ.get(ENVIRONMENT)
    if not name:
        return _default_model()
    path = Path(name).expanduser()
    if path.is_file():
        return path
    for folder in _folders():
        for file in _candidates(str(name)):
            if (folder / file).is_file():
                return folder / file
    if path.is_dir():
        raise UserError(f'the model {path} is a folder', 'name the .onnx or .yaml file in it')
    if str(name) in published_models.PUBLISHED:
        raise UserError(
            f'the model {name} is not on this machine', f'run "face_tracking fetch-model {name}"'
        )
    raise UserError(
        f'there is no model {name}',
        f'give the path of an .onnx or .yaml file, or one of the names {", ".join(known_names())}',
    )


def known_names() -> list[str]:
    """Return the names of all models that are on this machine or can be fetched."""
    found = {
        path.stem
        for folder in _folders()
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix in SUFFIXES
    }
    return sorted(found | set(published_models.PUBLISHED))


def read_description(path: Path) -> ModelDescription:
    """Read a description from YAML; the files it names are looked for beside it.

    :raises UserError: if it cannot be read or a key is missing or of the wrong kind.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f'cannot read the model description {path} ({error})',
            'give a YAML file as docs/models.md describes it',
        ) from error
    try:
        return _from_mapping(content, path.parent)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f'it lacks the key {error}' if isinstance(error, KeyError) else error
        raise UserError(
            f'the model description {path} is not valid ({what})', 'compare it with docs/models.md'
        ) from error


def _from_mapping(content: Mapping, folder: Path) -> ModelDescription:
    decoder = dict(content['decoder'])
    pixels = dict(content.get('input') or {})
    mean = tuple(float(value) for value in pixels.get('mean', (0, 0, 0)))
    color = pixels.get('color', 'bgr')
    if color not in ('bgr', 'rgb'):
        raise ValueError(f'input.color is {color!r}, not bgr or rgb')
    if len(mean) != 3:
        raise ValueError('input.mean needs three numbers')
    files = tuple(
        ModelFile(folder / row['file'], *_size(row['size']), str(row.get('sha256', '')))
        for row in content['files']
    )
    if not files:
        raise ValueError('files is empty')
    default = content.get('default_size')
    return ModelDescription(
        name=str(content['name']),
        decoder=str(decoder.pop('name')),
        decoder_options=decoder,
        outputs=tuple(content['outputs']),
        files=files,
        color=color,
        mean=mean,
        scale=float(pixels.get('scale', 1)),
        size_multiple=int(content.get('size_multiple', 32)),
        default_size=_size(default) if default else None,
        license=str(content.get('license', '')),
    )


def _size(pair) -> tuple[int, int]:
    width, height = (int(side) for side in pair)
    return width, height


def _description_of(path: Path) -> ModelDescription:
    """Return the description that lies beside an ONNX file, or infer one from its outputs."""
    own = path.with_suffix('.yaml')
    if own.is_file():
        return read_description(own)
    for beside in sorted(path.parent.glob('*.yaml')):
        if path.name not in beside.read_text(errors='replace'):
            continue
        try:
            description = read_description(beside)
        except UserError:
            continue  # some other YAML that happens to mention the file
        if any(file.path.name == path.name for file in description.files):
            return description
    return _inferred(path)


def _inferred(path: Path) -> ModelDescription:
    from face_tracking.detection.onnx_utils import PROBE, signature

    width, height, outputs = signature(path)
    family = families.recognize(outputs, (width, height) if width and height else PROBE)
    if family is None:
        raise UserError(
            f'{path} is no face detector that can be recognized (its outputs are '
            f'{", ".join(list(outputs)[:6])})',
            'write a description as docs/models.md shows',
        )
    return ModelDescription(name=path.stem, files=(ModelFile(path, width, height),), **family)


def _file_for(
    description: ModelDescription, size: tuple[int, int] | None, only: Path | None
) -> ModelFile:
    """Return the file exported for ``size``, or the one that is best re-shaped to it."""
    files = [file for file in description.files if only is None or file.path.name == only.name]
    if not files:
        raise UserError(
            f'the description beside {only} does not list it',
            'add it to the files there, or remove the description',
        )
    size = size or (description.default_size if only is None else None)
    exact = [file for file in files if (file.width, file.height) == size]
    if exact or size is None:
        return (exact or files)[0]
    return max(files, key=lambda file: file.width * file.height)


def _checked_hash(file: ModelFile) -> str:
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise UserError(
            f'cannot read the model {file.path} ({error.strerror})',
            'check the path, or fetch the model again',
        ) from error
    if not content:
        raise UserError(f'the model {file.path} is empty', 'fetch it again')
    found = hashlib.sha256(content).hexdigest()
    if file.sha256 and found != file.sha256:
        raise UserError(
            f'the model {file.path} is truncated or altered: its SHA-256 is {found[:16]}..., '
            f'where its description says {file.sha256[:16]}...',
            'fetch it again, or correct the description',
        )
    return found


def _default_model() -> Path:
    places = [files.share_dir() / 'models' / BUNDLED]
    places += [folder / file for folder in _folders()[1:] for file in FALLBACKS]
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
    published = published_models.PUBLISHED.get(name)
    return [
        name,
        *(name + suffix for suffix in SUFFIXES),
        *([published.file] if published else []),
    ]
