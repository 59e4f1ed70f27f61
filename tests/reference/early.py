"""acc-DD: training an early-stage network, and perturbing it filter by filter."""

import torch
from torch import Tensor, nn

from tests.reference.idc_distillation import NetBatch, train_on


def pretrain(network: nn.Module, epochs: list[list[NetBatch]]) -> None:
    """SGD whose rate falls to a fifth at two thirds and five sixths of the epochs."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    total = len(epochs)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, milestones=[2 * total // 3, 5 * total // 6], gamma=0.2
    )
    network.train()
    for batches in epochs:
        for batch in batches:
            train_on(network, optimizer, batch)
        schedule.step()


def perturb(weight: Tensor, moves: list[tuple[float, Tensor]]) -> Tensor:
    """Add a * d for each direction, whose filters are as long as the weight's."""
    out = weight.clone()
    if weight.dim() < 2:
        return out
    for a, noise in moves:
        for j in range(len(weight)):
            length = weight[j].reshape(-1).norm()
            out[j] += a * noise[j] * length / (noise[j].reshape(-1).norm() + 1e-10)
    return out
