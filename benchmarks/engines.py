#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every engine on the same weights and images: ``face_tracking bench``.

The engines take turns in one process, and of two images in each turn the second one is timed. Two
times are measured. "network" begins with the input in the format that the engine expects; "image"
begins with the image, uint8 (H, W, 3) BGR of the network's size, and includes the conversion, for
which every engine gets the fastest way that is known. Both end with the raw outputs in NumPy.

The table shows the median and the fastest turn, which means more while other programs run, and the
ratio of the fastest turn to that of the best baseline of the same kind: floating point is compared
with floating point, 8-bit integers with 8-bit integers. "agrees" is the largest difference of any
raw output from ONNX Runtime's in float32, relative to the largest output. An engine that is not
installed is listed with what to install.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np

from benchmarks.engine_rows import BASELINES, ENGINES, REFERENCE, TUNED, Loaded, NotAvailableError
from face_tracking.cli import arguments
from face_tracking.cli.output import progress, write_text
from face_tracking.detection.model import Model, load_model
from face_tracking.errors import UserError

FIGURES = ('network', 'image')
Outputs = list[np.ndarray]


@dataclass
class Times:
    """Milliseconds of each turn of one engine."""

    network: list[float]
    image: list[float]


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--model',
        action='append',
        metavar='FILE|NAME',
        help='the detector, may be repeated (default: the bundled one)',
    )
    parser.add_argument(
        '--input-size',
        type=arguments.size,
        metavar='WxH',
        help="size of the network's input (default: that of the model)",
    )
    parser.add_argument(
        '--threads',
        type=arguments.positive,
        default=1,
        metavar='N',
        help='number of CPU threads of each engine (default: %(default)s)',
    )
    parser.add_argument(
        '--rounds',
        type=arguments.positive,
        default=100,
        metavar='N',
        help='turns of each engine (default: %(default)s)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='draw the table')
    args = parser.parse_args()
    # The naive row compiles in this process, and its thread pool would take every second core.
    os.environ['TVM_USE_RUNTIME_LIB'] = '0'
    os.environ.setdefault('TVM_NUM_THREADS', str(os.cpu_count() or 1))
    cv2.setNumThreads(args.threads)
    rows = []
    try:
        for name in args.model or [None]:
            model = load_model(name, args.input_size)
            found = measured(model, args.threads, args.rounds)
            rows += found
            show(model, found)
            show_speed(model, found, args.threads)
    except UserError as error:
        print(f'engines.py: {error}', file=sys.stderr)
        return 2
    if args.json:
        write_text(args.json, json.dumps(rows, indent=1) + '\n')
    if args.plot:
        draw(rows, args.plot)
    return 0


def title(model: Model) -> str:
    """Return the model's name and input size."""
    return f'{model.name} {model.width}x{model.height}'


def image_for(model: Model) -> np.ndarray:
    """Return the image of all engines: soft noise, uint8 (H, W, 3)."""
    noise = np.random.default_rng(1).integers(0, 256, (model.height, model.width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def measured(model: Model, threads: int, rounds: int) -> list[dict]:
    """Return a row for each engine, also for those that are not available."""
    photo = image_for(model)
    with tempfile.TemporaryDirectory() as folder:
        loaded, missing = _load_all(model, threads, Path(folder))
        outputs = {
            name: [np.array(output) for output in engine.infer(engine.prepare(photo))]
            for name, engine in loaded.items()
        }
        times = _take_turns(loaded, photo, rounds)
    rows = []
    for engine in ENGINES:
        row = {
            'engine': engine.name,
            'kind': engine.kind,
            'model': title(model),
            'threads': threads,
        }
        if engine.name in loaded:
            for figure in FIGURES:
                taken = getattr(times[engine.name], figure)
                row[f'{figure}_median_ms'] = median(taken)
                row[f'{figure}_fastest_ms'] = min(taken)
            row['difference'] = difference(outputs, engine.name)
        else:
            row['missing'] = missing[engine.name]
        rows.append(row)
    for figure in FIGURES:
        add_ratios(rows, figure)
    return rows


def _load_all(
    model: Model, threads: int, folder: Path
) -> tuple[dict[str, Loaded], dict[str, str]]:
    loaded, missing = {}, {}
    for engine in ENGINES:
        place = folder / engine.name.replace(' ', '_')
        place.mkdir()
        try:
            with _quiet():
                loaded[engine.name] = engine.load(model, threads, place)
        except NotAvailableError as reason:
            missing[engine.name] = str(reason)
        except Exception as error:  # an engine that fails must not end the others' measurement
            lines = str(error).strip().splitlines() or [type(error).__name__]
            missing[engine.name] = f'it fails on this machine ({lines[-1][:120]})'
    return loaded, missing


def _take_turns(loaded: dict[str, Loaded], photo: np.ndarray, rounds: int) -> dict[str, Times]:
    times = {name: Times([], []) for name in loaded}
    for _ in progress(range(rounds), unit='round'):
        for name, engine in loaded.items():
            # Meanwhile the threads of the engine before stop spinning.
            engine.infer(engine.prepare(photo))
            begin = perf_counter()
            prepared = engine.prepare(photo)
            between = perf_counter()
            engine.infer(prepared)
            end = perf_counter()
            times[name].network.append(1e3 * (end - between))
            times[name].image.append(1e3 * (end - begin))
    return times


def add_ratios(rows: list[dict], figure: str) -> None:
    """Add to each row its ratio to the fastest baseline of its kind, None if there is none."""
    key = f'{figure}_fastest_ms'
    for row in rows:
        best = min(
            (
                other[key]
                for other in rows
                if key in other and other['engine'] in BASELINES and other['kind'] == row['kind']
            ),
            default=None,
        )
        row[f'{figure}_ratio'] = row[key] / best if best and key in row else None


def show(model: Model, rows: list[dict]) -> None:
    """Print the table of one model."""
    print(f'\n{title(model)}, {rows[0]["threads"]} thread(s), milliseconds')
    print(f'{"":<22}{"network":^28}{"image to outputs":^28}')
    half = f'{"median":>10}{"fastest":>10}{"ratio":>8}'
    print(f'{"engine":<22}{half}{half}{"agrees to":>12}')
    for kind in ('float', 'int8'):
        print(f'{kind}: ratio to the fastest of {", ".join(_baselines(rows, kind)) or "none"}')
        for row in rows:
            if row['kind'] == kind:
                print(f'  {row["engine"]:<20}{_figures(row)}')


def _baselines(rows: list[dict], kind: str) -> list[str]:
    return [
        row['engine']
        for row in rows
        if row['kind'] == kind and row['engine'] in BASELINES and 'missing' not in row
    ]


def _figures(row: dict) -> str:
    if 'missing' in row:
        return f'  not available: {row["missing"]}'
    text = ''
    for figure in FIGURES:
        ratio = row[f'{figure}_ratio']
        text += f'{row[f"{figure}_median_ms"]:>10.2f}{row[f"{figure}_fastest_ms"]:>10.2f}'
        text += f'{ratio:>8.2f}' if ratio else f'{"-":>8}'
    agrees = '-' if row['difference'] is None else f'{row["difference"]:.1e}'
    return f'{text}{agrees:>12}'


def show_speed(model: Model, rows: list[dict], threads: int) -> None:
    """Print how close our network in float32 is to the speed of a plain matrix product."""
    from face_tracking.compiler.onnx_import import read_network

    row = next(row for row in rows if row['engine'] == TUNED)
    limit = product_speed(threads)
    if 'missing' in row or limit is None:
        return
    operations = 2 * read_network(model.path, model.input_size).multiply_adds()
    reached = operations / row['network_fastest_ms'] / 1e6
    print(
        f'{TUNED} computes {reached:.0f} GFLOP/s, {reached / limit:.0%} of what a plain matrix '
        f"product reaches on this machine (ONNX Runtime's, {limit:.0f})"
    )


def product_speed(threads: int, size: int = 512, rounds: int = 50) -> float | None:
    """Return the GFLOP/s of ONNX Runtime's matrix product, None if it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    from onnx import TensorProto, helper

    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size])
        for name in 'abc'
    }
    graph = helper.make_graph(
        [helper.make_node('MatMul', ['a', 'b'], ['c'])],
        'product',
        [values['a'], values['b']],
        [values['c']],
    )
    product = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(product.SerializeToString(), options)
    feeds = dict.fromkeys('ab', np.ones((size, size), np.float32))
    taken = []
    for _ in range(rounds):
        started = perf_counter()
        session.run(None, feeds)
        taken.append(perf_counter() - started)
    return 2 * size**3 / min(taken) / 1e9


def difference(outputs: dict[str, Outputs], name: str) -> float | None:
    """Return how far an engine's outputs are from the reference, relative to the largest."""
    if REFERENCE not in outputs:
        return None
    pairs = [
        (found.reshape(-1), expected.reshape(-1))
        for found, expected in zip(outputs[name], outputs[REFERENCE], strict=True)
    ]
    if any(found.shape != expected.shape for found, expected in pairs):
        return float('inf')
    largest = max(float(np.abs(expected).max()) for _, expected in pairs)
    return max(float(np.abs(found - expected).max()) for found, expected in pairs) / largest


def draw(rows: list[dict], path: Path) -> None:
    """Write a bar chart of the medians from image to outputs."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    titles = list(dict.fromkeys(row['model'] for row in rows))
    figure, axes = pyplot.subplots(1, len(titles), figsize=(6.5 * len(titles), 5), squeeze=False)
    for axis, name in zip(axes[0], titles, strict=True):
        shown = [row for row in rows if row['model'] == name and 'missing' not in row]
        bars = axis.barh(
            [row['engine'] for row in shown],
            [row['image_median_ms'] for row in shown],
            color=['#d95f02' if row['engine'].startswith('tvm') else '#9aa5b1' for row in shown],
        )
        axis.bar_label(bars, fmt='%.2f', padding=3)
        axis.set(
            xscale='log',
            xlabel='milliseconds from image to outputs (median, logarithmic)',
            title=f'{name}, {rows[0]["threads"]} thread(s)',
        )
        axis.invert_yaxis()
        axis.margins(x=0.15)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


@contextlib.contextmanager
def _quiet():
    """Hide what engines print while they load."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


if __name__ == '__main__':
    sys.exit(main())
