#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much faster the compiled detector is with more threads: ``face_tracking bench threads``.

One thread and several take turns in one process, some images at a time. Beside it stands a
plain matrix product of ONNX Runtime's, which shows how far the machine's cores are cores of their
own and free: hyperthreads of one core, or other work on it, leave less to gain.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np

from benchmarks.engines import product_speed
from face_tracking.cli import arguments
from face_tracking.cli.output import progress, write_text
from face_tracking.detection.model import Model, load_model
from face_tracking.errors import UserError
from face_tracking.runtimes.base import create_runtime

IMAGES = 10
"""Timed in one turn, after two to warm up."""


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', help='the detector (default: the bundled one)')
    parser.add_argument(
        '--input-size',
        type=arguments.size,
        default=(640, 480),
        metavar='WxH',
        help="of the network's input (default: 640x480)",
    )
    parser.add_argument(
        '--threads',
        type=arguments.positive,
        default=2,
        metavar='N',
        help='to compare with one (default: %(default)s)',
    )
    parser.add_argument(
        '--rounds',
        type=arguments.positive,
        default=30,
        metavar='N',
        help='turns that each takes (default: %(default)s)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    args = parser.parse_args()
    if args.threads > (os.cpu_count() or 1):
        print(
            f'threads.py: this machine has no {args.threads} cores, threads must share them',
            file=sys.stderr,
        )
    try:
        model = load_model(args.model, args.input_size)
        rows = measured(model, (1, args.threads), args.rounds)
    except UserError as error:
        print(f'threads.py: {error}', file=sys.stderr)
        return 2
    show(model, rows)
    if args.json:
        write_text(args.json, json.dumps(rows, indent=1) + '\n')
    return 0


def measured(model: Model, counts: tuple[int, ...], rounds: int) -> list[dict]:
    """Return a row for each number of threads."""
    image = cv2.GaussianBlur(
        np.random.default_rng(1).integers(0, 256, (model.height, model.width, 3), np.uint8),
        (0, 0),
        3,
    )
    runtimes = {count: create_runtime('tvm', model, count) for count in counts}
    taken: dict[int, list[float]] = {count: [] for count in counts}
    products: dict[int, list[float]] = {count: [] for count in counts}
    for _ in progress(range(rounds), unit='round'):
        for count, runtime in runtimes.items():
            for turn in range(IMAGES + 2):
                started = perf_counter()
                runtime.infer(image)
                if turn >= 2:
                    taken[count].append(1e3 * (perf_counter() - started))
            products[count].append(product_speed(count, rounds=5) or float('nan'))
    return [
        {
            'model': model.name,
            'width': model.width,
            'height': model.height,
            'threads': count,
            'median_ms': median(taken[count]),
            'fastest_ms': min(taken[count]),
            'product_gflops': max(products[count]),
        }
        for count in counts
    ]


def show(model: Model, rows: list[dict]) -> None:
    """Print the table and the two ratios."""
    print(f'{model.name} at {model.width}x{model.height}')
    for row in rows:
        print(
            f'{row["threads"]:>2} thread(s) {row["median_ms"]:8.2f} ms median '
            f'{row["fastest_ms"]:8.2f} ms fastest'
        )
    one, more = rows
    gained = [one[key] / more[key] for key in ('median_ms', 'fastest_ms')]
    product = more['product_gflops'] / one['product_gflops']
    print(
        f'{more["threads"]} threads are {gained[0]:.2f} times as fast (median), {gained[1]:.2f} '
        f'times (fastest); a plain matrix product is {product:.2f} times as fast'
    )


if __name__ == '__main__':
    sys.exit(main())
