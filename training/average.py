# SPDX-License-Identifier: Apache-2.0
"""Average the weights of two trainings: ``python -m training.average FIRST SECOND --out FILE``.

Weights that were trained from the same start lie in one basin of the loss, and their mean is often
better than either (Wortsman et al., "Model soups", 2022). Prints the average precision on the
held-out images for each share of the second weights, once for each of ``--min-sides``, and writes
the weights whose precisions have the greatest mean.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from face_tracking.errors import UserError
from training import checkpoint, dataset, labels
from training.detect import Detector, torch_runner
from training.evaluate import detect_all
from training.metrics import measure
from training.network import FaceNetwork, deployed

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SIDE = 320


def mean_network(first: FaceNetwork, second: FaceNetwork, share: float) -> FaceNetwork:
    """Return a network whose parameters and buffers are between those of two, in evaluation mode.

    :param share: 0 is ``first``, 1 is ``second``.
    :raises UserError: the networks differ in width.
    """
    states = first.state_dict(), second.state_dict()
    if any(states[0][name].shape != states[1][name].shape for name in states[0]):
        raise UserError('the two networks differ in width', 'average weights of one width')
    mean = FaceNetwork(first.widths).eval()
    mean.load_state_dict(
        {
            name: torch.lerp(value, states[1][name], share) if value.is_floating_point() else value
            for name, value in states[0].items()
        }
    )
    return mean


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m training.average',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('first', help='a .safetensors file, or "bundled"')
    add('second', help='the same')
    add('--out', type=Path, required=True, help='where to write the best mean')
    add('--data', type=Path, required=True, help='the folder that training had')
    add('--held-out', type=float, default=0.05, help='the share that it held out')
    add(
        '--min-sides',
        type=lambda text: [float(part) for part in text.split(',')],
        default=[12.0],
        metavar='PIXELS,...',
        help='faces count from this side on, at a long side of 320 (default: 12)',
    )
    add('--only', default='', metavar='TEXT', help='measure on images with this in their path')
    args = parser.parse_args(argv)
    try:
        return run(args)
    except UserError as error:
        print(f'training.average: {error}', file=sys.stderr)
        return 1


def run(args: argparse.Namespace) -> int:
    """Measure each mean, write the best."""
    first, second = (checkpoint.load_network(name) for name in (args.first, args.second))
    rows = dataset.split(labels.read_folder(args.data, tqdm.write), args.held_out)[1]
    rows = [row for row in rows if args.only in str(row.file)]
    shown = dataset.load(rows, tqdm.write, longest_side=None)
    sizes = [sample.levels[0].shape[1::-1] for sample in shown]
    found = []
    for share in SHARES:
        network = mean_network(first, second, share)
        detector = Detector(torch_runner(deployed(network)), SIDE, SIDE)
        detections = detect_all(detector, shown)
        precisions = [
            measure(shown, detections, sizes, min_side=side, long_side=SIDE).average_precision
            for side in args.min_sides
        ]
        print(f'{share:4.2f}', *(f' {value:.4f}' for value in precisions), flush=True)
        found.append((sum(precisions), share))
    checkpoint.save_weights(mean_network(first, second, max(found)[1]), args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
