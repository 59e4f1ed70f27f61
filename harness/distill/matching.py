"""Gradient matching: the layer-wise distance and its gradient to the images.

Source: VICO-UoE/DatasetCondensation, utils.py (``match_loss``, "ours") and main.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from harness.config import Precision

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
    *,
    precision: Precision = "fp32",
) -> Match:
    """Compare the network's gradients on synthetic and on real images, class by class.

    The loss is the sum over classes, but each class's term depends on its own images alone. So
    the classes go through in groups, all of a group in one batched pass, and the second-order
    graph of a group is freed before the next: the sum and its gradient stay the same.

    Args:
        network: In the mode to be used; batch norms must not update (see ``freeze_batch_norms``).
        images: Synthetic images [S, C, H, W], grouped by class.
        labels: Int64 [S], sorted.
        real_batches: For each class k its real images [B_k, C, H, W].
        precision: ``bf16-real`` computes the gradients on real images in bfloat16.

    Returns:
        Loss and image gradient, in the images' dtype.
    """
    num_classes = len(real_batches)
    own = images.detach().reshape(num_classes, -1, *images.shape[1:])
    own_labels = labels.reshape(num_classes, -1)
    losses, gradients = [], []
    step = classes_together(own.shape[1], images.device)
    for start in range(0, num_classes, step):
        stop = min(start + step, num_classes)
        by_class = [
            real_gradients(network, real_batches[k], own_labels[k, :1], precision)
            for k in range(start, stop)
        ]
        real = [torch.stack(tensors) for tensors in zip(*by_class, strict=True)]
        match = _match_group(network, own[start:stop], own_labels[start:stop], real)
        losses.append(match.loss)
        gradients.append(match.image_gradient)
    return Match(torch.stack(losses).sum(), torch.cat(gradients).flatten(0, 1))


def classes_together(ipc: int, device: torch.device) -> int:
    """How many classes' synthetic gradients are computed in one batched pass.

    A table, never a measurement: it changes the last bits. On the CPU the batched convolutions
    win for few images and lose for many (benchmarks, ``matching``).
    """
    return 10 if device.type != "cpu" or ipc < 10 else 2


def real_gradients(
    network: nn.Module, real: Tensor, label: Tensor, precision: Precision
) -> tuple[Tensor, ...]:
    """Gradients of the matched parameters on real images of one class.

    Args:
        network: As in ``match_gradients``.
        real: Real images [B, C, H, W].
        label: Int64 [1], their class.
        precision: See ``match_gradients``.

    Returns:
        One tensor a matched parameter, in the parameter's dtype.
    """
    half = precision == "bf16-real"
    with torch.autocast(real.device.type, dtype=torch.bfloat16, enabled=half):
        loss = cross_entropy(network(real), label.expand(len(real)))
    return torch.autograd.grad(loss, matched_parameters(network))


def _match_group(network: nn.Module, images: Tensor, labels: Tensor, real: list[Tensor]) -> Match:
    """Distance of a group of classes and its gradient: images [G, ipc, C, H, W], real [G, ...]."""
    constants = {name: item.detach() for name, item in network.named_parameters()}
    matched = {name: item for name, item in constants.items() if item.ndim >= 2}

    def class_loss(parameters: dict[str, Tensor], own: Tensor, target: Tensor) -> Tensor:
        logits = functional_call(network, {**constants, **parameters}, (own,))
        return cross_entropy(logits, target)

    leaf = images.requires_grad_()
    own = vmap(grad(class_loss), in_dims=(None, 0, 0))(matched, leaf, labels)
    # Classes and output units alike are rows of the distance.
    distances = [
        layer_distance(own[name].flatten(0, 1), b.flatten(0, 1))
        for name, b in zip(matched, real, strict=True)
    ]
    distance = torch.stack(distances).sum()
    return Match(distance.detach(), torch.autograd.grad(distance, leaf)[0])


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
