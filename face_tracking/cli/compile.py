# SPDX-License-Identifier: Apache-2.0
"""Compile a detector with TVM.

For this machine, into the cache, where the nodes find it; they compile by themselves what they do
not find there, so this merely takes the wait from their first start. For another machine, into a
file: put it beside the model or into ~/.cache/face_tracking/compiled there, under any name that
ends in .so, and the nodes load it with TVM's runtime alone.

Targets: host, pi5, pi4, x86-64-v3, x86-64-v4, or a TVM target such as
"llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a78". For another kind of processor a cross compiler
is needed (apt install gcc-aarch64-linux-gnu).

Two targets are no machine of TVM's: tflite writes an int8 TensorFlow Lite file for the runtime
tflite, and coral has edgetpu_compiler make of it what an Edge TPU runs. Both are calibrated on
pictures like those the detector will see: --calibration FOLDER.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from face_tracking.cli import options
from face_tracking.errors import UserError

HOST = 'host'
TFLITE, CORAL = 'tflite', 'coral'
CALIBRATION_PICTURES = 100


def add_arguments(parser: argparse.ArgumentParser):
    """Add this command's arguments."""
    parser.add_argument('--target', default=HOST, metavar='TARGET',
                        help='what to compile for (default: this machine)')
    parser.add_argument('--model', metavar='FILE|NAME', help='the detector (default: '
                        'FACE_TRACKING_MODEL, else the bundled model)')
    parser.add_argument('--input-size', type=options.size, metavar='WxH',
                        help="size of the network's input (default: that of the model)")
    parser.add_argument('--precision', choices=('auto', 'float32', 'float16'),
                        default='auto', help='of the arithmetic; auto takes float16 where the '
                        'processor computes in it (default: %(default)s)')
    parser.add_argument('--output', type=Path, metavar='FILE',
                        help='where to write the library (default: the cache; for another '
                             'machine MODEL-WxH-TARGET.so in this folder)')
    parser.add_argument('--calibration', type=Path, metavar='FOLDER',
                        help=f'targets {TFLITE} and {CORAL}: pictures with faces, of which '
                             f'{CALIBRATION_PICTURES} choose the ranges of the integers')


def run(args: argparse.Namespace) -> int:
    """Compile, and say where the library is."""
    from face_tracking.detection.model import load_model
    model = load_model(args.model, args.input_size)
    started = time.perf_counter()

    def tell(line: str):
        print(f'{time.perf_counter() - started:6.1f} s  {line}', file=sys.stderr, flush=True)

    make = _integers if args.target in (TFLITE, CORAL) else _library
    print(make(args, model, tell))
    return 0


def _library(args: argparse.Namespace, model, tell: Callable[[str], None]) -> Path:
    """Compile with TVM."""
    from face_tracking.compiler.build import compile_model
    described = model.description
    output = args.output
    if output is None and args.target != HOST:
        words = ''.join(letter if letter.isalnum() or letter in '._-' else '_'
                        for letter in args.target)
        output = Path(f'{model.name}-{model.width}x{model.height}-{words}.so')
    return compile_model(
        model.path, model.input_size, args.target, precision=args.precision,
        colour=described.colour, mean=described.mean, scale=described.scale, output=output,
        progress=tell)


def _integers(args: argparse.Namespace, model, tell: Callable[[str], None]) -> Path:
    """Write a TensorFlow Lite file, and have it compiled for an Edge TPU if that is wanted."""
    from face_tracking.compiler.library import cache_folder
    from face_tracking.detection.runtimes.accelerated import file_name
    from face_tracking.tflite.export import compiled_for_edge_tpu, export_tflite
    if args.precision != 'auto':
        raise UserError(f'the target {args.target} computes in int8, not in {args.precision}',
                        'leave --precision out')
    if args.calibration is None:
        raise UserError('int8 is calibrated on pictures', 'name a folder of some with faces by '
                        '--calibration FOLDER')
    output = args.output or cache_folder() / file_name(model, '.tflite')
    export_tflite(model, _calibration(args.calibration), output, tell)
    return compiled_for_edge_tpu(output, tell) if args.target == CORAL else output


def _calibration(folder: Path) -> Iterator:
    from face_tracking.camera.folder import find_images, read_image
    from face_tracking.cli.output import progress
    files = find_images(folder)
    if not files:
        raise UserError(f'there are no pictures in {folder}', 'give a folder that holds some')
    with progress(files[::-(-len(files) // CALIBRATION_PICTURES)], unit='picture') as bar:
        for path in bar:
            try:
                yield read_image(path)
            except UserError as error:
                bar.write(f'skipped: {error}', file=sys.stderr)
