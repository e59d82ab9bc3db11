# SPDX-License-Identifier: Apache-2.0
"""Executed instructions of one inference on an emulated Cortex-A76, each engine on its own.

Also those of shrinking an image of twice the input's size before it.

    python -m face_tracking.compiler.tuning.emulator                    # once
    python -m benchmarks.instructions --model models/face_tracking.yaml --json a76.json

No noise disturbs this figure, and loading is left out. It is no time: it knows nothing of caches
and of instructions that take longer. OpenCV and ncnn are compiled for any arm64 processor and
choose their code at run time; ONNX Runtime's wheel for aarch64 does not run in the emulation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from face_tracking.cli import arguments
from face_tracking.compiler.artifact import compiler_version
from face_tracking.compiler.int8.calibration_file import find_calibration
from face_tracking.compiler.tuning import emulator
from face_tracking.detection.model import Model, load_model
from face_tracking.errors import UserError
from face_tracking.runtimes.base import to_tensor

SCRIPT = str(Path(__file__).with_name('emulated_engine.py'))


def compile_for(target: str, model: Model, precision: str, folder: Path) -> Path:
    """Compile for a target in a process of its own, and return the library's path."""
    described = model.description
    path = folder / f'{precision}.so'
    job = {
        'onnx_path': str(model.path),
        'width': model.width,
        'height': model.height,
        'precision': precision,
        'color': described.color,
        'mean': list(described.mean),
        'scale': described.scale,
        'target': target,
        'output': str(path),
    }
    environment = {key: value for key, value in os.environ.items() if key != 'TVM_USE_RUNTIME_LIB'}
    child = subprocess.run(
        [sys.executable, '-m', 'face_tracking.compiler', json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        check=False,
    )
    answer = json.loads(child.stdout.splitlines()[-1]) if child.stdout else {}
    if 'library' not in answer:
        raise UserError(answer.get('problem', 'the compiler failed'), answer.get('remedy', ''))
    return path


def convert_for_ncnn(model: Model, folder: Path) -> Path:
    """Convert with pnnx, which is a program inside its wheel, and return the .param file."""
    import importlib.util

    found = importlib.util.find_spec('pnnx')
    if found is None:
        raise UserError(
            'pnnx, which converts models for ncnn, is missing',
            'pip install --no-deps -r benchmarks/requirements.txt',
        )
    (folder / 'model.onnx').write_bytes(model.onnx_bytes())
    shape = f'inputshape=[1,3,{model.height},{model.width}]'
    subprocess.run(
        [str(Path(found.origin).parent / 'pnnx'), 'model.onnx', shape, 'fp16=0'],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / 'model.ncnn.param'


def count(model: Model, image: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Return millions of instructions of one inference, and of downscaling an image, by engine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / 'picture.npy', image)
        np.save(folder / 'tensor.npy', np.ascontiguousarray(to_tensor(image, model.description)))
        (folder / 'model.onnx').write_bytes(model.onnx_bytes())
        param = convert_for_ncnn(model, folder)
        tasks = {
            'tvm float32': ('tvm', compile_for('pi5', model, 'float32', folder), 'picture.npy'),
            'tvm float16': ('tvm', compile_for('pi5', model, 'float16', folder), 'picture.npy'),
            **(
                {'tvm int8': ('tvm', compile_for('pi5', model, 'int8', folder), 'picture.npy')}
                if find_calibration(model.path, model.sha256, 'auto')
                else {}
            ),
            'ncnn fp32': ('ncnn-fp32', param, 'tensor.npy'),
            'ncnn (fp16)': ('ncnn', param, 'tensor.npy'),
            'opencv': ('opencv', folder / 'model.onnx', 'tensor.npy'),
            'tvm downscaling': ('downscale', folder / 'float32.so', 'large.npy'),
            'opencv downscaling': ('resize', '-', 'large.npy'),
        }
        np.save(folder / 'large.npy', image.repeat(2, axis=0).repeat(2, axis=1))
        counts = {
            label: emulator.instructions(
                [SCRIPT, engine, str(file), str(folder / data), str(folder / 'result.npy')]
            )
            for label, (engine, file, data) in tqdm(tasks.items(), unit='engine')
        }
        return counts, {label: counts.pop(f'{label} downscaling') for label in ('tvm', 'opencv')}


def main() -> int:
    """Count, print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default=None, help='a path or a name; default: the bundled one')
    parser.add_argument('--input-size', type=arguments.size, metavar='WxH')
    parser.add_argument('--json', type=Path, help='write the rows here as well')
    args = parser.parse_args()
    try:
        if emulator.missing():
            raise UserError(emulator.missing(), '')
        model = load_model(args.model, args.input_size)
        image = np.random.default_rng(0).integers(
            0, 256, (model.height, model.width, 3), dtype=np.uint8
        )
        counts, downscaling = count(model, image)
    except UserError as error:
        print(f'benchmarks.instructions: {error}', file=sys.stderr)
        return 2
    print(
        f'{model.name} at {model.width}x{model.height}, Cortex-A76, one thread: millions of '
        'instructions for each inference'
    )
    for label, millions in sorted(counts.items(), key=lambda item: item[1]):
        print(
            f'{label:<14}{millions:8.1f}   {millions / counts["ncnn fp32"]:5.2f} of ncnn fp32'
            f'   {millions / counts["ncnn (fp16)"]:5.2f} of ncnn as it comes'
        )
    print(
        f'downscaling an image before that: tvm {downscaling["tvm"]:.2f}, opencv {downscaling["opencv"]:.2f}'
    )
    if args.json:
        rows = [
            {
                'engine': label,
                'model': model.name,
                'width': model.width,
                'height': model.height,
                'million_instructions': round(millions, 3),
            }
            for label, millions in counts.items()
        ]
        args.json.write_text(
            json.dumps({'compiler': compiler_version(), 'rows': rows}, indent=1) + '\n'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
