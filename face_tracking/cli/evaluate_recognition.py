# SPDX-License-Identifier: Apache-2.0
"""``face_tracking evaluate recognition``: a recognition network on a folder laid out as LFW."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from face_tracking.arrays import FloatArray
from face_tracking.errors import UserError
from face_tracking.evaluation import recognition_metrics as metrics

if TYPE_CHECKING:
    from face_tracking.recognition.embedder import FaceEmbedder
    from face_tracking.recognition.landmark_refiner import LandmarkRefiner

_MOST_PAIRS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that only this evaluation has."""
    from face_tracking.cli import arguments
    from face_tracking.recognition.recognition_options import EmbeddingOptions

    group = parser.add_argument_group('recognition, with "evaluate recognition"')
    group.add_argument(
        '--lfw',
        type=Path,
        metavar='FOLDER',
        help='pairs.csv (a,b,same) and images/ of aligned crops of Labeled Faces in the Wild '
        '(default: ../shared/faces/lfw)',
    )
    arguments.add_option_arguments(parser, EmbeddingOptions, 'embedding network')


def run(args: argparse.Namespace) -> int:
    """Embed all images, score, print, write."""
    from face_tracking.recognition.embedder import create_embedder
    from face_tracking.recognition.landmark_refiner import create_landmark_refiner

    folder = args.lfw or _default_folder()
    pairs = _read_pairs(folder / 'pairs.csv')
    files = sorted({file for pair in pairs for file in pair[:2]})
    refiner = create_landmark_refiner()
    embedder = create_embedder(
        args.recognition_model,
        args.recognition_runtime,
        args.recognition_threads,
        args.recognition_precision,
    )
    try:
        embeddings, failed, cost = _embed(embedder, refiner, folder / 'images', files)
        result = _score(embedder.threshold, pairs, files, embeddings)
    finally:
        embedder.close()
        refiner.close()
    result.update(model=embedder.model.name, images=len(files), without_face=failed, **cost)
    _print(result)
    if args.json:
        from face_tracking.cli.output import write_text

        write_text(args.json, json.dumps(result, indent=1) + '\n')
    if args.plot:
        from face_tracking.evaluation.recognition_plot import draw_roc

        rows = {file: row for row, file in enumerate(files)}
        similarities, same = _pair_scores(pairs, rows, embeddings)
        draw_roc(
            {
                'pairs.csv': metrics.roc(similarities, same),
                'all pairs of images': metrics.roc(*metrics.all_pairs(embeddings, _people(files))),
            },
            args.plot,
        )
    return 0


def _default_folder() -> Path:
    from face_tracking.files import share_dir

    return share_dir().parent / 'shared' / 'faces' / 'lfw'


def _read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    from face_tracking import files

    text = files.read_text(path, 'list of pairs')
    try:
        rows = [
            (Path(row['a']).name, Path(row['b']).name, row['same'] == '1')
            for row in csv.DictReader(text.splitlines())
        ]
    except (KeyError, TypeError) as error:
        raise UserError(
            f'{path} has no column {error}', 'give a CSV file with the columns a, b and same'
        ) from error
    if not 1 <= len(rows) <= _MOST_PAIRS or len({same for *_, same in rows}) < 2:
        raise UserError(
            f'{path} needs pairs of one person and of two', 'give the whole list of pairs'
        )
    return rows


def _embed(
    embedder: FaceEmbedder, refiner: LandmarkRefiner, folder: Path, files: list[str]
) -> tuple[FloatArray, int, dict[str, float]]:
    """Return embeddings (N, D), zero where no face was found, how many those are, and the cost."""
    from face_tracking.camera.image_file import read_image
    from face_tracking.cli.output import progress
    from face_tracking.recognition.alignment import align_face

    rows: list[FloatArray | None] = []
    finding, embedding = [], []
    for file in progress(files, unit='image'):
        image = read_image(folder / file)
        height, width = image.shape[:2]
        box = np.array([0.26 * width, 0.2 * height, 0.74 * width, 0.84 * height])
        begin = time.thread_time()
        found = refiner.find(image, box)
        middle = time.thread_time()
        if found is None:
            rows.append(None)
            continue
        crop = align_face(image, found[0])
        aligned = time.thread_time()
        rows.append(embedder.embed(crop))
        finding.append(middle - begin)
        embedding.append(time.thread_time() - aligned)
    size = next((len(row) for row in rows if row is not None), 1)
    vectors = np.stack([np.zeros(size, np.float32) if row is None else row for row in rows])
    cost = {
        'landmarks_ms': 1e3 * float(np.median(finding)) if finding else 0.0,
        'embedding_ms': 1e3 * float(np.median(embedding)) if embedding else 0.0,
    }
    return vectors, sum(row is None for row in rows), cost


def _people(files: list[str]) -> list[str]:
    """Return the names in file names such as ``Grace_Hopper_0001.jpg``."""
    return [Path(file).stem.rpartition('_')[0] for file in files]


def _pair_scores(pairs: list[tuple[str, str, bool]], rows: dict[str, int], vectors: FloatArray):
    first = vectors[[rows[a] for a, _, _ in pairs]]
    second = vectors[[rows[b] for _, b, _ in pairs]]
    return (first * second).sum(1), np.array([same for *_, same in pairs])


def _score(
    threshold: float, pairs: list[tuple[str, str, bool]], files: list[str], vectors: FloatArray
) -> dict[str, Any]:
    rows = {file: row for row, file in enumerate(files)}
    people = _people(files)
    similarities, same = _pair_scores(pairs, rows, vectors)
    everything = metrics.all_pairs(vectors, people)
    return {
        'threshold': threshold,
        'verification': asdict(metrics.verify(similarities, same, threshold)),
        'all_pairs': {
            f'TAR at FAR {rate:g}': metrics.true_rate(*everything, rate)
            for rate in (0.01, 0.001, 0.0001)
        },
        'identification': [
            asdict(metrics.identify(vectors, people, size, threshold))
            for size in metrics.GALLERY_SIZES
        ],
    }


def _print(result: dict[str, Any]) -> None:
    verification = result['verification']
    print(
        f'{result["model"]}: {result["images"]} images, {result["without_face"]} without a face; '
        f'{result["landmarks_ms"]:.2f} ms of CPU for landmarks, {result["embedding_ms"]:.2f} ms '
        'for the embedding'
    )
    print(
        f'pairs: accuracy {verification["accuracy"]:.4f} at {verification["threshold"]:.3f}, '
        f'{verification["accuracy_given"]:.4f} at the threshold {result["threshold"]:.3f}'
    )
    for rate, found in verification['true_rates'].items():
        print(f'pairs: TAR {found:.3f} at FAR {float(rate):g}')
    for rate, found in result['all_pairs'].items():
        print(f'all pairs of images: {rate}: {found:.3f}')
    for row in result['identification']:
        print(
            f'{row["people"]} enrolled: where 90 % of known faces are named (at '
            f'{row["threshold"]:.3f}), {100 * row["false_names"]:.2f} % of strangers get a name; '
            f'at {result["threshold"]:.3f}: {100 * row["named_given"]:.1f} % and '
            f'{100 * row["false_names_given"]:.2f} %'
        )
    sys.stdout.flush()
