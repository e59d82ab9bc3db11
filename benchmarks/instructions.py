# SPDX-License-Identifier: Apache-2.0
"""Instructions of one inference on an emulated Cortex-A76, for each engine.

    python -m face_tracking.compiler.tuning.emulator                    # once
    face_tracking bench instructions --json a76.json

The first column counts executed instructions; no noise disturbs it, and loading is excluded. It
is not a time: it ignores caches and instructions that take longer. The other two columns are a
model of the time on a Raspberry Pi 5, not a measurement: the cycles of the busiest pipe of the
core (`face_tracking.compiler.tuning.port_model`), block by block, and as if all instructions
overlapped. All engines use one thread and begin with the input in their own format. Instructions
for the small images that are made before the network are printed as well.

OpenCV, ncnn, MNN and LiteRT are compiled for any arm64 processor and choose their code at run
time. ONNX Runtime's and OpenVINO's wheels for aarch64 do not run in the emulator. ncnn in int8
needs tools that no wheel contains.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.quantized_mnn import converted_mnn, quantized_mnn
from face_tracking.cli import arguments
from face_tracking.compiler.artifact import compiler_version
from face_tracking.compiler.int8.calibration_file import find_calibration
from face_tracking.compiler.tuning import emulator, port_model
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


def convert_for_mnn(model: Model, folder: Path, integers: bool = False) -> Path:
    """Convert with MNN's own tools, and quantize if asked."""
    try:
        return (quantized_mnn if integers else converted_mnn)(model, folder)
    except ImportError as error:
        raise UserError(
            'MNN, which converts models for itself, is missing',
            'pip install --no-deps -r benchmarks/requirements.txt',
        ) from error


Task = tuple[str, Path | str, str]
"""Engine, file and input of a row."""


def tasks_for(model: Model, image: np.ndarray, folder: Path) -> dict[str, Callable[[], Task]]:
    """Return by name of a row what prepares it."""
    from benchmarks.float_tflite import float_tflite
    from face_tracking.compiler.tflite.tflite_export import export_tflite

    np.save(folder / 'image.npy', image)
    tensor = np.ascontiguousarray(to_tensor(image, model.description))
    np.save(folder / 'planar.npy', tensor)
    np.save(folder / 'interleaved.npy', np.ascontiguousarray(tensor.transpose(0, 2, 3, 1)))
    np.save(folder / 'signed.npy', (image[None].astype(np.int16) - 128).astype(np.int8))
    large = image.repeat(2, axis=0).repeat(2, axis=1)
    np.save(folder / 'large.npy', large)
    np.save(folder / 'packed.npy', np.ascontiguousarray(large[..., :2]))
    (folder / 'model.onnx').write_bytes(model.onnx_bytes())

    def tvm(precision: str) -> Task:
        return 'tvm', compile_for('pi5', model, precision, folder), 'image'

    def litert() -> Task:
        (folder / 'model.tflite').write_bytes(float_tflite(model))
        return 'litert', folder / 'model.tflite', 'interleaved'

    tasks: dict[str, Callable[[], Task]] = {
        'tvm float32': lambda: tvm('float32'),
        'tvm float16': lambda: tvm('float16'),
        'ncnn fp32': lambda: ('ncnn-fp32', convert_for_ncnn(model, folder), 'planar'),
        'ncnn (fp16)': lambda: ('ncnn', convert_for_ncnn(model, folder), 'planar'),
        'mnn fp32': lambda: ('mnn', convert_for_mnn(model, folder), 'planar'),
        'mnn fp16': lambda: ('mnn-fp16', convert_for_mnn(model, folder), 'planar'),
        'mnn int8': lambda: ('mnn', convert_for_mnn(model, folder, integers=True), 'planar'),
        'litert fp32': litert,
        'opencv fp32': lambda: ('opencv', folder / 'model.onnx', 'planar'),
    }
    if find_calibration(model.path, model.sha256, 'auto'):
        tasks['tvm int8'] = lambda: tvm('int8')
        tasks['litert int8'] = lambda: (
            'litert',
            export_tflite(model, folder / 'int8.tflite'),
            'signed',
        )
    return tasks


BEFORE = {
    'tvm': {'downscale': 'large', 'yuyv_half': 'packed', 'yuyv_gray': 'packed'},
    'opencv': {'resize': 'large'},
}
"""Functions of `emulated_engine.py` that make a small image, by engine, and their inputs."""


def count(
    model: Model, image: np.ndarray, only: str = ''
) -> tuple[dict[str, list[port_model.Block]], dict[str, float]]:
    """Return the blocks of one inference by engine, and the instructions of small images.

    :param only: count only engines whose name contains this.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = str(folder / 'result.npy')
        found: dict[str, list[port_model.Block]] = {}
        before: dict[str, float] = {}
        tasks = {
            label: prepare
            for label, prepare in tasks_for(model, image, folder).items()
            if only in label
        }
        for label, prepare in tqdm(tasks.items(), unit='engine'):
            engine, file, data = prepare()
            words = [SCRIPT, engine, str(file), str(folder / f'{data}.npy'), result]
            try:
                found[label] = emulator.instruction_blocks(words)
            except (RuntimeError, subprocess.TimeoutExpired) as error:  # it crashed, or waits
                print(f'{label}: {str(error)[:200]}', file=sys.stderr)
            for function, source in BEFORE.get(engine, {}).items():
                if function not in before:
                    words = [SCRIPT, function, str(file), str(folder / f'{source}.npy'), result]
                    before[function] = emulator.instructions(words)
        return found, before


def main() -> int:
    """Count, print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default=None, help='a path or a name; default: the bundled one')
    parser.add_argument('--input-size', type=arguments.size, metavar='WxH')
    parser.add_argument(
        '--only',
        default='',
        metavar='WORD',
        help='count only engines whose name contains this, for example tvm',
    )
    parser.add_argument('--json', type=Path, help='write the rows here as well')
    args = parser.parse_args()
    try:
        if emulator.missing():
            raise UserError(emulator.missing(), '')
        model = load_model(args.model, args.input_size)
        image = np.random.default_rng(0).integers(
            0, 256, (model.height, model.width, 3), dtype=np.uint8
        )
        counts, before = count(model, image, args.only)
    except UserError as error:
        print(f'benchmarks.instructions: {error}', file=sys.stderr)
        return 2
    rows = [
        {
            'engine': label,
            'model': model.name,
            'width': model.width,
            'height': model.height,
            'million_instructions': round(port_model.executed(blocks) / 1e6, 3),
            'modeled_ms': round(port_model.milliseconds(port_model.by_block(blocks)), 3),
            'overlapped_ms': round(port_model.milliseconds(port_model.overlapped(blocks)), 3),
        }
        for label, blocks in counts.items()
    ]
    show(model, rows)
    listed = ', '.join(f'{function} {value:.2f}' for function, value in before.items())
    print(f'small images before that, million instructions: {listed or "not counted"}')
    if args.json:
        content = {'compiler': compiler_version(), 'rows': rows}
        args.json.write_text(json.dumps(content, indent=1) + '\n')
    return 0


COLUMNS = {'million_instructions': 22, 'modeled_ms': 12, 'overlapped_ms': 15}
"""The measured and modeled columns of the table, and their widths."""


def show(model: Model, rows: list[dict]) -> None:
    """Print the table, floating point and int8 separately."""
    print(
        f'{model.name} at {model.width}x{model.height}, Cortex-A76, one thread, for each inference'
    )
    print(
        f'{"engine":<16}{"million instructions":>22}{"ratio":>8}{"modeled ms":>12}{"ratio":>8}'
        f'{"overlapped ms":>15}{"ratio":>8}'
    )
    for kind in ('float', 'int8'):
        own = [row for row in rows if row['engine'].endswith('int8') == (kind == 'int8')]
        others = [row for row in own if not row['engine'].startswith('tvm')]
        print(f'{kind}: ratio to the best of the others')
        for row in sorted(own, key=lambda row: row['million_instructions']):
            text = f'  {row["engine"]:<14}'
            for key, width in COLUMNS.items():
                best = min((other[key] for other in others), default=None)
                ratio = f'{row[key] / best:>8.2f}' if best else f'{"-":>8}'
                text += f'{row[key]:>{width}.2f}{ratio}'
            print(text)


if __name__ == '__main__':
    sys.exit(main())
