# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands share, and reading them."""

from __future__ import annotations

import argparse
import re

from face_tracking.detection.suppression import AGREEMENT
from face_tracking.runtimes.base import DEFAULT, PRECISIONS, RUNTIMES


def add_detector_arguments(parser: argparse.ArgumentParser):
    """Add ``--model``, ``--runtime``, ``--threads``, ``--device``, ``--precision`` and the
    thresholds."""
    group = parser.add_argument_group('detector')
    group.add_argument('--model', metavar='FILE|NAME',
                       help='an .onnx file, its description, or a name (default: '
                            'FACE_TRACKING_MODEL, else the bundled model)')
    group.add_argument('--runtime', default=DEFAULT, metavar='NAME',
                       help=f'engine: {", ".join(RUNTIMES)} (default: %(default)s)')
    group.add_argument('--device', default='auto', help='cpu, or another that the engine knows '
                       '(default: %(default)s)')
    group.add_argument('--precision', choices=PRECISIONS, default='auto',
                       help='of the arithmetic, with runtime tvm (default: the fastest that '
                            'finds the same faces)')
    group.add_argument('--threads', type=count, default=0, metavar='N',
                       help='cores to use (default: the engine decides)')
    group.add_argument('--score-threshold', type=fraction, default=0.7, metavar='X',
                       help='least score of a face, 0 to 1 (default: %(default)s)')
    group.add_argument('--nms-threshold', type=fraction, default=0.45, metavar='X',
                       help='boxes that overlap by more are one face (default: %(default)s)')
    group.add_argument('--agreement', type=fraction, default=AGREEMENT, metavar='X',
                       help='of those, the ones that overlap the best by more are averaged with '
                            'it; 1 takes the best alone (default: %(default)s)')
    group.add_argument('--max-faces', type=count, default=0, metavar='N',
                       help='keep at most the N best in a picture (default: all)')


def detector_options(args: argparse.Namespace) -> dict:
    """Return what :func:`add_detector_arguments` read, as ``create_detector`` takes it."""
    return {name: getattr(args, name) for name in (
        'model', 'runtime', 'device', 'precision', 'threads', 'score_threshold',
        'nms_threshold', 'agreement', 'max_faces')}


def fraction(text: str) -> float:
    """Read a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def count(text: str) -> int:
    """Read a whole number from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text} is negative')
    return value


def positive(text: str) -> int:
    """Read a whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is less than 1')
    return value


def size(text: str) -> tuple[int, int]:
    """Read ``320x240`` as (width, height)."""
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if not match or not int(match[1]) or not int(match[2]):
        raise argparse.ArgumentTypeError(f'{text} is not WIDTHxHEIGHT, like 320x240')
    return int(match[1]), int(match[2])
