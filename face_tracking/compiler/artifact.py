# SPDX-License-Identifier: Apache-2.0
"""Compiled networks as files: their names, their descriptions, their integrity, where they are.

Nothing here needs the compiler, so that a node that finds its library in the cache loads TVM's
runtime alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from face_tracking import files
from face_tracking.compiler import tuning_records
from face_tracking.compiler.targets import best_precision, host_cpu, host_dot, integer_cpu
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.errors import UserError

GENERATED_CODE_VERSION = 5
"""Raise this by one whenever the compiler generates different code: kernels, decoders,
suppression, quantization, memory layout. Cached libraries are then compiled again. A test compares
the code of small networks with what is recorded beside this number (`test_generated_code.py`)."""
FORMAT = 4
"""Raise this by one whenever libraries of earlier versions can no longer be run."""
MAGIC = b'face_tracking_so'
MAX_LIBRARY_BYTES = 256 << 20
POSTPROCESS, DOWNSCALE = 'find_faces', 'downscale'
"""Names of the functions in a library beside the network."""
PACKED_HALF, PACKED_GRAY = ('yuyv_half', 'uyvy_half'), ('yuyv_gray', 'uyvy_gray')
"""Names of those that make small images of packed YUV: luma is the first byte, or the second."""
SEMI_PLANAR_HALF = 'nv12_half', 'nv21_half'
"""Names of those that halve semi-planar YUV: U is the first byte of chroma, or the second."""

_log = logging.getLogger(__name__)
Description = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """The properties of a compiled network.

    :ivar model_sha256: SHA-256 of the ONNX file.
    :ivar width: of the input in pixels, like ``height``.
    :ivar cpu: LLVM's name of the processor, or the level of its instruction set.
    :ivar precision: ``float32``, ``float16`` or ``int8``.
    :ivar color: ``bgr`` or ``rgb``, the channel order of the network's input.
    :ivar mean: subtracted from each pixel value, in the network's channel order.
    :ivar scale: factor applied after the subtraction.
    :ivar calibration: SHA-256 of the calibration, for int8.
    :ivar layout: what the outputs mean, if the library contains the postprocessing.
    """

    model_sha256: str
    width: int
    height: int
    cpu: str
    precision: str = 'float32'
    color: str = 'bgr'
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    calibration: str = ''
    layout: OutputLayout | None = None

    def key(self) -> str:
        """Return a hash that identifies the library, with the compiler and its tuning records."""
        content = json.dumps(
            [
                FORMAT,
                asdict(self),
                compiler_version(),
                tuning_records.digest(self.cpu.removesuffix('-vnni')),
            ]
        )
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def file_name(self, stem: str) -> str:
        """Return the library's name in the cache."""
        return f'{stem}-{self.width}x{self.height}-{self.cpu}-{self.precision}-{self.key()}.so'

    def met_by(self, description: Description) -> bool:
        """Return whether a library with this description has these properties."""
        expected = json.loads(json.dumps(asdict(self)))
        return description.get('format') == FORMAT and description.get('request') == expected


def compiler_version() -> str:
    """Return a string that changes with TVM's version and with `GENERATED_CODE_VERSION`."""
    versions = []
    for package in ('apache-tvm', 'apache-tvm-ffi'):
        try:
            versions.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            versions.append('unpackaged')
    return '-'.join([*versions, str(GENERATED_CODE_VERSION)])


def cache_folder() -> Path:
    """Return the folder in which compiled networks are kept."""
    return files.cache_dir() / 'compiled'


def seal(library: Path, description: Description) -> None:
    """Append a description to a library, behind its end, which loaders ignore.

    The description contains the hash of what precedes it, so that a truncated or altered file is
    recognized without being loaded.
    """
    content = library.read_bytes()
    description = {**description, 'library_sha256': hashlib.sha256(content).hexdigest()}
    text = json.dumps(description).encode()
    library.write_bytes(content + text + len(text).to_bytes(8, 'little') + MAGIC)


def parse_description(content: bytes) -> Description | None:
    """Return the description in a library's content, None if it has none or is damaged."""
    end = len(content) - len(MAGIC) - 8
    if end < 0 or content[end + 8 :] != MAGIC:
        return None
    begin = max(end - int.from_bytes(content[end : end + 8], 'little'), 0)
    try:
        description = json.loads(content[begin:end])
    except (ValueError, RecursionError):
        return None
    if not isinstance(description, dict):
        return None
    if description.get('library_sha256') != hashlib.sha256(content[:begin]).hexdigest():
        return None
    return description


def description_of(library: Path) -> Description | None:
    """Return the description of a library; None if it is damaged or not built by this package."""
    try:
        return parse_description(files.read_bytes(library, MAX_LIBRARY_BYTES, 'library'))
    except UserError:
        return None


class TrustedLibrary:
    """A compiled network that may be loaded: open, undamaged, and safe from other users.

    :param path: the library.
    :ivar description: see :func:`description_of`.
    :ivar descriptor: of the open file, from which the code must be loaded.
    :raises UserError: others could have changed it, or it is damaged or of another version.
    """

    def __init__(self, path: Path):
        self.path = path
        self.descriptor = files.open_trusted(path)
        with os.fdopen(os.dup(self.descriptor), 'rb') as file:
            content = file.read(MAX_LIBRARY_BYTES + 1)
        description = parse_description(content)
        if description is None or description.get('format') != FORMAT:
            self.close()
            raise UserError(
                f'{path} is not a complete compiled network of this version',
                'compile it again with face_tracking compile',
            )
        self.description = description

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def find_library(model: Path, request: Request, trusted_folder: bool = True) -> Path | None:
    """Return a complete library with the requested properties, None if there is none.

    A library that was compiled elsewhere (``face_tracking compile --target pi5``) may be in the
    cache or beside the model, with any name that ends in ``.so``.

    :param model: path of the ONNX file.
    :param trusted_folder: whether to look beside the model as well.
    """
    cached = cache_folder() / request.file_name(model.stem)
    if description_of(cached) is not None:
        return cached
    folders = [model.parent] if trusted_folder else []
    for folder in (*folders, cache_folder()):
        for library in sorted(folder.glob('*.so')):
            description = description_of(library)
            if description is None or not description.get('cross'):
                continue
            if request.met_by(description) and _is_trusted(library):
                return library
    return None


def _is_trusted(library: Path) -> bool:
    try:
        os.close(files.open_trusted(library))
    except UserError as error:
        _log.warning('%s', error)
        return False
    return True


def host_request(
    model_sha256: str,
    size: tuple[int, int],
    precision: str = 'auto',
    calibration: str = '',
    **further: Any,
) -> Request:
    """Return the request for a network on this machine.

    :param size: width and height of the input in pixels.
    :param precision: as for `driver.compile_model`.
    :param calibration: SHA-256 of the model's calibration, '' if there is none.
    :param further: color, mean, scale and layout.
    """
    cpu, dot = host_cpu(), host_dot()
    if precision == 'auto':
        precision = best_precision(cpu, dot, bool(calibration))
    if precision == 'int8':
        cpu = integer_cpu(cpu, dot)
    else:
        calibration = ''
    return Request(
        model_sha256, *size, cpu=cpu, precision=precision, calibration=calibration, **further
    )
