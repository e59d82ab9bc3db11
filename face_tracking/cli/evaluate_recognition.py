# SPDX-License-Identifier: Apache-2.0
"""``face_tracking evaluate recognition``: a recognition network on a folder laid out as LFW."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from face_tracking.arrays import BoolArray, FloatArray, ImageArray
from face_tracking.errors import UserError
from face_tracking.evaluation import recognition_metrics as metrics
from face_tracking.evaluation.recognition_pairs import Pair, find_image, find_lists, read_pairs

if TYPE_CHECKING:
    from face_tracking.recognition.embedder import FaceEmbedder
    from face_tracking.recognition.landmark_refiner import LandmarkRefiner

_MIDDLE = 176
"""Side in pixels of the middle of an image of LFW, where the face is."""
_WHOLE = (250, 250)
"""Size of LFW's own images."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that only this evaluation has."""
    from face_tracking.cli import arguments
    from face_tracking.recognition.recognition_options import EmbeddingOptions

    group = parser.add_argument_group('recognition, with "evaluate recognition"')
    group.add_argument(
        '--lfw',
        type=Path,
        metavar='FOLDER',
        help='images of Labeled Faces in the Wild, in images/ or in a folder for each person, and '
        'lists of pairs (default: ../shared/faces/lfw)',
    )
    group.add_argument(
        '--pairs',
        type=Path,
        nargs='+',
        metavar='FILE',
        help='lists of pairs: CSV files (a,b,same), pairsDevTest.txt (View 1) or pairs.txt '
        '(View 2, ten folds) of LFW (default: those in the folder)',
    )
    arguments.add_option_arguments(parser, EmbeddingOptions, 'embedding network')


def run(args: argparse.Namespace) -> int:
    """Embed all images, score, print, write."""
    from face_tracking.recognition.embedder import create_embedder
    from face_tracking.recognition.landmark_refiner import create_landmark_refiner

    folder = args.lfw or _default_folder()
    lists = {path.name: read_pairs(path) for path in args.pairs or find_lists(folder)}
    files = _files_of([pair for pairs in lists.values() for pair in pairs])
    refiner = create_landmark_refiner()
    embedder = create_embedder(
        args.recognition_model,
        args.recognition_runtime,
        args.recognition_threads,
        args.recognition_precision,
    )
    try:
        embeddings, failed, cost = _embed(embedder, refiner, folder, files)
        result = _score(embedder.threshold, lists, files, embeddings)
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
        curves = {
            name: metrics.roc(*_pair_scores(pairs, rows, embeddings))
            for name, pairs in lists.items()
        }
        first = _files_of(next(iter(lists.values())))
        chosen = embeddings[[rows[file] for file in first]]
        curves['all pairs of images'] = metrics.roc(*metrics.all_pairs(chosen, _people(first)))
        draw_roc(curves, args.plot)
    return 0


def _default_folder() -> Path:
    from face_tracking.files import share_dir

    return share_dir().parent / 'shared' / 'faces' / 'lfw'


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
        image = _middle(read_image(find_image(folder, file)))
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


def _middle(image: ImageArray) -> ImageArray:
    """Return the middle of an image of LFW; others are already cropped."""
    if image.shape[:2] != _WHOLE:
        return image
    first = (_WHOLE[0] - _MIDDLE) // 2
    return np.ascontiguousarray(image[first : first + _MIDDLE, first : first + _MIDDLE])


def _files_of(pairs: list[Pair]) -> list[str]:
    return sorted({file for pair in pairs for file in (pair.first, pair.second)})


def _people(files: list[str]) -> list[str]:
    """Return the names in file names such as ``Grace_Hopper_0001.jpg``."""
    return [Path(file).stem.rpartition('_')[0] for file in files]


def _pair_scores(
    pairs: list[Pair], rows: dict[str, int], vectors: FloatArray
) -> tuple[FloatArray, BoolArray]:
    first = vectors[[rows[pair.first] for pair in pairs]]
    second = vectors[[rows[pair.second] for pair in pairs]]
    return (first * second).sum(1), np.array([pair.same for pair in pairs])


def _score(
    threshold: float, lists: dict[str, list[Pair]], files: list[str], vectors: FloatArray
) -> dict[str, Any]:
    rows = {file: row for row, file in enumerate(files)}
    scores = {}
    for name, pairs in lists.items():
        similarities, same = _pair_scores(pairs, rows, vectors)
        folds = metrics.cross_validate(similarities, same, np.array([pair.fold for pair in pairs]))
        scores[name] = {
            **asdict(metrics.verify(similarities, same, threshold)),
            'cross_validation': asdict(folds) if folds else None,
        }
    chosen = _files_of(next(iter(lists.values())))
    people, vectors = _people(chosen), vectors[[rows[file] for file in chosen]]
    everything = metrics.all_pairs(vectors, people)
    return {
        'threshold': threshold,
        'verification': next(iter(scores.values())),
        'lists': scores,
        'all_pairs': {
            f'TAR at FAR {rate:g}': metrics.true_rate(*everything, rate)
            for rate in (0.01, 0.001, 0.0001)
        },
        'identification': _identification(vectors, people, threshold),
        'several_views': _several_views(vectors, people, threshold),
    }


def _identification(
    vectors: FloatArray, people: list[str], threshold: float
) -> list[dict[str, Any]]:
    """Return identification with strangers by single images, by the number of people enrolled."""
    try:
        return [
            asdict(metrics.identify(vectors, people, size, threshold))
            for size in metrics.GALLERY_SIZES
        ]
    except UserError:  # the pairs show too few people
        return []


def _several_views(
    vectors: FloatArray, people: list[str], threshold: float
) -> list[dict[str, Any]]:
    """Return identification by the mean of several images, beside single ones of these people."""
    most = metrics.SEVERAL_VIEWS
    try:
        return [
            asdict(
                metrics.identify(
                    vectors,
                    people,
                    metrics.GALLERY_SIZES[0],
                    threshold,
                    views=views,
                    least_views=most,
                )
            )
            for views in (1, most)
        ]
    except UserError:  # too few people with so many images
        return []


def _print(result: dict[str, Any]) -> None:
    print(
        f'{result["model"]}: {result["images"]} images, {result["without_face"]} without a face; '
        f'{result["landmarks_ms"]:.2f} ms of CPU for landmarks, {result["embedding_ms"]:.2f} ms '
        'for the embedding'
    )
    for name, found in result['lists'].items():
        _print_list(name, found, result['threshold'])
    for rate, found in result['all_pairs'].items():
        print(f'all pairs of images: {rate}: {found:.3f}')
    for row in result['identification']:
        _print_identification(row, result['threshold'], '')
    for row in result['several_views']:
        _print_identification(
            row, result['threshold'], f'people with many images, mean of {row["views"]}, '
        )
    sys.stdout.flush()


def _print_list(name: str, found: dict[str, Any], threshold: float) -> None:
    folds = found['cross_validation']
    if folds:
        print(
            f'{name}: accuracy over {folds["folds"]} folds {folds["accuracy"]:.4f} '
            f'(standard error {folds["error"]:.4f})'
        )
    print(
        f'{name}: accuracy {found["accuracy"]:.4f} at {found["threshold"]:.3f}, '
        f'{found["accuracy_given"]:.4f} at the threshold {threshold:.3f}'
    )
    for rate, share in found['true_rates'].items():
        print(f'{name}: TAR {share:.3f} at FAR {float(rate):g}')


def _print_identification(row: dict[str, Any], threshold: float, what: str) -> None:
    print(
        f'{what}{row["people"]} enrolled: where 90 % of known faces are named (at '
        f'{row["threshold"]:.3f}), {100 * row["false_names"]:.2f} % of strangers get a name; '
        f'at {threshold:.3f}: {100 * row["named_given"]:.1f} % and '
        f'{100 * row["false_names_given"]:.2f} %'
    )
