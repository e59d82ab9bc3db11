# SPDX-License-Identifier: Apache-2.0
"""Compile a detector with TVM.

For this machine the library is written into the cache, where the nodes find it. The nodes compile
by themselves what is not in the cache, so this command only shortens their first start. For
another machine the library is written into a file: put it beside the model or into
~/.cache/face_tracking/compiled on that machine, with any name that ends in .so, and the nodes load
it with TVM's runtime alone.

Targets: host, pi5, pi4, x86-64-v3, x86-64-v4, or a TVM target such as
"llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a78". For another kind of processor a cross compiler
is needed (apt install gcc-aarch64-linux-gnu). opencl and vulkan are the GPU of this machine
(docs/gpu.md).

Two targets do not use TVM: tflite writes a TensorFlow Lite file in int8 for the runtime tflite,
and coral compiles that file with edgetpu_compiler for an Edge TPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from face_tracking.cli import arguments
from face_tracking.detection.detector_options import PRECISIONS
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from face_tracking.detection.model import Model

HOST = 'host'
TFLITE, CORAL = 'tflite', 'coral'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        '--target',
        default=HOST,
        metavar='TARGET',
        help='what to compile for (default: this machine)',
    )
    parser.add_argument(
        '--model',
        metavar='FILE|NAME',
        help='the detector (default: FACE_TRACKING_MODEL, else the bundled model)',
    )
    parser.add_argument(
        '--input-size',
        type=arguments.size,
        metavar='WxH',
        help="size of the network's input (default: that of the model)",
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='auto',
        help='of the arithmetic; auto = the fastest that finds the same faces '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--output',
        type=Path,
        metavar='FILE',
        help='where to write the library (default: the cache; for another '
        'machine MODEL-WxH-TARGET.so in this folder)',
    )
    parser.add_argument(
        '--calibration',
        type=Path,
        metavar='FOLDER',
        help='images with faces, from which the ranges of the integers are measured: '
        'for precision int8 if the model has no calibration or these images are more like '
        f'those of the robot, and for {TFLITE} and {CORAL}',
    )


def run(args: argparse.Namespace) -> int:
    """Compile, and print the path of the library."""
    from face_tracking.detection.model import load_model

    model = load_model(args.model, args.input_size)
    started = time.perf_counter()

    def report(line: str) -> None:
        print(f'{time.perf_counter() - started:6.1f} s  {line}', file=sys.stderr, flush=True)

    make = _integers if args.target in (TFLITE, CORAL) else _library
    print(make(args, model, report))
    return 0


def _library(args: argparse.Namespace, model: Model, report: Callable[[str], None]) -> Path:
    """Compile with TVM."""
    from face_tracking.compiler.driver import LOCAL, compile_model
    from face_tracking.compiler.targets import best_precision, host_cpu
    from face_tracking.detection.postprocess import OutputLayout

    described = model.description
    if args.calibration is not None:
        _calibrate(args, model, report)
    output = args.output
    if output is None and args.target not in LOCAL:
        words = ''.join(
            letter if letter.isalnum() or letter in '._-' else '_' for letter in args.target
        )
        output = Path(f'{model.name}-{model.width}x{model.height}-{words}.so')

    def compiled(precision: str) -> Path:
        return compile_model(
            model.path,
            model.input_size,
            args.target,
            precision=precision,
            color=described.color,
            mean=described.mean,
            scale=described.scale,
            layout=OutputLayout.of(described),
            output=output,
            progress=report,
        )

    path = compiled(args.precision)
    if args.precision == 'auto' and args.target == HOST and output is None:
        # At their first start the nodes compare this library with the one in floating point.
        compiled(best_precision(host_cpu()))
    return path


def _calibrate(args: argparse.Namespace, model: Model, report: Callable[[str], None]) -> None:
    """Write a calibration into the cache, where compiling for int8 finds it."""
    from face_tracking.cli.calibrate import calibrate_on_folder

    if args.precision not in ('auto', 'int8'):
        raise UserError(
            f'precision {args.precision} uses no calibration',
            'omit --calibration, or choose int8',
        )
    report('calibrating')
    for path in calibrate_on_folder(model, args.calibration):
        report(f'wrote {path}')


def _integers(args: argparse.Namespace, model: Model, report: Callable[[str], None]) -> Path:
    """Write a TensorFlow Lite file, and compile it for an Edge TPU if that is the target."""
    from face_tracking.compiler.artifact import cache_folder
    from face_tracking.compiler.tflite.tflite_export import compiled_for_edge_tpu, export_tflite
    from face_tracking.runtimes.accelerator_files import file_name

    if args.precision not in ('auto', 'int8'):
        raise UserError(
            f'the target {args.target} computes in int8, not in {args.precision}',
            'omit --precision',
        )
    if args.calibration is not None:
        _calibrate(args, model, report)
    output = args.output or cache_folder() / file_name(model, '.tflite')
    export_tflite(model, output, progress=report)
    return compiled_for_edge_tpu(output, report) if args.target == CORAL else output
