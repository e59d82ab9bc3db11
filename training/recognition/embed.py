# SPDX-License-Identifier: Apache-2.0
"""What the teacher makes of many views, written once for all epochs of training.

Writes shards below the run folder, each with the views, the teacher's embeddings and its last
feature maps in a basis of :data:`MAP_CHANNELS` directions. Training may begin with the first.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from training.recognition.crops import MARGIN, cut, photographs
from training.recognition.teacher import Teacher
from training.recognition.views import ViewMaker

SHARD = 2048
BATCH = 32
MAP_CHANNELS = 128
DUPLICATE = 0.8
"""Cosine from which a training crop shows the same photograph, or nearly so, as a test image."""

log = logging.getLogger(__name__)


def embed(teacher: Teacher, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings (N, 128) and feature maps (N, 1024, 7, 7) of uint8 BGR images."""
    embeddings, maps = [], []
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        for first in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[first : first + BATCH, ..., ::-1].copy())
            result = teacher(batch.permute(0, 3, 1, 2).float())
            embeddings.append(result[0].float())
            maps.append(result[1].to(torch.bfloat16))
    return torch.cat(embeddings), torch.cat(maps)


def find_basis(teacher: Teacher, maps: torch.Tensor, channels: int) -> dict[str, torch.Tensor]:
    """Return the directions of feature maps that matter most to the embedding.

    Principal components under the metric in which the teacher's dense layer reads the maps.

    :param maps: (N, C, 7, 7) of typical faces.
    :returns: ``mean`` (C, 7, 7), ``encode`` (channels, C), and the dense layer in the basis:
        ``weight`` (128, channels, 7, 7) and ``bias`` (128).
    """
    dense = teacher.dense.weight.data.reshape(128, maps.shape[1], -1)
    metric = torch.einsum('ock,odk->cd', dense, dense).double()
    values, vectors = torch.linalg.eigh(metric)
    values = values.clamp(min=values.max() * 1e-6).sqrt()
    root, inverse = (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
    mean = maps.float().mean(0)
    points = (maps.float() - mean).flatten(2).permute(0, 2, 1).reshape(-1, maps.shape[1]).double()
    points = points @ root
    _, directions = torch.linalg.eigh(points.T @ points)
    directions = directions[:, -channels:].flip(1)
    decode = (inverse @ directions).float()
    return {
        'mean': mean,
        'encode': (directions.T @ root).float(),
        'weight': torch.einsum('ocp,ck->okp', dense, decode).reshape(128, channels, 7, 7),
        'bias': mean.flatten() @ teacher.dense.weight.data.T + teacher.dense.bias.data,
    }


def crop_weights(names: np.ndarray) -> np.ndarray:
    """Return how often each crop is to be drawn; the set with many masked faces less often."""
    return np.array([0.5 if 'maskds' in name else 1.0 for name in names])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', type=Path, help='run folder with crops.npz')
    parser.add_argument('--teacher', type=Path, required=True, help='the SFace ONNX file')
    parser.add_argument('--shards', type=int, default=72)
    parser.add_argument(
        '--exclude',
        type=Path,
        metavar='FOLDER',
        help='test photographs: training crops that show the same ones are left out',
    )
    parser.add_argument('--models', type=Path, help='folder with YuNet, for --exclude')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    teacher = Teacher(options.teacher).to(memory_format=torch.channels_last)
    with np.load(options.run / 'crops.npz') as file:
        crops, names = file['crops'], file['names']
    weights = crop_weights(names)
    inner = np.ascontiguousarray(crops[:, MARGIN:-MARGIN, MARGIN:-MARGIN])
    if not (options.run / 'validation.npz').is_file():
        _prepare(teacher, inner, names, weights, options)
    with np.load(options.run / 'validation.npz') as file:
        weights[file['left_out']] = 0
    basis = torch.load(options.run / 'basis.pt')
    for number in range(options.shards):
        path = options.run / f'shard_{number:03d}.npz'
        if path.is_file():
            continue
        begin = time.process_time()
        maker = ViewMaker(crops, weights, seed=1000 * options.seed + number)
        views = np.stack([maker.make() for _ in range(SHARD)])
        drawn = time.process_time()
        embeddings, maps = embed(teacher, views)
        codes = torch.einsum('kc,ncyx->nkyx', basis['encode'], maps.float() - basis['mean'])
        partial = path.with_suffix('.tmp')
        with partial.open('wb') as file:
            np.savez(
                file,
                views=views,
                embeddings=embeddings.numpy(),
                maps=codes.numpy().astype(np.float16),
            )
        partial.rename(path)
        log.info(
            '%s: %.1f s to draw, %.1f s to embed',
            path.name,
            drawn - begin,
            time.process_time() - drawn,
        )


def _prepare(
    teacher: Teacher,
    inner: np.ndarray,
    names: np.ndarray,
    weights: np.ndarray,
    options: argparse.Namespace,
) -> None:
    """Find the basis, the crops to leave out, and the crops that validate."""
    random = np.random.default_rng(7)
    embeddings = []
    for first in range(0, len(inner), 512):
        embeddings.append(embed(teacher, inner[first : first + 512])[0])
    embeddings = torch.nn.functional.normalize(torch.cat(embeddings)).numpy()
    duplicate = np.zeros(len(inner), bool)
    if options.exclude:
        detector = options.models / 'face_detection_yunet_2023mar.onnx'
        faces = [cut(image, points) for _, image, points in photographs(options.exclude, detector)]
        test = embed(teacher, np.stack(faces)[:, MARGIN:-MARGIN, MARGIN:-MARGIN])[0]
        test = torch.nn.functional.normalize(test).numpy()
        duplicate = (embeddings @ test.T).max(1) > DUPLICATE
    log.info(
        '%d of %d crops show photographs of the test set and are left out',
        duplicate.sum(),
        len(inner),
    )
    # Whole photographs validate, so that no face of one is in both sets.
    files = np.unique(names)
    chosen = set(random.choice(files, len(files) // 30, replace=False))
    validating = np.array([name in chosen for name in names])
    sample = random.choice(np.flatnonzero(~duplicate & ~validating), 1600, replace=False)
    basis = find_basis(teacher, embed(teacher, inner[sample])[1], MAP_CHANNELS)
    torch.save(basis, options.run / 'basis.pt')
    held = np.flatnonzero(validating & ~duplicate)
    np.savez(
        options.run / 'validation.npz',
        left_out=np.flatnonzero(validating | duplicate),
        views=inner[held],
        embeddings=embeddings[held],
        duplicates=names[duplicate],
    )


if __name__ == '__main__':
    main()
