# SPDX-License-Identifier: Apache-2.0
"""Compile a detector with TVM.

For this machine, into the cache, where the nodes find it; they compile by themselves what they do
not find there, so this merely takes the wait from their first start. For another machine, into a
file: put it beside the model or into ~/.cache/face_tracking/compiled there, under any name that
ends in .so, and the nodes load it with TVM's runtime alone.

Targets: host, pi5, pi4, x86-64-v3, x86-64-v4, or a TVM target such as
"llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a78". For another kind of processor a cross compiler
is needed (apt install gcc-aarch64-linux-gnu).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from face_tracking.cli import options

HOST = 'host'


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


def run(args: argparse.Namespace) -> int:
    """Compile, and say where the library is."""
    from face_tracking.compiler.build import compile_model
    from face_tracking.detection.model import load_model
    model = load_model(args.model, args.input_size)
    described = model.description
    output = args.output
    if output is None and args.target != HOST:
        words = ''.join(letter if letter.isalnum() or letter in '._-' else '_'
                        for letter in args.target)
        output = Path(f'{model.name}-{model.width}x{model.height}-{words}.so')
    started = time.perf_counter()

    def tell(line: str):
        print(f'{time.perf_counter() - started:6.1f} s  {line}', file=sys.stderr, flush=True)

    library = compile_model(
        model.path, model.input_size, args.target, precision=args.precision,
        colour=described.colour, mean=described.mean, scale=described.scale, output=output,
        progress=tell)
    print(library)
    return 0
