# SPDX-License-Identifier: Apache-2.0
"""The detector's network: one way down, one way up, one prediction convolution per scale.

The cost of a small network on a small processor is mostly the traffic of its wide, shallow
maps. So the half-resolution stage is the first convolution alone, every other layer is a
depthwise 3x3 and a pointwise convolution, nothing but ReLU bends the signal, and the only
branches are the two additions of the feature pyramid (Lin et al., "Feature Pyramid Networks
for Object Detection", 2017). In training each layer that keeps its shape also has a way
around it; folding turns that into a part of its kernel (Ding et al., "RepVGG: Making VGG-style
ConvNets Great Again", 2021).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRIDES = (8, 16, 32)
CHANNELS = 16
"""Channels of each output: score logit, dx, dy, log w, log h, 5 landmarks (x, y), quality logit.
"""
PIXEL_SCALE = 1 / 64
"""Pixels 0..255 are multiplied by this, and nothing is subtracted: a zero-padded border then
means the same (black) to the network in training and to the exported one, whose first
convolution carries the factor in its weights."""
START = 0.5
"""How much a layer with a way around it adds before training."""
MEAN_LANDMARKS = ((-0.44, -0.22), (0.44, -0.22), (0.0, 0.23), (-0.37, 0.5), (0.37, 0.5))
"""Where landmarks are on average, in halves of the box, from its center."""
PRIOR = 0.01
"""Score of every cell before training (Lin et al., "Focal Loss", 2017, section 4.1)."""


class Separable(nn.Module):
    """Depthwise 3x3 (batch norm, ReLU), then pointwise (batch norm, ReLU).

    Either adds its own input where that has the shape of its output.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(outputs)
        self.skips_depthwise = stride == 1
        self.skips_pointwise = inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maps of ``x``, (N, C, H, W)."""
        y = self.depthwise_norm(self._depthwise_maps(x))
        x = functional.relu(y + x if self.skips_depthwise else y)
        y = self.pointwise_norm(self.pointwise(x))
        return functional.relu(y + x if self.skips_pointwise else y)

    def _depthwise_maps(self, x):
        if not self.training or self.skips_depthwise or x.device.type != 'cpu':
            return self.depthwise(x)
        # On a CPU the gradient of a depthwise convolution with a stride takes several times as
        # long as that of one without, of which every other result is then taken.
        y = functional.conv2d(x, self.depthwise.weight, None, 1, 1, groups=x.shape[1])
        return y[:, :, ::2, ::2]

    def fold(self):
        """Turn batch norm and the ways around into parts of the kernels."""
        self.depthwise = fuse_conv_bn_eval(self.depthwise, self.depthwise_norm)
        self.pointwise = fuse_conv_bn_eval(self.pointwise, self.pointwise_norm)
        if self.skips_depthwise:
            self.depthwise.weight.data[:, 0, 1, 1] += 1
        if self.skips_pointwise:
            self.pointwise.weight.data += torch.eye(self.pointwise.out_channels)[..., None, None]
        self.depthwise_norm = self.pointwise_norm = nn.Identity()
        self.skips_depthwise = self.skips_pointwise = False


class Widths(NamedTuple):
    """Channels of the feature maps.

    :param stem: at half the input's resolution.
    :param quarter: at a quarter of it.
    :param rest: at an eighth and below.
    """

    stem: int
    quarter: int
    rest: int


WIDTHS = Widths(24, 48, 128)
"""Channels of the bundled network."""


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """Return ``blocks`` blocks, of which the first halves the resolution."""
    return nn.Sequential(
        Separable(inputs, outputs, 2), *(Separable(outputs, outputs) for _ in range(blocks - 1))
    )


class FaceNetwork(nn.Module):
    """Raw predictions for every cell of three grids.

    Takes float32 (N, 3, H, W), BGR 0..255, of any size; returns for each stride S of
    ``STRIDES`` a float32 tensor (N, 16, ceil(H / S), ceil(W / S)).
    """

    def __init__(self, widths: Widths = WIDTHS):
        super().__init__()
        self.widths = widths
        first, second, rest = widths
        self.stem = nn.Conv2d(3, first, 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(first)
        self.stage4 = _stage(first, second, 3)
        self.stage8 = _stage(second, rest, 4)
        self.stage16 = _stage(rest, rest, 4)
        self.stage32 = _stage(rest, rest, 5)
        self.neck8 = Separable(rest, rest)
        self.neck16 = Separable(rest, rest)
        self.neck32 = Separable(rest, rest)
        self.head8 = nn.Conv2d(rest, CHANNELS, 1)
        self.head16 = nn.Conv2d(rest, CHANNELS, 1)
        self.head32 = nn.Conv2d(rest, CHANNELS, 1)
        self._initialize()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the predictions for ``image``, as the class says."""
        x = functional.relu(self.stem_norm(self.stem(image * PIXEL_SCALE)), inplace=True)
        return self._from_stem(x)

    def _from_stem(self, x):
        fine = self.stage8(self.stage4(x))
        middle = self.stage16(fine)
        coarse = self.neck32(self.stage32(middle))
        middle = self.neck16(middle + _enlarged(coarse, middle))
        fine = self.neck8(fine + _enlarged(middle, fine))
        return self.head8(fine), self.head16(middle), self.head32(coarse)

    def _initialize(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
        for block in self.modules():
            if isinstance(block, Separable):
                if block.skips_depthwise:
                    nn.init.constant_(block.depthwise_norm.weight, START)
                if block.skips_pointwise:
                    nn.init.constant_(block.pointwise_norm.weight, START)
        prior = -torch.log(torch.tensor((1 - PRIOR) / PRIOR))
        for head in (self.head8, self.head16, self.head32):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
            head.bias.data[0] = prior
            head.bias.data[3:5] = 1.0
            head.bias.data[5:15] = torch.tensor(MEAN_LANDMARKS).flatten()


def _enlarged(coarse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Double ``coarse`` to the size of ``like``, where row r comes from row r // 2.

    An odd size leaves the last row or column of the doubled map out: nearest-neighbor
    resizing to 2n - 1 does just that.
    """
    return functional.interpolate(coarse, size=like.shape[2:], mode='nearest')


class DeployedNetwork(FaceNetwork):
    """The same network with batch norm and the pixel scale folded into the convolutions."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the predictions for ``image``."""
        return self._from_stem(functional.relu(self.stem(image)))


def deployed(network: FaceNetwork) -> DeployedNetwork:
    """Return a copy of ``network`` for inference: no batch norm left, same outputs."""
    network = copy.deepcopy(network).cpu().eval()
    network.stem = fuse_conv_bn_eval(network.stem, network.stem_norm)
    network.stem.weight.data *= PIXEL_SCALE
    network.stem_norm = nn.Identity()
    for block in network.modules():
        if isinstance(block, Separable):
            block.fold()
    network.__class__ = DeployedNetwork
    return network.requires_grad_(False)


def multiply_adds(network: FaceNetwork, width: int, height: int) -> int:
    """Return the multiply-adds of all convolutions for one image of ``width`` x ``height``."""
    total = 0

    def count(module, _inputs, output):
        nonlocal total
        kernel = module.weight[0].numel()
        total += output[0].numel() * kernel

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    was_training = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, height, width))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return total


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers the deployed network consists of."""
    return sum(p.numel() for p in network.parameters())


def widened(network: FaceNetwork, widths: Widths, noise: float = 0.05) -> FaceNetwork:
    """Return a wider network that computes what ``network`` does.

    New channels repeat old ones, and what reads a repeated channel shares its weight among the
    copies (Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", 2016). A
    relative ``noise`` on the copies lets them diverge in training.
    """
    wide = FaceNetwork(widths)
    sources = {old: _repeated(old, new) for old, new in zip(network.widths, widths, strict=True)}
    sources[3], sources[CHANNELS] = torch.arange(3), sources.get(CHANNELS, torch.arange(CHANNELS))
    state = {}
    modules = dict(network.named_modules())
    for name, value in network.state_dict().items():
        module = modules[name.rpartition('.')[0]]
        if isinstance(module, nn.BatchNorm2d):
            state[name] = value if value.ndim == 0 else value[sources[len(value)]]
        else:
            state[name] = _widened_kernel(name, value, module, sources, noise)
    wide.load_state_dict(state)
    return wide


def _widened_kernel(name: str, value, module: nn.Conv2d, sources, noise: float):
    """Return the ``value`` of a convolution's weight or bias for repeated channels."""
    rows = torch.arange(CHANNELS) if name.startswith('head') else sources[module.out_channels]
    value = value[rows]
    if value.ndim > 1 and module.groups == 1:
        columns = sources[module.in_channels]
        copies = torch.bincount(columns)[columns].to(value)
        value = value[:, columns] / copies[:, None, None]
    repeated = torch.ones(len(rows), dtype=torch.bool)
    repeated[: len(torch.unique(rows))] = False
    value = value.clone()
    value[repeated] *= 1 + noise * torch.randn_like(value[repeated])
    return value


def _repeated(old: int, new: int) -> torch.Tensor:
    """Return which of ``old`` channels each of ``new`` ones repeats, int64 (new,)."""
    return torch.cat([torch.arange(old), torch.arange(new - old) % old])
