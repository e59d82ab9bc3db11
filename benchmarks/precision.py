# SPDX-License-Identifier: Apache-2.0
"""What each arithmetic costs in average precision: the detector on labeled images.

    python -m face_tracking.compiler.tuning.emulator                               # once
    python -m benchmarks.precision FOLDER --target pi5          # float32, float16 and int8
    python -m benchmarks.precision FOLDER --target x86-64-v3 --precision int8
    python -m benchmarks.precision FOLDER --target numpy-pi5 --precision int8    # in minutes

Every image goes through all of them. With target pi5 the network runs in the emulated
Cortex-A76, whose numbers are those of a real one; all else as on any machine. With x86-64-v3 it
is compiled for AVX2 alone, as for a PC without VNNI. With numpy and numpy-pi5 nothing is compiled:
float32 is ONNX Runtime's, and int8 is computed by the tests' references in NumPy, with 16-bit
integers or, as for a Raspberry Pi 5, with float16. FOLDER holds the images and their annotation,
as `training.labels` reads it. Average precision is that at an overlap of a half, as
`training.metrics` computes it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.instructions import SCRIPT, compile_for
from face_tracking.cli import arguments
from face_tracking.cli.output import progress, write_text
from face_tracking.compiler import artifact
from face_tracking.compiler.int8.calibration_file import (
    CALIBRATE,
    find_calibration,
    read_calibration,
)
from face_tracking.compiler.int8.quantization import quantize
from face_tracking.compiler.lowering import Pixels
from face_tracking.compiler.onnx_import import read_network
from face_tracking.compiler.tuning import emulator
from face_tracking.detection.detector_options import PRECISIONS
from face_tracking.detection.model import Model
from face_tracking.errors import UserError
from face_tracking.multi_size_detector import MultiSizeDetector
from face_tracking.runtimes.base import Runtime, create_runtime, register_runtime
from training.labels import Annotated, read_folder
from training.metrics import Found, Result, measure

FULL = 'float32'
MIN_SCORE = 0.02
"""So weak detections still count, as for all average precisions here."""
LEVEL = 'x86-64-v3'
ENGINES = {
    'host': 'tvm',
    LEVEL: 'level',
    'pi5': 'emulated',
    'numpy': 'reference',
    'numpy-pi5': 'half_reference',
}
TESTS = Path(__file__).parents[1] / 'test'
"""The folder with the references."""


class EmulatedRuntime(Runtime):
    """TVM on the emulated Cortex-A76: a process there takes images and returns results."""

    name = 'emulated'
    precisions = PRECISIONS

    def __init__(
        self, model: Model, threads: int = 0, device: str = 'auto', precision: str = FULL
    ):
        super().__init__(model, threads, device)
        self._folder = tempfile.TemporaryDirectory()
        path = compile_for('pi5', model, precision, Path(self._folder.name))
        found = {output['name']: output for output in artifact.description_of(path)['outputs']}
        self._outputs = [found[name] for name in model.description.outputs]
        words = [SCRIPT, 'serve', str(path), str(model.width), str(model.height)]
        self._process = subprocess.Popen(
            emulator.command(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def infer(self, image: np.ndarray) -> list[np.ndarray]:
        self._process.stdin.write(image.tobytes())
        self._process.stdin.flush()
        tensors = [self._numbers() for _ in range(self._count())]
        return [self._output(tensors, output) for output in self._outputs]

    def _output(self, tensors: list[np.ndarray], output: dict) -> np.ndarray:
        shape, begin = output['shape'], output['begin']
        numbers = tensors[output['tensor']][begin : begin + int(np.prod(shape))]
        if not output['planar']:
            return numbers.reshape(shape)
        batch, channels, height, width = shape
        return numbers.reshape(batch, height, width, channels).transpose(0, 3, 1, 2)

    def _count(self) -> int:
        head = self._process.stdout.read(8)
        if len(head) < 8:
            raise UserError('the emulated detector died', 'see its message above')
        return int.from_bytes(head, 'little')

    def _numbers(self) -> np.ndarray:
        return np.frombuffer(self._process.stdout.read(4 * self._count()), np.float32)

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


class LevelRuntime(Runtime):
    """TVM on this machine, compiled for AVX2 and nothing beyond."""

    name = 'level'
    precisions = PRECISIONS

    def __init__(
        self, model: Model, threads: int = 0, device: str = 'auto', precision: str = FULL
    ):
        from face_tracking.runtimes.compiled_model import CompiledModel

        super().__init__(model, threads, device)
        with tempfile.TemporaryDirectory() as folder:
            self._network = CompiledModel(compile_for(LEVEL, model, precision, Path(folder)))

    def infer(self, image: np.ndarray) -> list[np.ndarray]:
        outputs = self._network.run(image)
        return [outputs[name] for name in self.model.description.outputs]


class ReferenceRuntime(Runtime):
    """The tests' reference of int8 with 16-bit integers; float32 by ONNX Runtime."""

    name = 'reference'
    precisions = ('float32', 'int8')
    half = False

    def __init__(
        self, model: Model, threads: int = 0, device: str = 'auto', precision: str = FULL
    ):
        super().__init__(model, threads, device)
        self._exact = create_runtime('onnxruntime', model, threads) if precision == FULL else None
        if precision != FULL:
            self._reference = self._make_reference(model)

    def _make_reference(self, model: Model):
        sys.path.insert(0, str(TESTS))
        from half_reference import HalfReference
        from integer_reference import IntegerReference

        described = model.description
        rgb = described.color == 'rgb'
        network = read_network(model.path, model.input_size, rgb=rgb)
        mean = described.mean[::-1] if rgb else described.mean
        pixels = Pixels(mean, described.scale).before(network)
        calibration = find_calibration(model.path, model.sha256)
        if calibration is None:
            raise UserError(f'{model.name} is not calibrated for int8', CALIBRATE)
        ranges = read_calibration(calibration.path)
        quantized = quantize(network, ranges, mean=pixels.mean, scale=pixels.scale, half=self.half)
        return HalfReference(quantized) if self.half else IntegerReference(quantized, True)

    def infer(self, image: np.ndarray) -> list[np.ndarray]:
        if self._exact:
            return self._exact.infer(image)
        found = self._reference.named_outputs(image)
        return [
            found[name].transpose(2, 0, 1)[None].astype(np.float32)
            for name in self.model.description.outputs
        ]


class HalfReferenceRuntime(ReferenceRuntime):
    """The same with float16, as on the Cortex-A76."""

    name = 'half_reference'
    half = True


def main() -> int:
    """Measure, print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='images and their annotation')
    parser.add_argument(
        '--target',
        choices=ENGINES,
        default='host',
        help='where the network runs (default: %(default)s)',
    )
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=PRECISIONS[1:],
        default=['float16', 'int8'],
        help='to compare with float32',
    )
    parser.add_argument('--model', help='the detector (default: the bundled one)')
    parser.add_argument(
        '--long-side',
        type=arguments.positive,
        default=320,
        metavar='N',
        help='to which images are scaled (default: %(default)s)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    args = parser.parse_args()
    register_runtime('emulated', 'benchmarks.precision:EmulatedRuntime')
    register_runtime('level', 'benchmarks.precision:LevelRuntime')
    register_runtime('reference', 'benchmarks.precision:ReferenceRuntime')
    register_runtime('half_reference', 'benchmarks.precision:HalfReferenceRuntime')
    precisions = list(dict.fromkeys([FULL, *args.precision]))
    try:
        if args.target == 'pi5' and emulator.missing():
            raise UserError(emulator.missing(), 'or use target host')
        labels = read_folder(args.folder, lambda line: print(line, file=sys.stderr))
        results = measured(labels, args, precisions)
    except UserError as error:
        print(f'benchmarks.precision: {error}', file=sys.stderr)
        return 2
    full = results[FULL].average_precision
    print(
        f'{len(labels)} images, {results[FULL].faces} faces, long side {args.long_side}, '
        f'target {args.target}'
    )
    rows = [
        {
            'target': args.target,
            'precision': name,
            'images': len(labels),
            'average_precision': result.average_precision,
            'difference': result.average_precision - full,
        }
        for name, result in results.items()
    ]
    for row in rows:
        print(
            f'{row["precision"]:<8} average precision {row["average_precision"]:.4f}, '
            f'{row["difference"]:+.4f} beside {FULL}'
        )
    if args.json:
        write_text(args.json, json.dumps(rows, indent=1) + '\n')
    return 0


def measured(labels: list[Annotated], args, precisions: list[str]) -> dict[str, Result]:
    """Return the result of each precision."""
    detectors = {
        name: MultiSizeDetector(
            args.model,
            args.long_side,
            ENGINES[args.target],
            precision=name,
            max_faces=0,
            score_threshold=MIN_SCORE,
        )
        for name in precisions
    }
    found: dict[str, list[Found]] = {name: [] for name in precisions}
    sizes = []
    try:
        for label in progress(labels, unit='image'):
            image = cv2.imread(str(label.file))
            if image is None:
                raise UserError(f'cannot read {label.file}', 'remove it, or its annotation')
            sizes.append(image.shape[1::-1])
            for name, detector in detectors.items():
                seen = detector.detect(image)
                found[name].append(Found(seen.boxes, seen.scores, seen.landmarks))
    finally:
        for detector in detectors.values():
            detector.close()
    return {name: measure(labels, seen, sizes) for name, seen in found.items()}


if __name__ == '__main__':
    # By its own name, so that the registered class is the one that is used.
    from benchmarks.precision import main as run

    sys.exit(run())
