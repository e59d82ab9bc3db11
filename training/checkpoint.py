# SPDX-License-Identifier: Apache-2.0
"""Weights as safetensors, the state of a run as tensors only: neither executes code."""

from __future__ import annotations

import os
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from face_tracking.errors import UserError
from face_tracking.files import share_dir
from training.network import FaceNetwork, Widths

BUNDLED = 'bundled'


def bundled_path() -> Path:
    """Return where the bundled detector's weights are."""
    return share_dir() / 'models' / 'face_tracking.safetensors'


def save_weights(network: torch.nn.Module, path: Path):
    """Write the weights and running means of ``network``, in one step."""
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    partial = Path(f'{path}.partial')
    safetensors.torch.save_file(tensors, str(partial))
    os.replace(partial, path)


def load_network(name: str | Path) -> FaceNetwork:
    """Return the network with the weights of a safetensors file, or the ``bundled`` ones.

    :raises UserError: if the file is missing, damaged or of another network.
    """
    path = bundled_path() if str(name) == BUNDLED else Path(name)
    if not path.is_file():
        raise UserError(
            f'there are no weights at {path}',
            'name a .safetensors file that training wrote, or "bundled"',
        )
    try:
        tensors = safetensors.torch.load_file(str(path))
        network = FaceNetwork(_widths(tensors))
        network.load_state_dict(tensors, strict=False)
        expected = {
            name for name in network.state_dict() if not name.endswith('num_batches_tracked')
        }
        with safetensors.safe_open(str(path), 'pt') as file:
            if set(file.keys()) != expected:
                raise RuntimeError('the tensors have other names')
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise UserError(
            f'{path} does not hold weights of this network: {error}',
            'train again, or use the version of the package that wrote it',
        ) from error
    return network


def _widths(tensors: dict[str, torch.Tensor]) -> Widths:
    """Return the channels of the network that ``tensors`` are the weights of."""
    try:
        return Widths(
            *(
                len(tensors[f'{name}.weight'])
                for name in ('stem', 'stage4.0.pointwise', 'stage8.0.pointwise')
            )
        )
    except KeyError as error:
        raise RuntimeError(f'the tensor {error} is missing') from error


def save_state(state: dict, path: Path):
    """Write the state of a run, in one step, so that a kill leaves the one before."""
    partial = Path(f'{path}.partial')
    torch.save(state, partial)
    os.replace(partial, path)


def load_state(path: Path) -> dict:
    """Return the state of a run.

    :raises UserError: if there is none or it is damaged.
    """
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise UserError(
            f'there is no run to resume at {path.parent}', 'leave --resume out to start one'
        ) from error
    except Exception as error:
        raise UserError(f'{path} is damaged', 'start the run again') from error
