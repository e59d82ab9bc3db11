# SPDX-License-Identifier: Apache-2.0
"""Compiled networks as files: their names, what they say of themselves, whether they are whole.

Nothing here needs the compiler, so that a node that finds its library in the cache loads TVM's
runtime alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from face_tracking import files
from face_tracking.compiler import tuning_records
from face_tracking.compiler.targets import best_precision, host_cpu, host_dot, integer_cpu
from face_tracking.detection.postprocess import OutputLayout

FORMAT = 3
"""Changes when a library of an older version could no longer be run."""
MAGIC = b'face_tracking_so'
COMPILED_IN = tuple(
    f'detection/{name}.py' for name in ('families/base', 'postprocess', 'suppression')
)
"""Sources outside the compiler whose numbers end up in a library."""


@dataclass(frozen=True)
class Request:
    """What a compiled network must be.

    :ivar model_sha256: of the ONNX file.
    :ivar width: of the input in pixels, like ``height``.
    :ivar cpu: LLVM's name of the processor, or the level of its instruction set.
    :ivar precision: ``float32``, ``float16`` or ``int8``.
    :ivar color: ``bgr`` or ``rgb``, the order that the network wants.
    :ivar mean: subtracted from each pixel value, in the network's order.
    :ivar scale: then multiplied.
    :ivar calibration: SHA-256 of the ranges that int8 was made with.
    :ivar head: what the outputs mean, where the library is to find the faces in them.
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
    head: OutputLayout | None = None

    def key(self) -> str:
        """Return what tells this library from all others, the compiler and its records included."""
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

    def met_by(self, description: dict) -> bool:
        """Return whether a library that describes itself so is what is asked for."""
        asked = json.loads(json.dumps(asdict(self)))
        return description.get('format') == FORMAT and description.get('request') == asked


def compiler_version() -> str:
    """Return a string that changes with TVM and with what this package compiles."""
    digest, here = hashlib.sha256(), Path(__file__).parent
    for path in [*sorted(here.rglob('*.py')), *(here.parent / name for name in COMPILED_IN)]:
        digest.update(path.read_bytes())
    versions = []
    for package in ('apache-tvm', 'apache-tvm-ffi'):
        try:
            versions.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            versions.append('unpackaged')
    return '-'.join([*versions, digest.hexdigest()[:16]])


def cache_folder() -> Path:
    """Return the folder in which compiled networks are kept."""
    return files.cache_dir() / 'compiled'


def seal(library: Path, description: dict) -> None:
    """Write into a library what it is: behind its end, where a loader does not look.

    The description carries the hash of what is before it, so a file that was cut short or altered
    is known without being loaded.
    """
    content = library.read_bytes()
    description = {**description, 'library_sha256': hashlib.sha256(content).hexdigest()}
    text = json.dumps(description).encode()
    library.write_bytes(content + text + len(text).to_bytes(8, 'little') + MAGIC)


def description_of(library: Path) -> dict | None:
    """Return what a library says of itself, None where it is not one of ours or not whole."""
    try:
        content = library.read_bytes()
    except OSError:
        return None
    end = len(content) - len(MAGIC) - 8
    if end < 0 or content[end + 8 :] != MAGIC:
        return None
    begin = end - int.from_bytes(content[end : end + 8], 'little')
    try:
        description = json.loads(content[max(begin, 0) : end])
    except ValueError:
        return None
    if description.get('library_sha256') != hashlib.sha256(content[: max(begin, 0)]).hexdigest():
        return None
    return description


def find_library(model: Path, request: Request) -> Path | None:
    """Return a whole library that meets the request, from the cache or from beside the model.

    A library compiled elsewhere (``face_tracking compile --target pi5``) may lie beside the model
    or in the cache, under any name that ends in ``.so``.
    """
    cached = cache_folder() / request.file_name(model.stem)
    if description_of(cached) is not None:
        return cached
    for folder in (model.parent, cache_folder()):
        for library in sorted(folder.glob('*.so')):
            description = description_of(library)
            if (
                description is not None
                and description.get('cross')
                and request.met_by(description)
            ):
                return library
    return None


def host_request(
    model_sha256: str,
    size: tuple[int, int],
    precision: str = 'auto',
    calibration: str = '',
    **further,
) -> Request:
    """Return the request for a network on this machine.

    :param precision: as for `build.compile_model`.
    :param calibration: SHA-256 of the model's ranges, where it was calibrated.
    :param further: color, mean, scale and head.
    """
    cpu, dot = host_cpu(), host_dot()
    if precision == 'auto':
        precision = best_precision(cpu, dot, bool(calibration))
    if precision == 'int8':
        return Request(
            model_sha256,
            *size,
            cpu=integer_cpu(cpu, dot),
            precision=precision,
            calibration=calibration,
            **further,
        )
    return Request(model_sha256, *size, cpu=cpu, precision=precision, **further)
