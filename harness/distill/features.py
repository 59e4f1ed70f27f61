"""Distribution matching: the distance of mean features, and its gradient to the images.

Source: DM (arXiv 2110.04181; VICO-UoE/DatasetCondensation, main_DM.py).

Shape letters: K classes, S synthetic images, n of a class, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.config import Precision
from harness.distill.matching import Match, has_batch_norm, images_together
from harness.distill.programs import Eager
from harness.networks import Network


def match_features(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    real_batches: Sequence[Tensor],
    *,
    precision: Precision = "fp32",
    programs: Eager | None = None,
) -> Match:
    """Compare mean features of synthetic and of real images, class by class.

    Networks that keep images apart see real images in parts, which bounds the memory; one with
    batch norm, in training mode, sees all classes in one batch, real and synthetic separately.

    Args:
        network: In training mode; its features are the input of its last linear layer.
        images: Synthetic images [S, C, H, W], grouped by class.
        labels: Int64 [S], sorted; as many of each of the K classes.
        real_batches: For each class k its real images [B_k, C, H, W].
        precision: ``bf16-real`` computes the features of real images in bfloat16.
        programs: Runs the two parts, compiled perhaps; default: as they are.

    Returns:
        Sum over classes of squared distances, and its gradient to ``images``.
    """
    sizes = tuple(map(len, real_batches))
    assert len(images) % len(sizes) == 0
    together = has_batch_norm(network)
    if together or programs is None:  # running statistics move, which no program may do
        programs = Eager(network)
    limit = sum(sizes) if together else images_together(images.shape[-2:], images.device)
    (means,) = programs(
        real_means, torch.cat(list(real_batches)), sizes=sizes, precision=precision, limit=limit
    )
    return Match(*programs(synthetic_features, images, means))


def real_means(
    network: Network, real: Tensor, *, sizes: tuple[int, ...], precision: Precision, limit: int
) -> tuple[Tensor]:
    """Mean features of each class: [K, F], in the images' dtype.

    Args:
        network: See ``match_features``.
        real: Real images, grouped by class.
        sizes: Images of each class.
        precision: See ``match_features``.
        limit: Images in one pass.
    """
    half = precision == "bf16-real"
    with (
        torch.no_grad(),
        torch.autocast(real.device.type, dtype=torch.bfloat16, enabled=half),
    ):
        features = torch.cat([network.features(part) for part in torch.split(real, limit)])
    parts = torch.split(features.to(real.dtype), list(sizes))
    return (torch.stack([part.mean(0) for part in parts]),)


def synthetic_features(network: Network, images: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over classes of squared distances to the means, and its gradient to the images.

    Args:
        network: See ``match_features``.
        images: [S, C, H, W], grouped by class.
        means: [K, F] of real images.

    Returns:
        Scalar and [S, C, H, W], both detached.
    """
    leaf = images.detach().requires_grad_()
    own = network.features(leaf).reshape(len(means), -1, means.shape[1]).mean(1)
    distance = (own - means).square().sum()
    return distance.detach(), torch.autograd.grad(distance, leaf)[0]
