#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every engine on the same weights and images: ``face_tracking bench``.

The engines take turns in one process, two images each, of which the second is timed. Told are
each engine's median and its fastest turn, which says more where other work keeps the machine busy,
and their ratios to the best of those that one would take instead of TVM. "agrees" is the largest
difference of any raw output from ONNX Runtime's, relative to the largest output. Each engine is
timed from the uint8 image, already of the network's size, to its raw outputs: what a runtime
does about pixel formats is its own affair.
An engine that is not installed is listed with what to install.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

# Both halves of TVM: the naive row compiles in this process.
os.environ['TVM_USE_RUNTIME_LIB'] = '0'
# Before the naive row makes TVM's thread pool, which by itself takes every second core.
os.environ.setdefault('TVM_NUM_THREADS', str(os.cpu_count() or 1))
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from face_tracking.cli import arguments  # noqa: E402
from face_tracking.cli.output import progress, write_text  # noqa: E402
from face_tracking.compiler.targets import HALF_ARITHMETIC, host_cpu  # noqa: E402
from face_tracking.detection.model import Model, load_model  # noqa: E402
from face_tracking.errors import UserError  # noqa: E402
from face_tracking.runtimes.base import create_runtime, to_tensor  # noqa: E402

REFERENCE = 'onnxruntime'
RIVALS = 'onnxruntime', 'ncnn', 'opencv'
"""The engines one would take instead of TVM; the ratios are to the fastest of them."""
TUNED = 'tvm tuned'
"""The row that the goals are about: TVM in float32, by our schedules and records."""
WITH_ALL = '"make bench" installs it and prints the whole table'
Outputs = list[np.ndarray]
Infer = Callable[[np.ndarray], Outputs]


class NotHere(Exception):
    """The engine cannot run here; the text says what to install or why it does not apply."""


class Engine(ABC):
    """One row of the table.

    :ivar name: as the table shows it.
    """

    name: str

    @abstractmethod
    def load(self, model: Model, threads: int, folder: Path) -> Infer:
        """Return a function from an image, uint8 (H, W, 3) BGR, to the model's raw outputs.

        :param folder: for files on the way there.
        :raises NotHere: it cannot run on this machine, or cannot run this model.
        """


class OfThePackage(Engine):
    """An engine behind the package's own interface."""

    def __init__(self, name: str, runtime: str, precision: str = 'auto'):
        self.name = name
        self._runtime = runtime
        self._precision = precision

    def load(self, model: Model, threads: int, folder: Path) -> Infer:
        try:
            return create_runtime(self._runtime, model, threads, precision=self._precision).infer
        except UserError as error:
            raise NotHere(str(error)) from error


class OnnxRuntime(Engine):
    """ONNX Runtime as it comes: its threads spin after an image, which the package forbids them.

    That takes a core from whoever else could use it, but makes two threads faster.
    """

    name = REFERENCE

    def load(self, model: Model, threads: int, folder: Path) -> Infer:
        try:
            import onnxruntime
        except ImportError as error:
            raise NotHere(WITH_ALL) from error
        options = onnxruntime.SessionOptions()
        arguments.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model.onnx_bytes(), options)
        source = session.get_inputs()[0].name
        names = list(model.description.outputs)
        return lambda image: session.run(names, {source: to_tensor(image, model.description)})


class NaiveTvm(Engine):
    """TVM as its tutorial has it: no layout, no schedules."""

    name = 'tvm naive'

    def load(self, model: Model, threads: int, folder: Path) -> Infer:
        import onnx
        import tvm
        from tvm import relax
        from tvm.relax.frontend.onnx import from_onnx

        module = from_onnx(onnx.load_from_string(model.onnx_bytes()), keep_params_in_input=False)
        module = relax.get_pipeline('zero')(module)
        machine = relax.VirtualMachine(tvm.compile(module, target='llvm'), tvm.cpu())
        names = [value.name for value in onnx.load(model.path).graph.output]
        order = [names.index(name) for name in model.description.outputs]

        def infer(image: np.ndarray) -> Outputs:
            outputs = machine['main'](tvm.runtime.tensor(to_tensor(image, model.description)))
            outputs = [outputs] if len(names) == 1 else outputs
            return [outputs[index].numpy() for index in order]

        return infer


class Ncnn(Engine):
    """Tencent's ncnn as it comes: it keeps numbers in half precision where it can."""

    name = 'ncnn'

    def load(self, model: Model, threads: int, folder: Path) -> Infer:
        try:
            import ncnn
            import pnnx
        except ImportError as error:
            raise NotHere(WITH_ALL) from error
        network = ncnn.Net()
        network.opt.num_threads = threads
        outputs = _converted_by_pnnx(pnnx, model, folder)
        network.load_param(str(folder / 'model.ncnn.param'))
        network.load_model(str(folder / 'model.ncnn.bin'))

        def infer(image: np.ndarray) -> Outputs:
            tensor = to_tensor(image, model.description)
            with network.create_extractor() as extractor:
                extractor.input('in0', ncnn.Mat(tensor[0]))
                return [np.array(extractor.extract(name)[1])[None] for name in outputs]

        return infer


class Torch(Engine):
    """PyTorch as it computes a model that nobody compiled, or TorchScript after quantization.

    The integers are those of `training.export int8`, but for their ranges, which one image
    gives: enough for their speed; what they do to precision, `training.compare` measures.
    """

    def __init__(self, name: str, integers: bool):
        self.name = name
        self._integers = integers

    def load(self, model: Model, threads: int, folder: Path) -> Infer:
        try:
            import torch

            from benchmarks.torch_network import TorchNetwork
        except ImportError as error:
            raise NotHere(WITH_ALL) from error
        from face_tracking.compiler.onnx_import import read_network

        pixels = model.description
        torch.set_num_threads(threads)
        described = read_network(model.path, model.input_size)
        try:
            network = TorchNetwork(described).eval()
        except ValueError as error:
            raise NotHere(str(error)) from error
        if self._integers:
            network = self._quantized(network, to_tensor(image_for(model), pixels))
        order = [
            [output.name for output in described.outputs].index(name) for name in pixels.outputs
        ]

        def infer(image: np.ndarray) -> Outputs:
            with torch.inference_mode():
                outputs = network(torch.from_numpy(to_tensor(image, pixels)))
            return [outputs[index].numpy() for index in order]

        return infer

    def _quantized(self, network, tensor: np.ndarray):
        if not (ROOT / 'training').is_dir():
            raise NotHere('needs training/, which an installed package leaves out')
        import torch
        from training.quantize import quantized_on

        return quantized_on(network, [torch.from_numpy(tensor)], network.last_convolutions())


class TensorFlowLite(Engine):
    """TensorFlow Lite, now LiteRT, in int8."""

    name = 'tflite int8'

    def load(self, model: Model, threads: int, folder: Path) -> Infer:
        from face_tracking.compiler.tflite.tflite_export import export_tflite
        from face_tracking.runtimes.accelerator_files import file_name

        try:
            export_tflite(model, folder / file_name(model, '.tflite'))
            # It is looked for beside the model.
            copied = replace(model, path=folder / model.path.name)
            return create_runtime('tflite', copied, threads).infer
        except UserError as error:
            raise NotHere(str(error)) from error


ENGINES: tuple[Engine, ...] = (
    Torch('pytorch fp32', integers=False),
    Torch('torchscript int8', integers=True),
    OnnxRuntime(),
    Ncnn(),
    OfThePackage('opencv', 'opencv'),
    TensorFlowLite(),
    NaiveTvm(),
    OfThePackage(TUNED, 'tvm', 'float32'),
    *([OfThePackage('tvm float16', 'tvm', 'float16')] if host_cpu() in HALF_ARITHMETIC else []),
    OfThePackage('tvm int8', 'tvm', 'int8'),
)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--model',
        action='append',
        metavar='FILE|NAME',
        help='the detector, may be given several times (default: the bundled one)',
    )
    parser.add_argument(
        '--input-size',
        type=arguments.size,
        metavar='WxH',
        help="of the network's input (default: that of the model)",
    )
    parser.add_argument(
        '--threads',
        type=arguments.positive,
        default=1,
        metavar='N',
        help='cores that each engine may use (default: %(default)s)',
    )
    parser.add_argument(
        '--rounds',
        type=arguments.positive,
        default=100,
        metavar='N',
        help='turns that each engine takes (default: %(default)s)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='draw the table')
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    rows = []
    try:
        for name in args.model or [None]:
            model = load_model(name, args.input_size)
            rows += measured(model, args.threads, args.rounds)
            show(model, [row for row in rows if row['model'] == title(model)])
            show_speed(model, rows[-len(ENGINES) :], args.threads)
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
    """Return what all engines compute on: soft noise, uint8 (H, W, 3)."""
    noise = np.random.default_rng(1).integers(0, 256, (model.height, model.width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def measured(model: Model, threads: int, rounds: int) -> list[dict]:
    """Return a row for each engine, those that cannot run included."""
    photo = image_for(model)
    with tempfile.TemporaryDirectory() as folder:
        loaded, missing = {}, {}
        for engine in ENGINES:
            place = Path(folder) / engine.name.replace(' ', '_')
            place.mkdir()
            try:
                with _quiet():
                    loaded[engine.name] = engine.load(model, threads, place)
            except NotHere as reason:
                missing[engine.name] = str(reason)
        outputs = {
            name: [np.array(output) for output in infer(photo)] for name, infer in loaded.items()
        }
        taken: dict[str, list[float]] = {name: [] for name in loaded}
        for _ in progress(range(rounds), unit='round'):
            for name, infer in loaded.items():
                infer(photo)  # meanwhile the threads of the engine before stop spinning
                started = perf_counter()
                infer(photo)
                taken[name].append(1e3 * (perf_counter() - started))
    rows = []
    for engine in ENGINES:
        row = {'engine': engine.name, 'model': title(model), 'threads': threads}
        if engine.name in loaded:
            row.update(
                median_ms=median(taken[engine.name]),
                fastest_ms=min(taken[engine.name]),
                difference=_difference(outputs, engine.name),
            )
        else:
            row.update(median_ms=None, missing=missing[engine.name])
        rows.append(row)
    for figure in ('median', 'fastest'):
        _add_ratio(rows, figure)
    return rows


def _add_ratio(rows: list[dict], figure: str) -> None:
    """Add to each row its ratio to the fastest baseline, None where there is none."""
    key, ratio = f'{figure}_ms', 'ratio' if figure == 'median' else f'{figure}_ratio'
    best = min(
        (row[key] for row in rows if row.get(key) and row['engine'] in RIVALS), default=None
    )
    for row in rows:
        row[ratio] = row[key] / best if best and row.get(key) else None


def show(model: Model, rows: list[dict]) -> None:
    """Print one model's table."""
    print(
        f'\n{title(model)}, {rows[0]["threads"]} thread(s); ratio to the best of '
        f'{", ".join(RIVALS)}'
    )
    print(f'{"engine":<18}{"median":>11}{"ratio":>7}{"fastest":>12}{"ratio":>7}{"agrees to":>12}')
    for row in rows:
        if row['median_ms'] is None:
            print(f'{row["engine"]:<18}  not here: {row["missing"]}')
            continue
        times = ''.join(
            f'{row[time]:>9.2f} ms' + (f'{row[ratio]:>7.2f}' if row[ratio] else '      -') + ' '
            for time, ratio in (('median_ms', 'ratio'), ('fastest_ms', 'fastest_ratio'))
        )
        difference = '-' if row['difference'] is None else f'{row["difference"]:.1e}'
        print(f'{row["engine"]:<18}{times}{difference:>11}')


def show_speed(model: Model, rows: list[dict], threads: int) -> None:
    """Say how near the processor's limit our compiled network runs, at its fastest."""
    from face_tracking.compiler.onnx_import import read_network

    fastest = next((row.get('fastest_ms') for row in rows if row['engine'] == TUNED), None)
    limit = product_speed(threads)
    if fastest is None or limit is None:
        return
    operations = 2 * read_network(model.path, model.input_size).multiply_adds()
    reached = operations / fastest / 1e6
    print(
        f'{TUNED} computes {reached:.0f} GFLOP/s, {reached / limit:.0%} of what a plain matrix '
        f"product reaches here (ONNX Runtime's, {limit:.0f})"
    )


def product_speed(threads: int, size: int = 512, rounds: int = 50) -> float | None:
    """Return the GFLOP/s of ONNX Runtime's matrix product, None where it is not installed."""
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
    arguments.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(product.SerializeToString(), options)
    feeds = dict.fromkeys('ab', np.ones((size, size), np.float32))
    taken = []
    for _ in range(rounds):
        started = perf_counter()
        session.run(None, feeds)
        taken.append(perf_counter() - started)
    return 2 * size**3 / min(taken) / 1e9


def draw(rows: list[dict], path: Path) -> None:
    """Write a bar chart of the medians."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    titles = list(dict.fromkeys(row['model'] for row in rows))
    figure, axes = pyplot.subplots(1, len(titles), figsize=(6.5 * len(titles), 3.6), squeeze=False)
    for axis, name in zip(axes[0], titles, strict=True):
        shown = [row for row in rows if row['model'] == name and row['median_ms']]
        bars = axis.barh(
            [row['engine'] for row in shown],
            [row['median_ms'] for row in shown],
            color=['#d95f02' if row['engine'].startswith('tvm') else '#9aa5b1' for row in shown],
        )
        axis.bar_label(bars, fmt='%.2f', padding=3)
        axis.set(
            xscale='log',
            xlabel='milliseconds (median, logarithmic)',
            title=f'{name}, {rows[0]["threads"]} thread(s)',
        )
        axis.invert_yaxis()
        axis.margins(x=0.15)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _difference(outputs: dict[str, Outputs], name: str) -> float | None:
    """Return how far an engine's outputs are from the reference's, relative to the largest."""
    if REFERENCE not in outputs:
        return None
    pairs = [
        (found.reshape(-1), true.reshape(-1))
        for found, true in zip(outputs[name], outputs[REFERENCE], strict=True)
    ]
    if any(found.shape != true.shape for found, true in pairs):
        return float('inf')
    largest = max(float(np.abs(true).max()) for _, true in pairs)
    return max(float(np.abs(found - true).max()) for found, true in pairs) / largest


def _converted_by_pnnx(pnnx, model: Model, folder: Path) -> list[str]:
    """Convert the model into ``folder``; return ncnn's names of the outputs, in our order."""
    import onnx

    onnx_model = onnx.load_from_string(model.onnx_bytes())
    source = folder / 'model.onnx'
    onnx.save(onnx_model, source)
    tool = Path(pnnx.EXEC_PATH)
    done = subprocess.run(
        [str(tool), str(source), f'inputshape=[1,3,{model.height},{model.width}]'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if not (folder / 'model.ncnn.bin').is_file():
        raise NotHere(f'pnnx cannot convert it ({done.stderr.strip().splitlines()[-1:]})')
    names = [output.name for output in onnx_model.graph.output]
    return [f'out{names.index(name)}' for name in model.description.outputs]


@contextlib.contextmanager
def _quiet():
    """Keep what engines print while loading out of the table."""
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
