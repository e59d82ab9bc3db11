# SPDX-License-Identifier: Apache-2.0
"""Compare the exported forms of the same weights: ``python -m training.compare --data FOLDER``.

PyTorch in fp32 is the measure. For TorchScript fp32, TorchScript int8 and ONNX Runtime it
prints the greatest difference of a raw output, how many of the faces they agree on, and the
time of an inference, all run in turn in this one process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from face_tracking import boxes as box_math
from face_tracking.errors import UserError
from training import checkpoint, dataset, labels, onnx_file
from training.detect import Detector, Run, onnx_runner, torch_runner
from training.export import CALIBRATION_IMAGES, calibration_images, to_torchscript
from training.network import deployed
from training.quantize import quantized
from training.sizes import parse_size

REFERENCE = 'PyTorch fp32'
THRESHOLD = 0.7
SAME = 0.5


def forms(weights: str, data: Path, width: int, height: int) -> dict[str, Run]:
    """Return a runner of each form of ``weights`` for ``width`` x ``height``, by its name."""
    network = deployed(checkpoint.load_network(weights))
    images = calibration_images(data, width, height, CALIBRATION_IMAGES, tqdm.write)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'network.onnx'
        onnx_file.write(network, width, height, path)
        onnx_run = onnx_runner(path, torch.get_num_threads())
    return {
        REFERENCE: torch_runner(network),
        'TorchScript fp32': torch_runner(to_torchscript(network, width, height)),
        'TorchScript int8': torch_runner(quantized(network, images)),
        'ONNX Runtime': onnx_run,
    }


def differences(runs: dict[str, Run], images: list[np.ndarray]) -> dict[str, float]:
    """Return the greatest difference of any raw output from the reference, by form."""
    worst = dict.fromkeys(runs, 0.0)
    for image in images:
        wanted = runs[REFERENCE](image)
        for name, run in runs.items():
            worst[name] = max(
                worst[name],
                *(float(np.abs(a - b).max()) for a, b in zip(run(image), wanted, strict=True)),
            )
    return worst


def agreement(runs: dict[str, Run], images: list[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return, by form, the share of faces found by either that both found, and their mean IoU.

    A face is a detection of at least 0.7.
    """
    height, width = images[0].shape[:2]
    found = {
        name: [Detector(run, width, height, THRESHOLD)(image).boxes for image in images]
        for name, run in runs.items()
    }
    shares = {}
    for name in runs:
        overlaps, total = [], 0
        for own, wanted in zip(found[name], found[REFERENCE], strict=True):
            best = box_math.iou(wanted, own).max(axis=1, initial=0)
            overlaps += best[best >= SAME].tolist()
            total += len(wanted) + len(own) - int((best >= SAME).sum())
        shares[name] = (
            len(overlaps) / max(total, 1),
            float(np.mean(overlaps)) if overlaps else float('nan'),
        )
    return shares


def durations(runs: dict[str, Run], image: np.ndarray, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of an inference by form, the forms taking turns."""
    times = {name: [] for name in runs}
    for _ in tqdm(range(rounds), desc='timing', unit='round'):
        for name, run in runs.items():
            began = time.perf_counter()
            run(image)
            times[name].append(time.perf_counter() - began)
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def parser() -> argparse.ArgumentParser:
    """Return the command line's description."""
    found = argparse.ArgumentParser(
        prog='python -m training.compare',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add('--weights', default=checkpoint.BUNDLED, help='"bundled" (default) or a .safetensors')
    add(
        '--data',
        required=True,
        help='folder of annotated images: int8 is calibrated on '
        'canvases of them, and all forms are compared on the images themselves',
    )
    add('--size', default='320x240', help='WIDTHxHEIGHT of the input')
    add('--images', type=int, default=100, help='how many to compare on')
    add('--rounds', type=int, default=200, help='inferences to time')
    add('--threads', type=int, default=1)
    return found


def compare(arguments) -> str:
    """Return the table."""
    width, height = parse_size(arguments.size)
    torch.set_num_threads(arguments.threads)
    rows = labels.read_folder(Path(arguments.data), tqdm.write)
    shown = dataset.load(rows[:: max(1, len(rows) // arguments.images)], tqdm.write)
    fit = Detector(lambda image: [], width, height).fit
    images = [fit(sample.levels[0]) for sample in shown]
    runs = forms(arguments.weights, Path(arguments.data), width, height)
    worst, shares = differences(runs, images), agreement(runs, images)
    times = durations(runs, images[0], arguments.rounds)
    lines = [f'{"form":18}{"difference":>12}{"same faces":>12}{"IoU":>8}{"ms":>8}{"speed":>8}']
    for name in runs:
        share, overlap = shares[name]
        lines.append(
            f'{name:18}{worst[name]:12.2g}{share:12.4f}{overlap:8.3f}'
            f'{times[name]:8.2f}{times[REFERENCE] / times[name]:8.2f}'
        )
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    try:
        print(compare(parser().parse_args(argv)))
    except UserError as error:
        print(f'compare: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
