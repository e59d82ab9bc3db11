# SPDX-License-Identifier: Apache-2.0
"""Exporting a detector to a TensorFlow Lite file in int8, and to one for an Edge TPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import cast

from face_tracking.compiler.int8.calibration_file import (
    CalibrationFile,
    find_calibration,
    read_calibration,
)
from face_tracking.compiler.int8.quantization import Ranges
from face_tracking.compiler.onnx_import import read_network
from face_tracking.compiler.tflite.integer_network import quantized
from face_tracking.detection.model import Model
from face_tracking.errors import UserError

EDGE_TPU_COMPILER = 'edgetpu_compiler'


def export_tflite(
    model: Model,
    output: Path,
    ranges: Ranges | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write a detector as a TensorFlow Lite file that computes in 8-bit integers.

    :param model: at the input size of the file.
    :param output: where to write it.
    :param ranges: of its feature maps; those of the model's calibration if None.
    :param progress: called with a line of text at each step.
    :returns: ``output``.
    :raises UserError: LiteRT is missing, the model has layers that do not exist there, it was not
        calibrated, or the file cannot be written.
    """
    try:
        from face_tracking.compiler.tflite.flatbuffer_writer import written
    except ImportError as error:
        raise UserError(
            f'the Python package ai-edge-litert, which contains the schema of TensorFlow '
            f'Lite files, is missing ({error})',
            'pip install ai-edge-litert',
        ) from error
    report = progress or (lambda line: None)
    pixels = model.description
    if len(set(pixels.mean)) > 1 or pixels.mean[0] % 1:
        raise UserError(
            f'the mean {pixels.mean} of {model.name} is not one integer, as an int8 input needs',
            'choose another runtime',
        )
    report(f'reading {model.path.name}')
    network = read_network(model.path, model.input_size, rgb=pixels.color == 'rgb')
    if ranges is None:
        # For int8 it is found or an error.
        calibration = cast(CalibrationFile, find_calibration(model.path, model.sha256))
        ranges = read_calibration(calibration.path)
    integers = quantized(network, ranges, pixels.mean[0], pixels.scale)
    content = written(
        integers,
        f'{model.name} {model.width}x{model.height} of {model.path.name}, SHA-256 {model.sha256}',
    )
    _write(output, content)
    report(f'wrote {output}')
    return output


def compiled_for_edge_tpu(path: Path, progress: Callable[[str], None] | None = None) -> Path:
    """Compile a TensorFlow Lite file for an Edge TPU, with Google's compiler.

    :returns: the file that it wrote beside ``path``.
    :raises UserError: the compiler is missing or fails.
    """
    program = shutil.which(EDGE_TPU_COMPILER)
    if program is None:
        raise UserError(
            f'{EDGE_TPU_COMPILER} is missing, so {path} is not yet compiled',
            "install it on an x86-64 machine, from Coral's Debian repository "
            '(docs/accelerators.md)',
        )
    done = subprocess.run(
        [program, '--out_dir', str(path.parent), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    result = path.with_name(f'{path.stem}_edgetpu.tflite')
    if done.returncode or not result.is_file():
        printed = done.stdout.strip().splitlines() or ['without a message']
        raise UserError(
            f'{EDGE_TPU_COMPILER} cannot compile {path} ({printed[-1]})',
            f'run {EDGE_TPU_COMPILER} --show_operations {path}',
        )
    if progress:
        progress(f'wrote {result}')
    return result


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f'cannot write {path} ({error.strerror})', 'check the folder and its permissions'
        ) from error
