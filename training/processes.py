# SPDX-License-Identifier: Apache-2.0
"""Training in several processes, as ``torchrun`` starts them.

    torchrun --nproc-per-node 2 -m training.train --data ... --out ...

Each process computes its own batch, and DistributedDataParallel averages the gradients, so that
N processes take one step of N batches.
"""

from __future__ import annotations

import os

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


class Processes:
    """The group of processes that this one belongs to; one alone without ``torchrun``.

    :ivar rank: number of this process, from 0.
    :ivar count: how many there are.
    :ivar is_first: whether this one writes the files.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get('RANK', '0'))
        self.count = int(os.environ.get('WORLD_SIZE', '1'))
        self.is_first = self.rank == 0
        self._local = int(os.environ.get('LOCAL_RANK', '0'))

    def start(self, device: torch.device) -> torch.device:
        """Join the group; return this process's own device."""
        if self.count == 1:
            return device
        on_gpu = device.type == 'cuda'
        if on_gpu:
            device = torch.device('cuda', self._local)
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            distributed.init_process_group('nccl' if on_gpu else 'gloo')
        return device

    def parallel(self, network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """Return ``network`` so that gradients are averaged over the group."""
        if self.count == 1:
            return network
        devices = [device.index] if device.type == 'cuda' else None
        return DistributedDataParallel(network, device_ids=devices)

    def agree(self, flag: bool, device: torch.device) -> bool:
        """Return what the first process says, so that all stop at the same step."""
        if self.count == 1:
            return flag
        said = torch.tensor([float(flag)], device=device)
        distributed.broadcast(said, 0)
        return bool(said.item())

    def stop(self) -> None:
        """Leave the group."""
        if self.count > 1 and distributed.is_initialized():
            distributed.barrier()
            distributed.destroy_process_group()
