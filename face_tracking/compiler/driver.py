# SPDX-License-Identifier: Apache-2.0
"""Compiling a network into the cache: `compile_model`, and the same in a child process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from face_tracking.compiler import artifact
from face_tracking.compiler.artifact import Request
from face_tracking.compiler.gpu import gpu_devices as gpu
from face_tracking.compiler.int8.calibration_file import RangesFile
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.errors import UserError

Progress = Callable[[str], None]
LOCAL = ('host', *gpu.KINDS)
"""Targets that are this machine."""


def compile_model(
    onnx_path: Path | str,
    input_size: tuple[int, int] | None = None,
    target: str = 'host',
    *,
    precision: str = 'auto',
    color: str = 'bgr',
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    scale: float = 1.0,
    head: OutputLayout | None = None,
    output: Path | str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Compile a detector to a shared library that TVM's runtime alone can run.

    :param onnx_path: the ONNX file.
    :param input_size: (width, height) of the images; the file's own if None.
    :param target: ``host``, ``pi5``, ``opencl``, another preset of `targets.PRESETS`, or a TVM
        target.
    :param precision: ``float32``, ``float16``, ``int8``, or ``auto``: the fastest in which
        detections stay the same; int8 needs a calibration (`ranges.find_ranges`).
    :param color: ``bgr`` or ``rgb``, the order that the network wants; images are BGR.
    :param mean: subtracted from each pixel value, in the network's order.
    :param scale: then multiplied.
    :param head: what the outputs mean, so that the library can find the faces in them; a
        graphics processor's leaves that to NumPy.
    :param output: where to write the library; in the cache if None, where one that is there
        already is taken as it is.
    :param progress: called with a line on each step.
    :returns: the path of the library.
    :raises UserError: the model is missing, damaged or has layers that the compiler does not
        know, the target is unknown, or there is no C compiler.
    """
    from face_tracking.compiler.int8.calibration_file import find_ranges
    from face_tracking.compiler.onnx_import import model_input_size
    from face_tracking.compiler.targets import best_precision, find_machine, integer_cpu

    onnx_path = Path(onnx_path)
    width, height = input_size or model_input_size(onnx_path)
    machine = find_machine(target)
    if machine.gpu and precision not in ('auto', 'float32'):
        raise UserError(
            f'the kernels for {gpu.NAMES[machine.gpu]} compute in float32, not in {precision}',
            'leave the precision away',
        )
    digest = _sha256(onnx_path)
    ranges = find_ranges(onnx_path, digest, precision) if precision in ('auto', 'int8') else None
    if precision == 'auto':
        precision = best_precision(machine.cpu, machine.dot, ranges is not None)
    if precision != 'int8':
        ranges = None
    request = Request(
        digest,
        width,
        height,
        integer_cpu(machine.cpu, machine.dot) if ranges else machine.cpu,
        precision,
        color,
        tuple(map(float, mean)),
        float(scale),
        ranges.sha256 if ranges else '',
        None if machine.gpu else head,
    )
    if output is not None:
        path = Path(output)
        _make_folder(path.parent)
        _compile_to(path, onnx_path, request, machine, target, ranges, progress)
        return path
    path = _cache_folder() / request.file_name(onnx_path.stem)
    with _lock(path):
        if artifact.description_of(path) is None:
            _compile_to(path, onnx_path, request, machine, target, ranges, progress)
    return path


def compile_in_child(onnx_path: Path, request: Request, target: str = 'host') -> Path:
    """Compile for this machine in a process of its own, and return the library's path.

    The compiler (260 MB of it) never enters this process. The child's progress appears on
    standard error.

    :raises UserError: as `compile_model`, or the child died.
    """
    job = {**asdict(request), 'onnx_path': str(onnx_path), 'target': target}
    environment = {key: value for key, value in os.environ.items() if key != 'TVM_USE_RUNTIME_LIB'}
    package_root = str(Path(__file__).resolve().parents[2])
    environment['PYTHONPATH'] = os.pathsep.join(
        [package_root, *filter(None, [environment.get('PYTHONPATH')])]
    )
    child = subprocess.run(
        [sys.executable, '-m', 'face_tracking.compiler', json.dumps(job)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    lines = child.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = {}
    if 'library' in answer:
        return Path(answer['library'])
    if 'problem' in answer:
        raise UserError(answer['problem'], answer['remedy'])
    raise UserError(
        f'the compiler ended with status {child.returncode} while compiling {onnx_path}',
        'see its output above; runtime onnxruntime needs no compiler',
    )


def _sha256(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(
            f'cannot read model file {path} ({error.strerror})', 'check the path given as model'
        ) from error


def _compile_to(
    path: Path,
    onnx_path: Path,
    request: Request,
    machine,
    target: str,
    ranges: RangesFile | None,
    progress: Progress | None,
) -> None:
    """Write the library beside ``path`` and move it there when it is whole."""
    from face_tracking.compiler.lowering import Pixels
    from face_tracking.compiler.onnx_import import read_network
    from face_tracking.compiler.relax_module import build_program, export_library
    from face_tracking.compiler.targets import best_precision

    tell = progress or (lambda line: None)
    rgb = request.color == 'rgb'
    tell(f'reading {onnx_path.name}')
    network = read_network(onnx_path, (request.width, request.height), rgb=rgb)
    tell(
        f'scheduling {len(network.layers)} layers, {network.multiply_adds() / 1e6:.0f} million '
        f'multiply-adds, for {machine.cpu}'
    )
    pixels = Pixels(request.mean[::-1] if rgb else request.mean, request.scale)
    export = export_library
    if machine.gpu:
        from face_tracking.compiler.gpu.gpu_module import build_gpu_program, export_gpu_library

        export = export_gpu_library
        program, places = build_gpu_program(network, pixels)
    elif ranges:
        program, places = build_program(
            network,
            machine,
            pixels,
            best_precision(machine.cpu),
            quantized=_quantized(network, machine, ranges, pixels),
            head=request.head,
        )
    else:
        program, places = build_program(
            network, machine, pixels, request.precision, head=request.head
        )
    tell('generating code')
    description = {
        'format': artifact.FORMAT,
        'request': asdict(request),
        'model': onnx_path.name,
        'cross': target not in LOCAL,
        'target': str(machine.target),
        'device': machine.gpu or 'cpu',
        'versions': artifact.compiler_version(),
        'multiply_adds': network.multiply_adds(),
        'outputs': [
            {
                'name': output.name,
                'shape': output.shape,
                'planar': output.planar,
                'tensor': places[output.name][0],
                'begin': places[output.name][1],
            }
            for output in network.outputs
        ],
    }
    try:
        handle, name = tempfile.mkstemp(suffix='.so', prefix=f'.{path.stem}.', dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            export(program, machine, temporary)
            artifact.seal(temporary, description)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f'cannot write the compiled network {path} ({error.strerror})',
            'make room or choose another folder',
        ) from error
    tell(f'wrote {path}')


def _quantized(network, machine, ranges: RangesFile, pixels):
    """Return the network in whole numbers.

    :raises UserError: it has no such form, or the processor no instructions for it.
    """
    from face_tracking.compiler.int8.calibration_file import read_ranges
    from face_tracking.compiler.int8.quantization import quantize

    if not machine.dot:
        raise UserError(
            f'{machine.cpu} has no instructions that sum products of bytes',
            'choose precision float32 or float16',
        )
    # Two products of 255 and 64 still fit into 16 bits.
    limit = 64 if machine.dot == 'pmadd' else 127
    return quantize(network, read_ranges(ranges.path), limit, pixels.mean, pixels.scale)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'cannot make folder {folder} ({error.strerror})', 'choose another folder'
        ) from error


def _cache_folder() -> Path:
    """Return the cache's folder, or a temporary one where that cannot be written."""
    folder = artifact.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    other = Path(tempfile.gettempdir()) / f'face_tracking-{os.getuid()}'
    print(
        f'face_tracking: cannot write {folder}, compiling into {other} instead: set '
        'FACE_TRACKING_CACHE to a folder that can be written',
        file=sys.stderr,
    )
    _make_folder(other)
    return other


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Let one process at a time compile one library; the kernel lets go of the dead's locks."""
    try:
        with open(path.with_suffix('.lock'), 'w') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise UserError(
            f'cannot write {path.with_suffix(".lock")}',
            'remove it, or set FACE_TRACKING_CACHE to another folder',
        ) from error
