# SPDX-License-Identifier: Apache-2.0
"""Move the scores so that 0.7 is a good threshold: ``python -m training.calibrate``.

How high a network scores depends on its losses, and a threshold that fits one training would
not fit the next. This shifts the score logit of all cells by one number: of those that keep
wrong detections below a limit, the one with the best F1 at the threshold,
on images that training held out and canvases composed of them. The order of the scores in a
image hardly changes, and with it the average precision.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from tqdm import tqdm

from face_tracking.errors import UserError
from training import checkpoint, dataset, labels
from training.compose import Composer
from training.detect import Detector, torch_runner
from training.evaluate import DEFAULT_HOLDOUT
from training.labels import Annotated
from training.metrics import Result, measure
from training.network import FaceNetwork, deployed
from training.photometric import degrade

SHIFTS = np.arange(-3.0, 2.01, 0.125)
SIDE = 320
SEED = 11


def examples(shown: list[dataset.Sample], canvases: int) -> list[tuple[np.ndarray, Annotated]]:
    """Return images and their labels: ``shown`` and as many composed ``canvases`` of them."""
    found = [
        (sample.levels[0], Annotated(sample.file, sample.boxes, sample.landmarks, sample.ignore))
        for sample in shown
    ]
    composer = Composer(shown, SIDE, SIDE)
    for k in range(canvases):
        random = np.random.default_rng((SEED, k))
        canvas = composer.draw(random)
        boxes, landmarks, ignore, points_only = canvas.labels()
        found.append(
            (
                degrade(canvas.image, boxes, random),
                Annotated(Path(str(k)), boxes, landmarks, ignore | points_only),
            )
        )
    return found


def results(
    network: FaceNetwork,
    rows: list[tuple[np.ndarray, Annotated]],
    threshold: float,
    progress: bool = True,
) -> list[Result]:
    """Return the figures of ``network`` on ``rows`` for each of ``SHIFTS``."""
    run = torch_runner(deployed(network))
    recorded = []
    recorder = Detector(lambda image: recorded.append(run(image)) or recorded[-1], SIDE, SIDE)
    for image, _ in tqdm(rows, desc='detect', unit='', disable=not progress):
        recorder(image)
    found = []
    for shift in tqdm(SHIFTS, desc='shifts', unit='', disable=not progress):
        outputs = iter(recorded)
        detector = Detector(
            lambda _, replay=outputs, by=shift: _shifted(next(replay), by), SIDE, SIDE, threshold
        )
        found.append(
            measure(
                [label for _, label in rows],
                [detector(image) for image, _ in rows],
                [image.shape[1::-1] for image, _ in rows],
                threshold,
            )
        )
    return found


def f1(result: Result) -> float:
    """Return the harmonic mean of precision and recall at the threshold."""
    both = result.precision_at + result.recall_at
    return 2 * result.precision_at * result.recall_at / both if both > 0 else 0.0


def chosen(found: list[Result], most_wrong: float) -> int:
    """Return which of ``found`` is best with at most so many wrong detections per image.

    Where none is that quiet, the quietest.
    """
    quiet = [k for k, result in enumerate(found) if result.wrong_at <= most_wrong]
    if not quiet:
        return int(np.argmin([result.wrong_at for result in found]))
    return max(quiet, key=lambda k: f1(found[k]))


def _shifted(outputs: list[np.ndarray], by: float) -> list[np.ndarray]:
    moved = [output.copy() for output in outputs]
    for output in moved:
        output[:, 0] += by
    return moved


def shift_scores(network: FaceNetwork, by: float):
    """Add ``by`` to the score logit of every cell, in the biases of the heads."""
    with torch.no_grad():
        for head in (network.head8, network.head16, network.head32):
            head.bias[0] += by


def parser() -> argparse.ArgumentParser:
    """Return the command line's description."""
    found = argparse.ArgumentParser(
        prog='python -m training.calibrate',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add('--weights', required=True, help='a .safetensors file, or "bundled"')
    add('--out', required=True, help='where to write the calibrated .safetensors')
    add('--data', required=True, help='the folder that training had')
    add('--corrections', default='', help='YAML of what a person says against the labels')
    add(
        '--held-out',
        type=float,
        default=DEFAULT_HOLDOUT,
        help='the share that training held out (default: %(default)s)',
    )
    add('--canvases', type=int, default=300, help='how many to compose (default: %(default)s)')
    add('--threshold', type=float, default=0.7, help='(default: %(default)s)')
    add(
        '--alarms',
        type=float,
        default=0.05,
        help='most wrong detections per image, on average (default: %(default)s)',
    )
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        network = checkpoint.load_network(arguments.weights).eval()
        rows = labels.read_folder(Path(arguments.data), tqdm.write)
        if arguments.corrections:
            text = Path(arguments.corrections).read_text(encoding='utf-8')
            rows = labels.corrected(rows, yaml.safe_load(text))
        shown = dataset.load(dataset.split(rows, arguments.held_out)[1], tqdm.write)
        found = results(network, examples(shown, arguments.canvases), arguments.threshold)
    except (UserError, ValueError, OSError) as error:
        print(f'calibrate: {error}', file=sys.stderr)
        return 2
    best = chosen(found, arguments.alarms)
    for k, (shift, result) in enumerate(zip(SHIFTS, found, strict=True)):
        print(
            f'{shift:+.2f}  precision {result.precision_at:.4f}  recall {result.recall_at:.4f}'
            f'  wrong per image {result.wrong_at:.4f}'
            f'  false alarms {result.false_alarms} in {result.empty_images}'
            + ('  <- chosen' if k == best else '')
        )
    shift_scores(network, float(SHIFTS[best]))
    checkpoint.save_weights(network, Path(arguments.out))
    return 0


if __name__ == '__main__':
    sys.exit(main())
