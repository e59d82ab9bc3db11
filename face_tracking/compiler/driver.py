# SPDX-License-Identifier: Apache-2.0
"""Compiling a network into the cache: in this process, or in a child process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_tracking import files
from face_tracking.compiler import artifact
from face_tracking.compiler.artifact import Request
from face_tracking.compiler.gpu import gpu_devices as gpu
from face_tracking.compiler.int8.calibration_file import (
    CalibrationFile,
    find_calibration,
    read_calibration,
)
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.errors import TransientError, UserError

if TYPE_CHECKING:
    import tvm

    from face_tracking.compiler.graph import Network
    from face_tracking.compiler.int8.quantization import Quantized
    from face_tracking.compiler.lowering import Pixels
    from face_tracking.compiler.targets import Machine

Progress = Callable[[str], None]
LOCAL = ('host', *gpu.KINDS)
"""Targets that are this machine."""
LITTLE_SPACE = 32 << 20
"""A failure of the compiler with less free space, in bytes, is taken for a full disk."""
_children: set[subprocess.Popen[str]] = set()
_children_lock = threading.Lock()


def compile_model(
    onnx_path: Path | str,
    input_size: tuple[int, int] | None = None,
    target: str = 'host',
    *,
    precision: str = 'auto',
    color: str = 'bgr',
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    scale: float = 1.0,
    layout: OutputLayout | None = None,
    output: Path | str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Compile a detector to a shared library that TVM's runtime alone can run.

    :param onnx_path: the ONNX file.
    :param input_size: (width, height) of the images; the size in the file if None.
    :param target: ``host``, ``pi5``, ``opencl``, another preset of `targets.PRESETS`, or a TVM
        target.
    :param precision: ``float32``, ``float16``, ``int8``, or ``auto``: the fastest one by the
        processor's kind in which detections stay the same. int8 needs a calibration
        (`calibration_file.find_calibration`).
    :param color: ``bgr`` or ``rgb``, the channel order of the network's input; images are BGR.
    :param mean: subtracted from each pixel value, in the network's channel order.
    :param scale: factor applied after the subtraction.
    :param layout: what the outputs mean, so that the library can contain the postprocessing. A
        GPU leaves that to NumPy.
    :param output: where to write the library. If None, it is written into the cache, unless it is
        there already.
    :param progress: called with a line of text at each step.
    :returns: the path of the library.
    :raises UserError: the model is missing, damaged or has layers that the compiler does not
        support, the target is unknown, or there is no C compiler.
    :raises TransientError: the disk is full.
    """
    files.provide_home()
    from face_tracking.compiler.onnx_import import model_input_size
    from face_tracking.compiler.targets import best_precision, find_machine, integer_cpu

    onnx_path = Path(onnx_path)
    width, height = input_size or model_input_size(onnx_path)
    machine = find_machine(target)
    if machine.gpu and precision not in ('auto', 'float32'):
        raise UserError(
            f'the kernels for {gpu.NAMES[machine.gpu]} compute in float32, not in {precision}',
            'omit the precision',
        )
    digest = sha256(files.read_bytes(onnx_path, files.MAX_MODEL_BYTES, 'model')).hexdigest()
    calibration = None
    if precision in ('auto', 'int8'):
        calibration = find_calibration(onnx_path, digest, precision)
    if precision == 'auto':
        precision = best_precision(machine.cpu, machine.dot, calibration is not None)
    if precision != 'int8':
        calibration = None
    request = Request(
        digest,
        width,
        height,
        integer_cpu(machine.cpu, machine.dot) if calibration else machine.cpu,
        precision,
        color,
        (float(mean[0]), float(mean[1]), float(mean[2])),
        float(scale),
        calibration.sha256 if calibration else '',
        None if machine.gpu else layout,
    )
    job = _Job(onnx_path, request, machine, target, calibration, progress or (lambda line: None))
    if output is not None:
        path = Path(output)
        _make_folder(path.parent)
        job.write(path)
        return path
    path = files.make_private_folder(artifact.cache_folder()) / request.file_name(onnx_path.stem)
    with files.exclusive(path.with_suffix('.lock')):
        # The lock is held, so what a killed compiler left behind belongs to no process.
        for left in path.parent.glob(f'.{path.name}.*'):
            shutil.rmtree(left, ignore_errors=True)
        if artifact.description_of(path) is None:
            job.write(path)
    return path


def compile_in_child(
    onnx_path: Path, request: Request, target: str = 'host', background: bool = False
) -> Path:
    """Compile for this machine in a child process, and return the library's path.

    The compiler, which takes 260 MB, never enters this process. The child ends with this process,
    and does not receive the signals of its terminal. Its progress appears on standard error.

    :param background: whether to leave the processor to all other processes.
    :raises UserError: see :func:`compile_model`.
    :raises TransientError: the disk is full, or the child was killed, for example because memory
        was short.
    """
    job = {**asdict(request), 'onnx_path': str(onnx_path), 'target': target}
    job['background'] = background
    answer, status = _run_child(job)
    if 'library' in answer:
        return Path(answer['library'])
    if 'problem' in answer:
        kind = TransientError if answer.get('transient') else UserError
        raise kind(answer['problem'], answer['remedy'])
    if status < 0:
        raise TransientError(
            f'the compiler was stopped by signal {-status} while compiling {onnx_path}',
            'free some memory, or use runtime onnxruntime, which needs no compiler',
        )
    raise UserError(
        f'the compiler ended with status {status} while compiling {onnx_path}',
        'see its output above; runtime onnxruntime needs no compiler',
    )


def stop_compilers() -> None:
    """Stop all child processes that compile; :func:`compile_in_child` then raises its error."""
    with _children_lock:
        for child in _children:
            child.kill()


def _run_child(job: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Run the child process and return its answer and its exit status."""
    environment = {key: value for key, value in os.environ.items() if key != 'TVM_USE_RUNTIME_LIB'}
    package_root = str(Path(__file__).resolve().parents[2])
    environment['PYTHONPATH'] = os.pathsep.join(
        [package_root, *filter(None, [environment.get('PYTHONPATH')])]
    )
    text = json.dumps({**job, 'parent': os.getpid()})
    with subprocess.Popen(
        [sys.executable, '-m', 'face_tracking.compiler', text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as child:
        with _children_lock:
            _children.add(child)
        try:
            printed = child.communicate()[0]
        except BaseException:
            child.kill()
            raise
        finally:
            with _children_lock:
                _children.discard(child)
    lines = printed.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = {}
    return answer if isinstance(answer, dict) else {}, child.returncode


class _Job:
    """One network that is to be compiled for one machine."""

    def __init__(
        self,
        onnx_path: Path,
        request: Request,
        machine: Machine,
        target: str,
        calibration: CalibrationFile | None,
        progress: Progress,
    ):
        self.onnx_path, self.request, self.machine = onnx_path, request, machine
        self.target, self.calibration, self.progress = target, calibration, progress

    def write(self, path: Path) -> None:
        """Write the library to a temporary file and move it to ``path`` when it is complete."""
        network, program, places = self._program()
        self.progress('generating code')
        try:
            with _work_folder(path) as folder:
                library = folder / 'library.so'
                self._export(program, library)
                artifact.seal(library, self._description(network, places))
                library.chmod(0o644)
                library.replace(path)
        except OSError as error:
            raise files.os_error(
                f'cannot write the compiled network {path}',
                error,
                'make room or choose another folder',
            ) from error
        self.progress(f'wrote {path}')

    def _program(self) -> tuple[Network, tvm.IRModule, dict[str, tuple[int, int]]]:
        """Return the network, its program, and where that leaves each output."""
        from face_tracking.compiler.lowering import Pixels
        from face_tracking.compiler.onnx_import import read_network
        from face_tracking.compiler.relax_module import build_program
        from face_tracking.compiler.targets import best_precision

        request, machine = self.request, self.machine
        rgb = request.color == 'rgb'
        self.progress(f'reading {self.onnx_path.name}')
        network = read_network(self.onnx_path, (request.width, request.height), rgb=rgb)
        self.progress(
            f'scheduling {len(network.layers)} layers, '
            f'{network.multiply_adds() / 1e6:.0f} million multiply-adds, for {machine.cpu}'
        )
        mean = request.mean[::-1] if rgb else request.mean
        pixels = Pixels(mean, request.scale).before(network)
        if machine.gpu:
            from face_tracking.compiler.gpu.gpu_module import build_gpu_program

            return network, *build_gpu_program(network, pixels)
        quantized = None
        precision = request.precision
        if self.calibration:
            quantized = _quantized(network, machine, self.calibration, pixels)
            precision = best_precision(machine.cpu)
        return network, *build_program(
            network, machine, pixels, precision, quantized=quantized, layout=request.layout
        )

    def _export(self, program: tvm.IRModule, library: Path) -> None:
        from face_tracking.compiler.gpu.gpu_module import export_gpu_library
        from face_tracking.compiler.relax_module import export_library

        export = export_gpu_library if self.machine.gpu else export_library
        try:
            export(program, self.machine, library)
        except (OSError, UserError):
            raise
        except Exception as error:  # errors of TVM and of the linker share no base class but this
            if shutil.disk_usage(library.parent).free < LITTLE_SPACE:
                raise TransientError(
                    f'the disk of {library.parent.parent} is full', 'make room there'
                ) from error
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f'the compiler failed on {self.onnx_path} ({lines[-1][:200]})',
                'use runtime onnxruntime, which needs no compiler',
            ) from error

    def _description(self, network: Network, places: dict[str, tuple[int, int]]) -> dict[str, Any]:
        """Return what the library contains, see `artifact.seal`."""
        return {
            'format': artifact.FORMAT,
            'request': asdict(self.request),
            'model': self.onnx_path.name,
            'cross': self.target not in LOCAL,
            'target': str(self.machine.target),
            'device': self.machine.gpu or 'cpu',
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


def _quantized(
    network: Network, machine: Machine, calibration: CalibrationFile, pixels: Pixels
) -> Quantized:
    """Return the network in integers.

    :raises UserError: it has no integer form, or the processor no instructions for it.
    """
    from face_tracking.compiler.int8.quantization import quantize
    from face_tracking.compiler.targets import best_precision

    if not machine.dot:
        raise UserError(
            f'{machine.cpu} has no instructions that sum products of bytes',
            'choose precision float32 or float16',
        )
    # The sum of two products of 255 and 64 still fits into 16 bits.
    limit = 64 if machine.dot == 'pmadd' else 127
    ranges = read_calibration(calibration.path)
    half = best_precision(machine.cpu) == 'float16'
    return quantize(network, ranges, limit, pixels.mean, pixels.scale, half)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.os_error(
            f'cannot make the folder {folder}', error, 'choose another folder'
        ) from error


@contextlib.contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside ``path`` that takes all temporary files, of the linker as well."""
    folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
    previous, variable = tempfile.tempdir, os.environ.get('TMPDIR')
    tempfile.tempdir = os.environ['TMPDIR'] = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = previous
        if variable is None:
            os.environ.pop('TMPDIR', None)
        else:
            os.environ['TMPDIR'] = variable
        shutil.rmtree(folder, ignore_errors=True)
