# SPDX-License-Identifier: Apache-2.0
"""Train the student on what `training.recognition.embed` wrote; resumable.

The learning rate falls over a given time of training rather than over a number of steps, so that
a run ends well on a machine of any speed::

    python -m training.recognition.train RUN --seconds 7200 [--start models/face_embedding.onnx]

Run again with more seconds to go on: the rate rises to where the longer schedule has it.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from training.recognition.network import Student, cost
from training.recognition.start import load_folded, match_maps

GROUP = 6
"""Shards in memory at once; views are shuffled among them."""
EMA = 0.998
CHECK_EVERY = 120
"""Seconds of training between validations and checkpoints."""
START_VIEWS = 1024
"""Views whose statistics an exported network takes as it goes on."""
MAX_STEP = 30
"""Seconds: what a step takes beyond this, the machine was asleep."""

log = logging.getLogger(__name__)


def batches(
    run: Path, size: int, seed: int, flip: bool = True
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield (views, embeddings, maps) without end, from all shards that are there by then."""
    random = np.random.default_rng(seed)
    while True:
        shards = sorted(run.glob('shard_*.npz'))
        if not shards:
            raise SystemExit(f'no shards in {run}: run training.recognition.embed first')
        random.shuffle(shards)
        for first in range(0, len(shards), GROUP):
            parts = []
            for path in shards[first : first + GROUP]:
                with np.load(path) as file:
                    parts.append((file['views'], file['embeddings'], file['maps']))
            views, embeddings, maps = (np.concatenate(part) for part in zip(*parts, strict=True))
            order = random.permutation(len(views))
            for begin in range(0, len(order) - size + 1, size):
                rows = np.sort(order[begin : begin + size])
                flipped = flip and random.random() < 0.5
                images = views[rows, :, ::-1] if flipped else views[rows]
                yield (
                    to_tensor(jitter(images, random)),
                    torch.from_numpy(embeddings[rows]),
                    None if flipped else torch.from_numpy(maps[rows].astype(np.float32)),
                )


def jitter(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return views moved by a pixel at most, in a slightly other light.

    The teacher's answer changes little, and mirrored little too (a cosine of 0.94), so that it is
    taken as it is: far more different inputs for the same work of the teacher.
    """
    shift = tuple(random.integers(-1, 2, 2))
    images = np.roll(images, shift, (1, 2))
    gain = random.uniform(0.9, 1.1, (len(images), 1, 1, 1)).astype(np.float32)
    return np.clip(images * gain + random.uniform(-6, 6), 0, 255).astype(np.uint8)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Return float RGB (N, 3, 112, 112) of uint8 BGR images."""
    tensor = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2)
    return tensor.float().contiguous(memory_format=torch.channels_last)


def loss_of(found, wanted_embeddings, wanted_maps, map_variance: float, map_share: float):
    """Return the loss and its parts.

    The embedding's direction, its length, the likeness of each pair of faces in the batch (Park
    et al., "Relational knowledge distillation", CVPR 2019), and the last feature maps.
    """
    embeddings, maps = found[0].float(), found[1].float()
    unit, wanted = functional.normalize(embeddings), functional.normalize(wanted_embeddings)
    direction = 1 - (unit * wanted).sum(1).mean()
    length = functional.mse_loss(embeddings, wanted_embeddings)
    pairs = functional.mse_loss(unit @ unit.T, wanted @ wanted.T)
    hint = (
        torch.zeros(())
        if wanted_maps is None
        else functional.mse_loss(maps, wanted_maps) / map_variance
    )
    return direction + 0.2 * length + 5 * pairs + map_share * hint, (
        direction,
        length,
        pairs,
        hint,
    )


def validate(network: torch.nn.Module, run: Path) -> dict[str, float]:
    """Return how well a network imitates the teacher on faces that it was not trained on."""
    with np.load(run / 'validation.npz') as file:
        views, wanted = file['views'], torch.from_numpy(file['embeddings'])
    network.eval()
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        found = torch.cat(
            [
                network(to_tensor(views[first : first + 64]))[0].float()
                for first in range(0, len(views), 64)
            ]
        )
    found = functional.normalize(found)
    rows, columns = torch.triu_indices(len(found), len(found), 1)
    pairs = torch.stack([(found @ found.T)[rows, columns], (wanted @ wanted.T)[rows, columns]])
    return {
        'cosine': float((found * wanted).sum(1).mean()),
        'pairs': float(torch.corrcoef(pairs)[0, 1]),
    }


class Trainer:
    """A run and its state."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.run = options, options.run
        self.path = self.run / 'checkpoint.pt'
        network = Student() if self.path.is_file() else self.begin()
        self.network = network.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = self.make_optimizer()
        self.steps, self.seconds = 0, 0.0
        self.map_variance: float | None = None
        if self.path.is_file():
            self._load()
        log.info('%d parameters, %d multiply-adds', *cost(self.average))

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of the network's parameters."""
        decayed = [value for value in self.network.parameters() if value.ndim > 1]
        plain = [value for value in self.network.parameters() if value.ndim == 1]
        return torch.optim.AdamW(
            [{'params': decayed, 'weight_decay': 0.02}, {'params': plain, 'weight_decay': 0.0}],
            lr=self.options.rate,
            fused=True,
        )

    def begin(self) -> Student:
        """Return the student as training begins: an exported one, or a new one."""
        if self.options.start:
            views, _, maps = next(batches(self.run, START_VIEWS, seed=0, flip=False))
            network = load_folded(self.options.start, views)
            share = match_maps(network, views, maps)
            log.info('the last maps begin with %.2f of the variance explained', share)
            return network
        network = Student()
        basis = torch.load(self.run / 'basis.pt')
        network.dense.weight.data, network.dense.bias.data = basis['weight'], basis['bias']
        return network

    def _load(self) -> None:
        state = torch.load(self.path)
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.steps, self.seconds = state['steps'], state['seconds']
        self.map_variance = state['map_variance']
        log.info('going on at step %d, %.0f s', self.steps, self.seconds)

    def save(self) -> None:
        """Write the checkpoint, the old one staying whole until the new one is."""
        partial = self.path.with_suffix('.tmp')
        torch.save(
            {
                'network': self.network.state_dict(),
                'average': self.average.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'steps': self.steps,
                'seconds': self.seconds,
                'map_variance': self.map_variance,
            },
            partial,
        )
        partial.rename(self.path)

    def _rate(self) -> float:
        progress = min(1.0, self.seconds / self.options.seconds)
        warm = min(1.0, (self.steps + 1) / 200)
        return (
            self.options.rate * warm * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * progress)))
        )

    def train(self) -> None:
        """Train until the time is used up."""
        parts, checked = [], self.seconds
        source = self.batches()
        begin = time.monotonic()
        while self.seconds < self.options.seconds:
            parts.append(self._step(*next(source)))
            now = time.monotonic()
            self.seconds += min(now - begin, MAX_STEP)
            begin = now
            if self.seconds - checked >= CHECK_EVERY:
                checked = self.seconds
                self._check(parts)
                parts = []
        self._check(parts)

    def batches(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield (views, embeddings, maps) without end."""
        return batches(self.run, self.options.batch, seed=self.steps)

    def loss(self, found, embeddings, maps) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of what was found for a batch, and its parts by name."""
        if self.map_variance is None and maps is not None:
            self.map_variance = float(maps.var())
        progress = min(1.0, self.seconds / self.options.seconds)
        loss, parts = loss_of(
            found, embeddings, maps, self.map_variance or 1.0, 1.0 - 0.8 * progress
        )
        names = ('direction', 'length', 'pairs_loss', 'maps')
        return loss, dict(zip(names, parts, strict=True))

    def _step(self, views, embeddings, maps) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group['lr'] = self._rate()
        self.network.train()
        with torch.autocast('cpu', torch.bfloat16):
            found = self.network(views)
        loss, parts = self.loss(found, embeddings, maps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.steps += 1
        decay = min(EMA, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for mine, new in zip(
                self.average.state_dict().values(), self.network.state_dict().values(), strict=True
            ):
                if mine.dtype.is_floating_point:
                    mine.lerp_(new, 1 - decay)
                else:
                    mine.copy_(new)
        return {name: float(part.detach()) for name, part in parts.items()}

    def _check(self, parts: list[dict[str, float]]) -> None:
        if not parts:
            return
        row = {
            'steps': self.steps,
            'seconds': round(self.seconds),
            'rate': self._rate(),
            **{name: sum(part[name] for part in parts) / len(parts) for name in parts[0]},
            **validate(self.average, self.run),
        }
        log.info(json.dumps(row))
        with (self.run / 'log.jsonl').open('a') as file:
            file.write(json.dumps(row) + '\n')
        self.save()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('run', type=Path, help='run folder, written by training.recognition.embed')
    parser.add_argument('--seconds', type=float, default=7200, help='of training, all told')
    parser.add_argument(
        '--start', type=Path, help='exported .onnx to begin with where there is no checkpoint'
    )
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--rate', type=float, default=2e-3)
    parser.add_argument('--threads', type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    Trainer(options).train()


if __name__ == '__main__':
    main()
