# SPDX-License-Identifier: Apache-2.0
"""What an embedding costs: milliseconds on one thread, instructions on an emulated Cortex-A76.

    python -m benchmarks.recognition                        # the bundled network
    python -m benchmarks.recognition --model sface --a76    # SFace, in the emulator as well

The emulator is `python -m face_tracking.compiler.tuning.emulator`. See benchmarks/instructions.py
for what a count of instructions is worth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.instructions import SCRIPT, compile_for
from face_tracking.compiler.int8.calibration_file import find_calibration
from face_tracking.compiler.tuning import emulator
from face_tracking.detection.model import load_model
from face_tracking.errors import UserError
from face_tracking.runtimes.base import create_runtime, to_tensor

ROUNDS = 40


def milliseconds(model, image: np.ndarray) -> dict[str, float]:
    """Return the fastest of many inferences by engine and precision, in turns."""
    engines = {}
    for name, precision in (
        ('tvm', 'float32'),
        ('tvm', 'int8'),
        ('onnxruntime', 'auto'),
        ('opencv', 'auto'),
    ):
        try:
            runtime = create_runtime(name, model, 1, precision=precision)
        except UserError as error:
            print(f'{name} {precision}: {error}', file=sys.stderr)
            continue
        engines[f'{name} {precision}' if name == 'tvm' else name] = runtime
    times = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, runtime in engines.items():
            begin = time.perf_counter()
            runtime.infer(image)
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: min(row) for name, row in times.items()}


def instructions(model, image: np.ndarray) -> dict[str, float]:
    """Return millions of instructions of one inference, by engine and precision."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / 'image.npy', image)
        np.save(folder / 'tensor.npy', np.ascontiguousarray(to_tensor(image, model.description)))
        tasks = {
            f'tvm {precision}': ('tvm', compile_for('pi5', model, precision, folder), 'image')
            for precision in ('float32', 'float16', 'int8')
            if precision != 'int8' or find_calibration(model.path, model.sha256, 'auto')
        }
        tasks['opencv'] = ('opencv', model.path, 'tensor')
        return {
            label: emulator.instructions(
                [SCRIPT, engine, str(file), str(folder / f'{data}.npy'), str(folder / 'out.npy')]
            )
            for label, (engine, file, data) in tasks.items()
        }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='face_embedding')
    parser.add_argument('--a76', action='store_true', help='count instructions as well')
    args = parser.parse_args()
    try:
        model = load_model(args.model)
        image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
        for name, value in milliseconds(model, image).items():
            print(f'{model.name} {name}: {value:.2f} ms a face, one thread')
        if args.a76:
            for name, value in instructions(model, image).items():
                print(f'{model.name} {name}: {value:.1f} million A76 instructions a face')
    except UserError as error:
        print(f'benchmarks.recognition: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
