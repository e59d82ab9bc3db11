# SPDX-License-Identifier: Apache-2.0
"""Muon (Jordan et al., 2024): momentum whose matrices are made orthogonal, and AdamW for the rest.

An update of a kernel then changes all its directions alike, so that fewer steps are needed. The
update is scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025), so
that both take the same learning rate.
"""

from __future__ import annotations

import torch

MOMENTUM = 0.95
BETAS = (0.9, 0.99)
ROUNDS = 5
SIZE = 0.2
"""Root of the mean square of an update, as AdamW's."""


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return about the nearest orthogonal matrix, by Newton and Schulz's iteration."""
    wide = matrix.shape[0] <= matrix.shape[1]
    value = matrix if wide else matrix.T
    value = value / (value.norm() + 1e-7)
    for _ in range(ROUNDS):
        gram = value @ value.T
        value = 3.4445 * value + (-4.775 * gram + 2.0315 * gram @ gram) @ value
    return value if wide else value.T


class Muon(torch.optim.Optimizer):
    """Optimizes the parameters of groups with ``orthogonal`` by Muon, of others by AdamW."""

    def __init__(self, groups: list[dict], rate: float):
        super().__init__(groups, {'lr': rate, 'weight_decay': 0.0, 'orthogonal': False})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Change the parameters by their gradients."""
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group['lr'] * group['weight_decay'])
                make = self._orthogonal if group['orthogonal'] else self._adam
                parameter.add_(make(parameter), alpha=-group['lr'])

    def _orthogonal(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state['momentum'] = torch.zeros_like(parameter)
        momentum = state['momentum']
        momentum.lerp_(parameter.grad, 1 - MOMENTUM)
        update = parameter.grad.lerp(momentum, MOMENTUM)  # Nesterov
        matrix = update.contiguous().flatten(1)
        matrix = orthogonal(matrix) * (SIZE * max(matrix.shape) ** 0.5)
        return matrix.view(update.shape)

    def _adam(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state['step'] = 0
            state['mean'], state['square'] = (torch.zeros_like(parameter) for _ in range(2))
        state['step'] += 1
        gradient, step = parameter.grad, state['step']
        state['mean'].lerp_(gradient, 1 - BETAS[0])
        state['square'].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        mean = state['mean'] / (1 - BETAS[0] ** step)
        return mean / ((state['square'] / (1 - BETAS[1] ** step)).sqrt() + 1e-8)
