"""Gradient matching, written as its formula: one loop over classes, one over parameters."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def row_distance(a: Tensor, b: Tensor) -> Tensor:
    """Sum over rows of 1 - <a, b> / (|a| |b| + 1e-6), one row after the other."""
    total = a.new_zeros(())
    for i in range(a.shape[0]):
        row_a, row_b = a[i].reshape(-1), b[i].reshape(-1)
        # torch's norm has slope 0 at 0, where a dead unit's gradient is.
        cosine = torch.dot(row_a, row_b) / (row_a.norm() * row_b.norm() + 1e-6)
        total = total + (1 - cosine)
    return total


def parameter_distance(a: Tensor, b: Tensor) -> Tensor:
    """Rank 1 gives nothing; the leading index of every other rank counts output units."""
    if a.dim() == 1:
        return a.new_zeros(())
    return row_distance(a, b)


def rows(network: nn.Module) -> int:
    """Rows of the distance of one class."""
    return sum(parameter.shape[0] for parameter in network.parameters() if parameter.dim() > 1)


def matching_loss(network: nn.Module, images: Tensor, ipc: int, real: list[Tensor]) -> Tensor:
    """The loss of one image step: the sum over classes, with its whole graph."""
    parameters = list(network.parameters())
    loss = images.new_zeros(())
    for c in range(len(real)):
        own = images[c * ipc : (c + 1) * ipc]
        real_loss = functional.cross_entropy(
            network(real[c]), torch.full((len(real[c]),), c, device=images.device)
        )
        gradient_real = torch.autograd.grad(real_loss, parameters)
        own_loss = functional.cross_entropy(
            network(own), torch.full((ipc,), c, device=images.device)
        )
        gradient_own = torch.autograd.grad(own_loss, parameters, create_graph=True)
        for a, b in zip(gradient_own, gradient_real, strict=True):
            loss = loss + parameter_distance(a, b.detach())
    return loss


def match(
    network: nn.Module, images: Tensor, ipc: int, real: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Loss and gradient to the images, by one backward pass through everything."""
    leaf = images.detach().clone().requires_grad_(True)
    loss = matching_loss(network, leaf, ipc, real)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad
