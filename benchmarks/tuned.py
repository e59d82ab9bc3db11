# SPDX-License-Identifier: Apache-2.0
"""What the tuning records are worth: the network compiled with them beside the defaults.

    python -m benchmarks.tuned                      # x86-64-v3 and, where it runs, x86-64-v4
    python -m benchmarks.tuned --target pi5         # instructions, in the emulated Cortex-A76

Both are compiled without the user's own measurements and take turns in one process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from face_tracking.cli import arguments
from face_tracking.compiler.targets import X86_LEVELS, host_cpu
from face_tracking.compiler.tuning import emulator
from face_tracking.detection.model import Model, load_model

SCRIPT = str(Path(__file__).with_name('emulated_engine.py'))
COMPILE = """
import sys
sys.modules['torch'] = None
from pathlib import Path
from face_tracking.compiler import tiling, tuning_records
from face_tracking.compiler.driver import compile_model
from face_tracking.detection.model import load_model
name, width, height, target, precision, kind, output = sys.argv[1:]
shipped = lambda cpu: tuning_records.read_records(tuning_records.SHIPPED / f'{cpu}.json')
tiling.records_for = shipped if kind == 'records' else lambda cpu: {}
model = load_model(name or None, (int(width), int(height)))
described = model.description
compile_model(model.path, model.input_size, target, precision=precision, color=described.color,
              mean=described.mean, scale=described.scale, output=output)
"""


def compile_both(model: Model, name: str, target: str, precision: str, folder: Path) -> dict:
    """Return the libraries by kind: ``default`` and ``records``."""
    environment = {key: value for key, value in os.environ.items() if key != 'TVM_USE_RUNTIME_LIB'}
    libraries = {}
    for kind in ('default', 'records'):
        libraries[kind] = folder / f'{target}-{precision}-{kind}.so'
        subprocess.run(
            [
                sys.executable,
                '-c',
                COMPILE,
                name,
                str(model.width),
                str(model.height),
                target,
                precision,
                kind,
                str(libraries[kind]),
            ],
            env=environment,
            check=True,
        )
    return libraries


def seconds(libraries: dict, model: Model, rounds: int) -> dict[str, list[float]]:
    """Return the times of all turns on this machine, one thread."""
    from face_tracking.runtimes.compiled_model import CompiledModel

    networks = {kind: CompiledModel(path) for kind, path in libraries.items()}
    image = np.random.default_rng(0).integers(
        0, 256, (model.height, model.width, 3), dtype=np.uint8
    )
    times = {kind: [] for kind in networks}
    for _ in range(rounds):
        for kind, network in networks.items():
            begin = time.perf_counter()
            network.run(image)
            times[kind].append(time.perf_counter() - begin)
    return times


def instructions(libraries: dict, model: Model, folder: Path) -> dict[str, float]:
    """Return millions of instructions of one inference in the emulator."""
    np.save(
        folder / 'image.npy',
        np.random.default_rng(0).integers(0, 256, (model.height, model.width, 3), dtype=np.uint8),
    )
    return {
        kind: emulator.instructions(
            [SCRIPT, 'tvm', str(path), str(folder / 'image.npy'), str(folder / 'result.npy')]
        )
        for kind, path in libraries.items()
    }


def main() -> int:
    """Compile, measure and print a line for each target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='a path or a name; default: the bundled one')
    parser.add_argument('--input-size', type=arguments.size, metavar='WxH')
    parser.add_argument('--target', choices=(*list(X86_LEVELS)[:2], 'pi5'), action='append')
    parser.add_argument('--rounds', type=arguments.positive, default=300)
    args = parser.parse_args()
    model = load_model(args.model or None, args.input_size)
    here = [
        level
        for level in list(X86_LEVELS)[:2]
        if level >= 'x86-64-v3' and (host_cpu() == 'x86-64-v4' or level == host_cpu())
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target in args.target or here:
            for precision in ('float32', 'float16') if target == 'pi5' else ('float32',):
                libraries = compile_both(model, args.model, target, precision, folder)
                label = f'{model.name} {model.width}x{model.height} {target} {precision}'
                if target == 'pi5':
                    counts = instructions(libraries, model, folder)
                    print(
                        f'{label}: {counts["default"]:.2f} million instructions by default, '
                        f'{counts["records"]:.2f} with the records: '
                        f'{counts["records"] / counts["default"]:.3f}',
                        flush=True,
                    )
                    continue
                times = seconds(libraries, model, args.rounds)
                median, least = (
                    {kind: function(values) for kind, values in times.items()}
                    for function in (np.median, min)
                )
                print(
                    f'{label}: {1e3 * median["default"]:.2f} ms by default, '
                    f'{1e3 * median["records"]:.2f} with the records: medians '
                    f'{median["records"] / median["default"]:.3f}, fastest '
                    f'{least["records"] / least["default"]:.3f}',
                    flush=True,
                )
    return 0


if __name__ == '__main__':
    sys.exit(main())
