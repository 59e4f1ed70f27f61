"""Gradient matching: the layer-wise distance and its gradient to the images.

Source: VICO-UoE/DatasetCondensation, utils.py (``match_loss``, "ours") and main.py.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from harness.config import Precision
from harness.distill.by_class import gradients_by_class
from harness.distill.programs import Eager

_EPSILON = 1e-6
_CONVOLUTION = 1 + 4
"""Dimensions of a convolution's gradients, one for each class."""

Distance = Literal["cosine", "mse", "l1"]
"""``cosine``: by output unit, of all parameters of rank 2 and more (DC); ``mse`` and ``l1``: sums
of squared or absolute differences, of convolutions alone (IDC)."""

_IMAGES_TOGETHER = {"cpu": 512, "cuda": 2560}
"""Real images of 32x32 pixels in one pass, which bounds the memory of their activations."""


class Match(NamedTuple):
    """Result of a matching step."""

    loss: Tensor
    """Scalar: distance summed over classes, detached."""
    image_gradient: Tensor
    """[S, C, H, W]: gradient of that sum to the synthetic images."""


def matched_parameters(network: nn.Module) -> list[Tensor]:
    """The parameters whose gradients count: rank 2 and more (biases and norms of rank 1 add 0)."""
    return [parameter for parameter in network.parameters() if parameter.ndim >= 2]


def matched_rows(network: nn.Module) -> int:
    """Rows that DC's distance sums over: output units of all matched parameters, of one class."""
    return sum(map(len, matched_parameters(network)))


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
    programs: Eager | None = None,
    distance: Distance = "cosine",
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
        programs: Runs the two parts, compiled perhaps; default: as they are.
        distance: Of two gradients; see ``Distance``.

    Returns:
        Loss and image gradient, in the images' dtype.
    """
    programs = programs or Eager(network)
    num_classes = len(real_batches)
    own = images.detach().reshape(num_classes, -1, *images.shape[1:])
    own_labels = labels.reshape(num_classes, -1)
    limit = images_together(images.shape[-2:], images.device)
    largest = max(map(len, real_batches))
    step = classes_together(own.shape[1], images.device, at_most=max(1, limit // largest))
    losses, gradients = [], []
    for start in range(0, num_classes, step):
        stop = min(start + step, num_classes)
        real = _real_gradients(
            programs, real_batches[start:stop], own_labels[start:stop, 0], precision, limit
        )
        loss, gradient = programs(
            synthetic_match, own[start:stop], own_labels[start:stop], *real, distance=distance
        )
        losses.append(loss)
        gradients.append(gradient)
    return Match(torch.stack(losses).sum(), torch.cat(gradients).flatten(0, 1))


def classes_together(ipc: int, device: torch.device, *, at_most: int = 10) -> int:
    """How many classes' gradients are computed in one batched pass.

    A table, never a measurement: it changes the last bits. On the CPU the batched convolutions
    win for few images and lose for many (benchmarks, ``matching``), and real images go through
    class by class whatever this says; elsewhere ``at_most`` bounds their number in a pass.
    """
    if device.type == "cpu":
        return 10 if ipc < 10 else 2
    return min(10, at_most)


def images_together(pixels: Sequence[int], device: torch.device) -> int:
    """How many real images go through the network in one pass, by a table (see there).

    Args:
        pixels: Height and width of an image.
        device: Where it happens.
    """
    area = max(1, pixels[0] * pixels[1])
    return max(1, _IMAGES_TOGETHER.get(device.type, 512) * 1024 // area)


def in_one_pass(device: torch.device) -> bool:
    """Whether the real images of several classes share a forward pass, by device.

    On the CPU, a loop over classes is as fast at small size, and twice as fast at CIFAR-10 size.
    """
    return device.type != "cpu"


def real_gradients(
    network: nn.Module, real: Tensor, label: Tensor, *, precision: Precision, limit: int
) -> tuple[Tensor, ...]:
    """Gradients of the matched parameters on real images of one class.

    Args:
        network: As in ``match_gradients``.
        real: Real images [B, C, H, W].
        label: Int64 [1], their class.
        precision: See ``match_gradients``.
        limit: Images in one pass; more are passed in parts, whose gradients are added.

    Returns:
        One tensor a matched parameter, in the parameter's dtype.
    """
    half = precision == "bf16-real"
    parameters = matched_parameters(network)
    total: tuple[Tensor, ...] = ()
    for part in torch.split(real, limit):
        with torch.autocast(real.device.type, dtype=torch.bfloat16, enabled=half):
            loss = cross_entropy(network(part), label.expand(len(part)))
        gradients = torch.autograd.grad(loss * (len(part) / len(real)), parameters)
        pairs = zip(total, gradients, strict=True)
        total = tuple(a + b for a, b in pairs) if total else gradients
    return total


def synthetic_match(
    network: nn.Module, images: Tensor, labels: Tensor, *real: Tensor, distance: Distance = "cosine"
) -> tuple[Tensor, Tensor]:
    """Distance of a group of classes, and its gradient to their synthetic images.

    Args:
        network: As in ``match_gradients``.
        images: [G, ipc, C, H, W].
        labels: Int64 [G, ipc].
        real: Gradients on real images, [G, ...], one a matched parameter.
        distance: See ``Distance``.

    Returns:
        Scalar and [G, ipc, C, H, W], both detached.
    """
    constants = {name: item.detach() for name, item in network.named_parameters()}
    matched = {name: item for name, item in constants.items() if item.ndim >= 2}

    def class_loss(parameters: dict[str, Tensor], own: Tensor, target: Tensor) -> Tensor:
        logits = functional_call(network, {**constants, **parameters}, (own,))
        # As probabilities: batched, integer labels would become a gather, slow to differentiate.
        classes = torch.arange(logits.shape[1], device=logits.device)
        return cross_entropy(logits, (target[:, None] == classes).to(logits.dtype))

    leaf = images.detach().requires_grad_()
    own = vmap(grad(class_loss), in_dims=(None, 0, 0))(matched, leaf, labels)
    pairs = [(own[name], b) for name, b in zip(matched, real, strict=True)]
    total = torch.stack(_distances(pairs, distance)).sum()
    return total.detach(), torch.autograd.grad(total, leaf)[0]


def _distances(pairs: Sequence[tuple[Tensor, Tensor]], distance: Distance) -> list[Tensor]:
    """Distances of gradients [G, ...] on synthetic and on real images, of those that count."""
    if distance == "cosine":
        # Classes and output units alike are rows of the distance.
        return [layer_distance(a.flatten(0, 1), b.flatten(0, 1)) for a, b in pairs]
    differences = [a - b for a, b in pairs if a.ndim == _CONVOLUTION]
    if distance == "mse":
        return [difference.square().sum() for difference in differences]
    return [difference.abs().sum() for difference in differences]


def _real_gradients(
    programs: Eager, batches: Sequence[Tensor], labels: Tensor, precision: Precision, limit: int
) -> list[Tensor]:
    """Gradients on real images of a group of classes: [G, ...], one a matched parameter."""
    if in_one_pass(labels.device) and sum(map(len, batches)) <= limit:
        sizes = tuple(map(len, batches))
        return list(
            programs(
                gradients_by_class,
                torch.cat(list(batches)),
                labels,
                sizes=sizes,
                precision=precision,
            )
        )
    by_class = [
        programs(real_gradients, real, labels[k : k + 1], precision=precision, limit=limit)
        for k, real in enumerate(batches)
    ]
    return [torch.stack(tensors) for tensors in zip(*by_class, strict=True)]


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
