"""Gradient matching: the layer-wise distance and its gradient to the images.

Source: VICO-UoE/DatasetCondensation, utils.py (``match_loss``, "ours") and main.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

_EPSILON = 1e-6


class Match(NamedTuple):
    """Result of a matching step."""

    loss: Tensor
    """Scalar: distance summed over classes, detached."""
    image_gradient: Tensor
    """[S, C, H, W]: gradient of that sum to the synthetic images."""


def matched_parameters(network: nn.Module) -> list[Tensor]:
    """The parameters whose gradients count: rank 2 and more (biases and norms of rank 1 add 0)."""
    return [parameter for parameter in network.parameters() if parameter.ndim >= 2]


def layer_distance(synthetic: Tensor, real: Tensor) -> Tensor:
    """Sum over output units of 1 - cosine of one parameter's two gradients.

    Args:
        synthetic: Gradient on synthetic images, [O, ...], rank >= 2.
        real: Gradient on real images, same shape.

    Returns:
        Scalar, 0 .. 2 * O.
    """
    a, b = synthetic.flatten(1), real.flatten(1)
    norms: Tensor = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return (1 - (a * b).sum(1) / (norms + _EPSILON)).sum()


def match_gradients(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    real_batches: Sequence[Tensor],
) -> Match:
    """Compare the network's gradients on synthetic and on real images, class by class.

    The loss is the sum over classes, but each class's term depends on its own images alone. So
    each class is differentiated on its own and its second-order graph is freed before the next.

    Args:
        network: In the mode to be used; batch norms must not update (see ``freeze_batch_norms``).
        images: Synthetic images [S, C, H, W], grouped by class.
        labels: Int64 [S], sorted.
        real_batches: For each class k its real images [B_k, C, H, W].

    Returns:
        Loss and image gradient, in the images' dtype.
    """
    parameters = matched_parameters(network)
    ipc = len(images) // len(real_batches)
    total = images.new_zeros(())
    gradients = []
    for k, real in enumerate(real_batches):
        rows = slice(k * ipc, (k + 1) * ipc)
        own = images[rows].detach().requires_grad_()
        real_labels = labels[rows][:1].expand(len(real))
        real_gradients = torch.autograd.grad(cross_entropy(network(real), real_labels), parameters)
        own_gradients = torch.autograd.grad(
            cross_entropy(network(own), labels[rows]), parameters, create_graph=True
        )
        distances = [
            layer_distance(a, b) for a, b in zip(own_gradients, real_gradients, strict=True)
        ]
        distance = torch.stack(distances).sum()
        gradients.append(torch.autograd.grad(distance, own)[0])
        total += distance.detach()
    return Match(total, torch.cat(gradients))


def has_batch_norm(network: nn.Module) -> bool:
    """Whether any layer keeps running statistics."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def freeze_batch_norms(network: nn.Module, images: Tensor) -> None:
    """Update running statistics once on real images, then use them as constants.

    Args:
        network: Left in train mode except for its batch norms.
        images: 16 real images of each class in one batch (methods of DC: main.py).
    """
    network.train()
    with torch.no_grad():
        network(images)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
