# SPDX-License-Identifier: Apache-2.0
"""Measure weights: ``python -m training.evaluate --weights bundled --data FOLDER``.

Prints average precision at IoU 0.5, recall, landmark error over the distance of the eyes, and
false alarms in images without any label. ``--sheet`` draws what was found.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from tqdm import tqdm

from face_tracking.errors import UserError
from training import checkpoint, dataset, labels
from training.detect import Detector, onnx_runner, torch_runner
from training.metrics import Found, Result, measure
from training.network import deployed
from training.plots import sheet
from training.sizes import parse_size

DEFAULT_HOLDOUT = 0.08
UNKNOWN = [float('nan')] * 10


def runner(name: str, width: int, height: int):
    """Return a runner of ``bundled``, a .safetensors, .torchscript or .onnx file."""
    suffix = Path(name).suffix
    if suffix in ('.onnx', '.torchscript') and not Path(name).is_file():
        raise UserError(f'there is no file {name}', 'export it first, or correct the path')
    try:
        if suffix == '.onnx':
            return onnx_runner(Path(name))
        if suffix == '.torchscript':
            return torch_runner(torch.jit.load(name))
    except Exception as error:
        raise UserError(f'{name} cannot be loaded', 'export it again') from error
    return torch_runner(deployed(checkpoint.load_network(name)))


def detect_all(detector: Detector, shown: list[dataset.Sample]) -> list[Found]:
    """Return what ``detector`` finds in each image, with a progress bar."""
    return [detector(sample.levels[0]) for sample in tqdm(shown, desc='detect', unit='')]


def read_detections(path: Path, folder: Path, shown: list[dataset.Sample]) -> list[Found]:
    """Return what ``face_tracking detect FOLDER --json`` wrote to ``path``, for each image.

    :raises UserError: if the file cannot be read, or lacks an image.
    """
    try:
        rows = json.loads(path.read_text(encoding='utf-8'))
        faces = {str((folder / row['file']).resolve()): row['faces'] for row in rows}
        found = []
        for sample in shown:
            own = faces[str(sample.file.resolve())]
            boxes = np.array([face['box'] for face in own], np.float32).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            found.append(
                Found(
                    boxes,
                    np.array([face['score'] for face in own], np.float32),
                    np.array(
                        [face.get('landmarks') or UNKNOWN for face in own], np.float32
                    ).reshape(-1, 5, 2),
                )
            )
    except KeyError as error:
        raise UserError(
            f'{path} lacks {error}',
            'run face_tracking detect --json FILE on the '
            'very folder that --data or --images names',
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f'{path} cannot be read: {error}', 'name a file that face_tracking detect --json wrote'
        ) from error
    return found


def report(result: Result, threshold: float) -> str:
    """Return the figures as lines of text."""
    error = (
        f'{result.landmark_error:.4f}  of the distance of the eyes '
        f'(median {result.landmark_median:.4f}), {result.landmark_faces} faces'
        if result.landmark_faces
        else 'unknown: no face has landmarks in both'
    )
    return '\n'.join(
        (
            f'average precision  {result.average_precision:.4f}  ({result.faces} faces)',
            f'recall             {result.recall:.4f}',
            f'landmark error     {error}',
            f'at threshold {threshold:.2f}  precision {result.precision_at:.4f}, '
            f'recall {result.recall_at:.4f}',
            f'false alarms       {result.false_alarms} in {result.empty_images} images '
            'without a label',
        )
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line's description."""
    found = argparse.ArgumentParser(
        prog='python -m training.evaluate',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add(
        '--weights',
        default=checkpoint.BUNDLED,
        help='"bundled" (default), a .safetensors, .torchscript or .onnx file',
    )
    add(
        '--detections',
        metavar='FILE',
        help='measure what "face_tracking detect --json FILE" wrote, instead of weights',
    )
    add(
        '--images',
        metavar='FOLDER',
        help='what that was run on, if not the folder --data '
        'names: annotations that name images in full may lie elsewhere',
    )
    add('--data', required=True, help='folder of annotated images')
    add('--corrections', default='', help='YAML of what a person says against the labels')
    add(
        '--held-out',
        type=float,
        nargs='?',
        const=DEFAULT_HOLDOUT,
        metavar='SHARE',
        help='measure only the share that training held out (0.08 without a number)',
    )
    add('--size', default='320x320', help='WIDTHxHEIGHT that images are fitted into')
    add(
        '--min-side',
        type=float,
        default=12.0,
        help='a face counts from this shorter side on, in pixels that the network sees',
    )
    add('--threshold', type=float, default=0.7, help='for precision, recall and false alarms')
    add('--json', metavar='FILE', help='write the figures there too')
    add('--sheet', metavar='FILE', help='write an image of the detections there')
    return found


def evaluate(arguments) -> Result:
    """Read, detect, measure; draw where asked to."""
    width, height = parse_size(arguments.size)
    rows = labels.read_folder(Path(arguments.data), tqdm.write)
    if arguments.corrections:
        corrections = Path(arguments.corrections).read_text(encoding='utf-8')
        rows = labels.corrected(rows, yaml.safe_load(corrections))
    if arguments.held_out is not None:
        rows = dataset.split(rows, arguments.held_out)[1]
    shown = dataset.load(rows, tqdm.write, longest_side=None)
    if arguments.detections:
        folder = Path(arguments.images or arguments.data)
        found = read_detections(Path(arguments.detections), folder, shown)
    else:
        detector = Detector(runner(arguments.weights, width, height), width, height)
        found = detect_all(detector, shown)
    if arguments.sheet:
        sheet(shown, found, Path(arguments.sheet), arguments.threshold)
    sizes = [sample.levels[0].shape[1::-1] for sample in shown]
    return measure(
        shown, found, sizes, arguments.threshold, arguments.min_side, long_side=max(width, height)
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        result = evaluate(arguments)
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(dataclasses.asdict(result), indent=1))
    except (UserError, OSError) as error:
        print(f'evaluate: {error}', file=sys.stderr)
        return 2
    print(report(result, arguments.threshold))
    return 0


if __name__ == '__main__':
    sys.exit(main())
