# SPDX-License-Identifier: Apache-2.0
"""Train a student on from exported weights, on more different views; resumable.

Takes what `training.recognition.bank` wrote: half of each batch are light views of the crops, each
drawn anew, the other half views of faces that mostly do not exist::

    python -m training.recognition.refine RUN --seconds 3600 --start models/face_embedding.onnx

Beside the direction of the embedding and the likeness of pairs, the student learns to find each
face among all crops as the teacher does: its similarities to the teacher's embeddings of all of
them, as a distribution, are to be the teacher's. Strangers who are mistaken for somebody weigh
most in that.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from training.recognition.light_views import LightViews
from training.recognition.muon import Muon
from training.recognition.network import Student
from training.recognition.start import load_folded
from training.recognition.train import START_VIEWS, Trainer, jitter, to_tensor
from training.recognition.views import fill_borders

TEMPERATURE = 0.1
"""Of the distribution over all crops: a crop then takes about half of its own."""
CROWD_SHARE = 0.1
LENGTH_SHARE = 0.1
PAIRS_SHARE = 5.0

log = logging.getLogger(__name__)


class Bank:
    """Views with the teacher's embeddings.

    :param run: run folder with ``crops.npz``, ``clean.npz`` and ``views_*.npz``.
    """

    def __init__(self, run: Path, seed: int):
        self.run = run
        with np.load(run / 'clean.npz') as file:
            rows, self.embeddings = file['rows'], file['embeddings']
        with np.load(run / 'crops.npz') as file:
            crops = file['crops'][rows]
        for number in range(len(crops)):
            if number % 5:  # the others keep the black corners of photographs that end there
                crops[number] = fill_borders(crops[number])
        self.light = LightViews(crops, seed)
        self.random = np.random.default_rng(seed)
        self._known: list[Path] = []
        self._views: list[np.ndarray] = []
        self._wanted: list[np.ndarray] = []

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, None]]:
        """Yield (views, embeddings, None) without end; new shards are taken as they come."""
        while True:
            self._look()
            order = self.random.permutation(len(self.embeddings))
            half = size // 2
            for first in range(0, len(order) - half + 1, half):
                rows = order[first : first + half]
                light = [self.light.make(row, self.random.random() < 0.5) for row in rows]
                views, wanted = self._invented(size - half)
                yield (
                    to_tensor(np.concatenate([np.stack(light), views])),
                    torch.from_numpy(np.concatenate([self.embeddings[rows], wanted])),
                    None,
                )

    def _look(self) -> None:
        for path in sorted(self.run.glob('views_*.npz')):
            if path not in self._known:
                with np.load(path) as file:
                    self._views.append(file['views'])
                    self._wanted.append(file['embeddings'])
                self._known.append(path)

    def _invented(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        shards = self.random.integers(len(self._views), size=count)
        rows = [self.random.integers(len(self._views[shard])) for shard in shards]
        views = np.stack([self._views[a][b] for a, b in zip(shards, rows, strict=True)])
        wanted = np.stack([self._wanted[a][b] for a, b in zip(shards, rows, strict=True)])
        if self.random.random() < 0.5:
            views = views[:, :, ::-1]
        return jitter(views, self.random), wanted


class Refiner(Trainer):
    """A run on a bank of views."""

    def __init__(self, options: argparse.Namespace):
        self.bank = Bank(options.run, options.seed)
        self.crowd = functional.normalize(torch.from_numpy(self.bank.embeddings))
        super().__init__(options)

    def begin(self) -> Student:
        """Return the exported student as training begins."""
        views, _, _ = next(self.bank.batches(START_VIEWS))
        return load_folded(self.options.start, views)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return Muon for the kernels, AdamW for the dense layer and the rest."""
        network = self.network
        dense = [network.dense.weight]
        kernels = [
            value
            for value in network.parameters()
            if value.ndim > 1 and value is not network.dense.weight
        ]
        plain = [value for value in network.parameters() if value.ndim == 1]
        return Muon(
            [
                {'params': kernels, 'weight_decay': 0.02, 'orthogonal': True},
                {'params': dense, 'weight_decay': 0.05},
                {'params': plain},
            ],
            self.options.rate,
        )

    def batches(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield batches of the bank."""
        return self.bank.batches(self.options.batch)

    def loss(self, found, wanted, _maps) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss and its parts."""
        embeddings = found[0].float()
        unit, target = functional.normalize(embeddings), functional.normalize(wanted)
        direction = 1 - (unit * target).sum(1).mean()
        length = functional.mse_loss(embeddings, wanted)
        pairs = functional.mse_loss(unit @ unit.T, target @ target.T)
        chances = functional.softmax(target @ self.crowd.T / TEMPERATURE, dim=1)
        crowd = functional.kl_div(
            functional.log_softmax(unit @ self.crowd.T / TEMPERATURE, dim=1),
            chances,
            reduction='batchmean',
        )
        loss = direction + LENGTH_SHARE * length + PAIRS_SHARE * pairs + CROWD_SHARE * crowd
        return loss, {
            'direction': direction,
            'length': length,
            'pairs_loss': pairs,
            'crowd': crowd,
        }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('run', type=Path, help='run folder, written by training.recognition.bank')
    parser.add_argument('--seconds', type=float, default=3600, help='of training, all told')
    parser.add_argument('--start', type=Path, help='exported .onnx to begin with')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--rate', type=float, default=1.5e-3)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    Refiner(options).train()


if __name__ == '__main__':
    main()
