"""Probes as plain training: torch's optimiser and a loader in the set's order."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def loss_after(
    network: nn.Module, images: Tensor, labels: Tensor, steps: int, real: Tensor, classes: Tensor
) -> float:
    """Train a fresh network on a set that fits one batch; its mean loss on real images."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        return float(functional.cross_entropy(network(real), classes))
