"""How much alike a pool pulls at the images: the cosine of image gradients with the main model's.

The gradient of a network is that of the matching loss of one step (``match_gradients``) to all
synthetic images, as one vector. A draw compares an other network of the pool with the main model:
each with fresh weights of its own, both on the same real images. Even two main models, with
different weights, are not at 1: their cosine is measured too, as what a pool can reach.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness import seeding
from harness.architecture import Architecture
from harness.config import BASELINES, Distillation, TrialConfig
from harness.context import Context
from harness.datasets import ImageData
from harness.distill import build_distiller
from harness.distill.learner import BATCH_NORM_IMAGES
from harness.distill.matching import freeze_batch_norms, has_batch_norm, match_gradients
from harness.networks import build_network
from harness.pool import Member, other_members
from harness.schema import (
    POOL_SIMILARITY,
    POOL_SIMILARITY_FINAL,
    POOL_SIMILARITY_INITIAL,
    POOL_SIMILARITY_MAIN,
)
from harness.synthetic import SyntheticSet


def image_gradient(
    architecture: Architecture,
    synthetic: SyntheticSet,
    config: Distillation,
    data: ImageData,
    *,
    role: str,
    draw: int,
) -> Tensor:
    """The matching loss's gradient to the images, by a fresh network of an architecture.

    Args:
        architecture: Of the network.
        synthetic: Images [S, C, H, W], hard labels, grouped by class.
        config: Seed and ``batch_real``.
        data: Real images, on the device of the set.
        role: Networks of different roles have different weights.
        draw: Index of the weights and of the real images, which all architectures share.

    Returns:
        [S, C, H, W].
    """
    network = build_network(
        architecture,
        in_shape=data.in_shape,
        classes=data.num_classes,
        generator=seeding.generator(config.seed, f"similarity-{role}", architecture.label, draw),
    ).to(synthetic.images.device)
    network.train()
    if has_batch_norm(network):
        rows = _real_rows(config, data, "similarity-batch-norm", draw, BATCH_NORM_IMAGES)
        freeze_batch_norms(network, data.train.images[torch.cat(rows)])
    batches = _real_rows(config, data, "similarity-batch", draw, config.batch_real)
    real = [data.train.images[rows] for rows in batches]
    return match_gradients(network, synthetic.images, synthetic.labels, real).image_gradient


def similarities(
    synthetic: SyntheticSet,
    config: Distillation,
    data: ImageData,
    members: Sequence[Member],
    draws: int,
) -> dict[str, Any]:
    """Mean cosines of a pool's image gradients with the main model's, on one set.

    Args:
        synthetic: The set, with hard labels.
        config: Main model, seed and ``batch_real``.
        data: Real images, on the device of the set.
        members: The others and their weights (``harness.pool.other_members``).
        draws: Draws that each member is compared in, >= 1.

    Returns:
        ``members``: mean cosine over the draws by label; ``others``: their mean by weight;
        ``main``: mean cosine between two main models. Each -1..1, None where a gradient is 0 or
        not finite.
    """
    own = [
        image_gradient(config.network, synthetic, config, data, role="main", draw=draw)
        for draw in range(draws)
    ]

    def with_main(architecture: Architecture) -> float | None:
        cosines = [
            _cosine(
                image_gradient(architecture, synthetic, config, data, role="other", draw=draw), main
            )
            for draw, main in enumerate(own)
        ]
        return _mean(cosines)

    by_label = {member.architecture.label: with_main(member.architecture) for member in members}
    shares = [(by_label[member.architecture.label], member.weight) for member in members]
    weighted = [cosine * weight for cosine, weight in shares if cosine is not None]
    total = sum(weight for _, weight in shares)
    return {
        "members": by_label,
        "others": sum(weighted) / total if len(weighted) == len(shares) else None,
        "main": with_main(config.network),
    }


def measure_similarity(
    synthetic: SyntheticSet | None, config: TrialConfig, context: Context
) -> dict[str, Any] | None:
    """What ``trial.json`` holds as ``pool_similarity``.

    Args:
        synthetic: The set at the end.
        config: The trial's; ``run.similarity_draws`` draws are made.
        context: Of the trial.

    Returns:
        ``draws``, and ``similarities`` on the ``initial`` and on the ``final`` images. None where
        it is not asked for, where the pool has no others, or where labels are soft.
    """
    draws, pool = config.run.similarity_draws, config.pool
    if draws == 0 or config.method in BASELINES or pool.main_probability == 1.0:
        return None
    initial = build_distiller(config, context.data, context.device).synthetic()
    if synthetic is None or initial is None or synthetic.labels.is_floating_point():
        return None
    members = other_members(pool, config.network)
    return {
        "draws": draws,
        "initial": similarities(initial, config, context.data, members, draws),
        "final": similarities(synthetic, config, context.data, members, draws),
    }


def similarity_metrics(measured: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Metrics of ``pool_similarity``; a mean over the two sets is None where one of them is."""
    if measured is None:
        return {}
    ends = (measured["initial"], measured["final"])
    return {
        POOL_SIMILARITY: _mean([end["others"] for end in ends]),
        POOL_SIMILARITY_INITIAL: ends[0]["others"],
        POOL_SIMILARITY_FINAL: ends[1]["others"],
        POOL_SIMILARITY_MAIN: _mean([end["main"] for end in ends]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _cosine(a: Tensor, b: Tensor) -> float | None:
    """Cosine of two tensors as vectors, in float64."""
    x, y = a.flatten().double(), b.flatten().double()
    if not (bool(x.isfinite().all() & y.isfinite().all()) and bool(x.any() & y.any())):
        return None
    return float(cosine_similarity(x, y, dim=0, eps=0.0))


def _real_rows(
    config: Distillation, data: ImageData, role: str, draw: int, size: int
) -> list[Tensor]:
    """Training images of each class, without replacement; a smaller class is taken whole."""
    labels = data.train.labels.cpu()
    chosen = []
    for k in range(data.num_classes):
        members = torch.nonzero(labels == k).flatten()
        rng = seeding.generator(config.seed, role, draw, k)
        rows = members[torch.randperm(len(members), generator=rng)[:size]]
        chosen.append(rows.to(data.train.labels.device))
    return chosen
