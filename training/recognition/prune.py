# SPDX-License-Identifier: Apache-2.0
"""A narrow copy of the teacher without gradients: channels chosen, then layers fitted in turn.

Backwards through the network, each layer keeps the input channels from which the outputs that are
still needed follow best by least squares (greedily, as in J.-H. Luo et al., "ThiNet", ICCV 2017).
Then forwards, each pointwise convolution is fitted by least squares to what the teacher computes,
from what the narrow network really has at its input, so that errors do not add up (Y. He et al.,
"Channel pruning for accelerating very deep neural networks", ICCV 2017). The dense layer at the
end is a ridge regression to the teacher's embeddings. Training goes on from there.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from training.recognition.teacher import Teacher

WIDTHS = (12, 24, 40, 40, 80, 80, 160, 160, 160, 160, 160, 160, 240, 160)
"""Channels behind the first convolution and behind each of the thirteen pointwise ones."""
IMAGES = 320
POSITIONS = 96
"""Places of each feature map that are looked at."""

log = logging.getLogger(__name__)


class Narrow(nn.Module):
    """The teacher's architecture with fewer channels; RGB 0..255 (N, 3, 112, 112) to (N, 128)."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
        self.first = nn.Sequential(nn.Conv2d(3, widths[0], 3, 1, 1), nn.PReLU(widths[0]))
        self.blocks = nn.ModuleList(
            [
                nn.ModuleDict(
                    {
                        'depthwise': nn.Sequential(
                            nn.Conv2d(a, a, 3, s, 1, groups=a), nn.PReLU(a)
                        ),
                        'pointwise': nn.Conv2d(a, b, 1),
                        'activation': nn.PReLU(b),
                    }
                )
                for a, b, s in zip(widths[:-1], widths[1:], strides, strict=True)
            ]
        )
        self.dense = nn.Conv2d(widths[-1], 128, 7)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last feature maps (N, C, 7, 7)."""
        value = self.first((images - 127.5) / 128)
        for block in self.blocks:
            value = block['activation'](block['pointwise'](block['depthwise'](value)))
        return value

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings (N, 128) and the last feature maps."""
        maps = self.features(images)
        return self.dense(maps).flatten(1), maps


def choose_channels(covariance: torch.Tensor, targets: torch.Tensor, count: int) -> list[int]:
    """Return the channels from which linear targets follow best, chosen one by one.

    :param covariance: (C, C) of the candidates.
    :param targets: (T, C), each a linear function of all candidates.
    """
    rest = covariance.double().clone()
    cross = targets.double() @ rest
    chosen: list[int] = []
    floor = rest.diagonal().mean() * 1e-6
    for _ in range(count):
        gain = cross.square().sum(0) / rest.diagonal().clamp(min=floor)
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        column, own = rest[:, best].clone(), rest[best, best].clamp(min=floor)
        cross -= torch.outer(cross[:, best].clone(), column) / own
        rest -= torch.outer(column, column) / own
    return sorted(chosen)


def fit(inputs: torch.Tensor, outputs: torch.Tensor, ridge: float = 1e-4):
    """Return weights (O, I) and bias (O,) by least squares from inputs (N, I), outputs (N, O)."""
    mean_in, mean_out = inputs.mean(0), outputs.mean(0)
    x, y = (inputs - mean_in).double(), (outputs - mean_out).double()
    gram = x.T @ x
    gram += torch.eye(len(gram), dtype=torch.double) * gram.diagonal().mean() * ridge
    weights = torch.linalg.solve(gram, x.T @ y).T.float()
    return weights, mean_out - weights @ mean_in


class _Pruner:
    """Holds the teacher's layers and what it computes on some images."""

    def __init__(self, teacher: Teacher, images: torch.Tensor):
        self.images = images
        self.layers = [layer for layer in teacher.body if isinstance(layer, nn.Conv2d)]
        self.activations = [layer for layer in teacher.body if isinstance(layer, nn.PReLU)]
        self.last_scale = self.layers.pop()  # the batch norm behind the last activation
        self.teacher = teacher

    def run(self) -> Narrow:
        inputs, outputs = self._teacher_maps()
        kept = self._choose(inputs)
        return self._fit(kept, outputs)

    def _teacher_maps(self):
        """Return inputs and outputs of the pointwise layers at some places, (N, C) each."""
        random = np.random.default_rng(3)
        inputs, outputs, self.places = [], [], []
        value = (self.images - 127.5) / 128
        value = self.activations[0](self.layers[0](value))
        for number in range(13):
            depthwise, pointwise = self.layers[1 + 2 * number], self.layers[2 + 2 * number]
            value = self.activations[1 + 2 * number](depthwise(value))
            result = pointwise(value)
            side = value.shape[-1] ** 2
            places = torch.from_numpy(random.permutation(side)[:POSITIONS])
            self.places.append(places)
            inputs.append(_at(value, places))
            outputs.append(_at(result, places))
            value = self.activations[2 + 2 * number](result)
            log.info('teacher layer %d', number)
        self.last = value
        return inputs, outputs

    def _choose(self, inputs) -> list[list[int]]:
        dense = self.teacher.dense.weight.data.reshape(128, 1024, 49)
        dense = dense * self.last_scale.weight.data.reshape(1, -1, 1)
        metric = torch.einsum('ock,odk->cd', dense, dense).double()
        values, vectors = torch.linalg.eigh(metric)
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        last = _at(self.last, torch.arange(49))
        kept = [choose_channels(_covariance(last), root, WIDTHS[13])]
        for number in reversed(range(13)):
            weights = self.layers[2 + 2 * number].weight.data[:, :, 0, 0][kept[0]]
            covariance = _covariance(inputs[number])
            spread = ((weights @ covariance) * weights).sum(1).clamp(min=1e-9).sqrt()
            kept.insert(0, choose_channels(covariance, weights / spread[:, None], WIDTHS[number]))
        return kept

    def _fit(self, kept: list[list[int]], outputs) -> Narrow:
        narrow = Narrow().eval().requires_grad_(False)
        _copy(narrow.first[0], self.layers[0], kept[0])
        narrow.first[1].weight.data = self.activations[0].weight.data[kept[0]]
        value = narrow.first((self.images - 127.5) / 128)
        for number, block in enumerate(narrow.blocks):
            _copy(block['depthwise'][0], self.layers[1 + 2 * number], kept[number])
            block['depthwise'][1].weight.data = self.activations[1 + 2 * number].weight.data[
                kept[number]
            ]
            value = block['depthwise'](value)
            wanted = outputs[number][:, kept[number + 1]]
            found = _at(value, self.places[number])
            weights, bias = fit(found, wanted)
            error = (found @ weights.T + bias - wanted).square().mean() / wanted.var(0).mean()
            log.info('layer %d: %d channels, unexplained %.3f', number, len(weights), error)
            block['pointwise'].weight.data = weights[:, :, None, None].contiguous()
            block['pointwise'].bias.data = bias
            block['activation'].weight.data = self.activations[2 + 2 * number].weight.data[
                kept[number + 1]
            ]
            value = block['activation'](block['pointwise'](value))
        return narrow


def _at(maps: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return feature maps at some places, (N * places, C)."""
    flat = maps.flatten(2)[:, :, places]
    return flat.permute(0, 2, 1).reshape(-1, maps.shape[1]).float()


def _covariance(points: torch.Tensor) -> torch.Tensor:
    points = points - points.mean(0)
    return points.T @ points / len(points)


def _copy(target: nn.Conv2d, source: nn.Conv2d, rows: list[int]) -> None:
    target.weight.data = source.weight.data[rows].clone()
    target.bias.data = source.bias.data[rows].clone()


def regress_dense(
    narrow: Narrow, batches: Iterator[tuple[torch.Tensor, torch.Tensor]], ridge: float = 3e-3
) -> None:
    """Fit the dense layer to the teacher's embeddings, over batches of (images, embeddings)."""
    size = narrow.dense.weight[0].numel()
    gram, cross = torch.zeros(size + 1, size + 1), torch.zeros(size + 1, 128)
    count = 0
    for images, embeddings in batches:
        with torch.autocast('cpu', torch.bfloat16):
            maps = narrow.features(images)
        maps = maps.float().contiguous().flatten(1)
        rows = torch.cat([maps, torch.ones(len(maps), 1)], 1)
        gram.addmm_(rows.T, rows)
        cross.addmm_(rows.T, embeddings)
        count += len(rows)
    gram += torch.eye(size + 1) * gram.diagonal()[:-1].mean() * ridge
    solution = torch.linalg.solve(gram, cross).T
    narrow.dense.weight.data = solution[:, :-1].reshape(narrow.dense.weight.shape).contiguous()
    narrow.dense.bias.data = solution[:, -1].contiguous()
    log.info('dense layer fitted to %d views', count)


def main() -> None:
    from training.recognition.train import to_tensor, validate

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', type=Path)
    parser.add_argument('--teacher', type=Path, required=True)
    parser.add_argument('--shards', type=int, default=8, help='to fit the dense layer to')
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    torch.set_num_threads(1)
    paths = sorted(options.run.glob('shard_*.npz'))[: options.shards]
    with np.load(paths[0]) as file:
        images = to_tensor(file['views'][:IMAGES])
    fitted = options.run / 'narrow_fit.pt'
    if fitted.is_file():
        narrow = Narrow().eval().requires_grad_(False)
        narrow.load_state_dict(torch.load(fitted))
    else:
        teacher = Teacher(options.teacher).to(memory_format=torch.channels_last)
        with torch.no_grad():
            narrow = _Pruner(teacher, images).run()
        torch.save(narrow.state_dict(), fitted)
    narrow = narrow.to(memory_format=torch.channels_last)

    def batches():
        for path in paths:
            with np.load(path) as file:
                views, embeddings = file['views'], torch.from_numpy(file['embeddings'])
            for first in range(0, len(views), 128):
                yield to_tensor(views[first : first + 128]), embeddings[first : first + 128]

    with torch.no_grad():
        regress_dense(narrow, batches())
    torch.save(narrow.state_dict(), options.run / 'narrow.pt')
    log.info('%s', validate(narrow, options.run))


if __name__ == '__main__':
    main()
