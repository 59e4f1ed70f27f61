"""Training a network on a distilled set, and measuring it on real images.

Source of the protocol: VICO-UoE/DatasetCondensation, utils.py (``evaluate_synset``). SGD with
momentum 0.9 and weight decay 5e-4; ``epochs + 1`` passes run; after pass ``epochs // 2 + 1`` the
learning rate falls to a tenth and the momentum starts again from zero; the last network counts.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness import seeding
from harness.architecture import Architecture
from harness.config import EvaluationSettings, KDSettings
from harness.datasets import Split
from harness.evaluate import augmentation
from harness.evaluate.kd import student_loss
from harness.synthetic import SyntheticSet

_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_TEST_BATCH = 256


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on a distilled set."""

    epochs: int
    lr: float
    batch: int
    augmentation: str


class Score(NamedTuple):
    """A network on one split of real images."""

    accuracy: float
    """Fraction, 0..1."""
    loss: float
    """Mean cross-entropy, nats; not finite where the network diverged."""
    n_images: int


def make_recipe(settings: EvaluationSettings, dataset: str, student: Architecture) -> Recipe:
    """The recipe of one student: augmentation resolved, epochs 300 without it and 1000 with."""
    name = augmentation.resolve(settings.augmentation, dataset, student)
    epochs = settings.epochs or (300 if name == "none" else 1000)
    return Recipe(epochs, settings.lr, settings.batch, name)


def train_network(
    network: nn.Module,
    synthetic: SyntheticSet,
    recipe: Recipe,
    *,
    seed: int,
    address: tuple[str | int, ...],
    kd: KDSettings,
    teacher: nn.Module | None = None,
) -> None:
    """Train a network in place on a distilled set.

    Args:
        network: Fresh, on the device of the set's images.
        synthetic: Images [S, C, H, W] and labels [S].
        recipe: Epochs, learning rate, batch, augmentation.
        seed: The trial's.
        address: Role and index of this network, which address its order and augmentation.
        kd: The loss.
        teacher: Frozen, in eval mode; sees the same augmented images. None without one.
    """
    images, labels = synthetic.images, synthetic.labels
    fixed = _teacher_logits(teacher, images) if recipe.augmentation == "none" else None
    network.train()
    optimizer = _optimizer(network, recipe.lr)
    for epoch in range(recipe.epochs + 1):
        role, *index = address
        order_rng = seeding.generator(seed, f"{role}-order", *index, epoch)
        augment_rng = seeding.generator(seed, f"{role}-augment", *index, epoch)
        order = torch.randperm(len(labels), generator=order_rng).to(labels.device)
        for rows in torch.split(order, recipe.batch):
            batch = augmentation.augment(images[rows], recipe.augmentation, augment_rng)
            targets = fixed[rows] if fixed is not None else _teacher_logits(teacher, batch)
            loss = student_loss(kd, network(batch), labels[rows], targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if epoch == recipe.epochs // 2 + 1:
            optimizer = _optimizer(network, recipe.lr * 0.1)


def score(network: nn.Module, split: Split) -> Score:
    """Accuracy and loss of a network, in eval mode, in batches of 256.

    A network whose logits are not finite has a loss that is not finite.
    """
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    total = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    with torch.no_grad():
        for start in range(0, len(split.labels), _TEST_BATCH):
            labels = split.labels[start : start + _TEST_BATCH]
            logits = network(split.images[start : start + _TEST_BATCH])
            total += cross_entropy(logits, labels, reduction="sum").double()
            correct += (logits.argmax(1) == labels).sum()
    n = len(split.labels)
    return Score(int(correct) / n, float(total) / n, n)


def is_finite(result: Score) -> bool:
    """Whether the network that gave a score had not diverged."""
    return math.isfinite(result.loss)


def _optimizer(network: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        network.parameters(), lr=lr, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY
    )


def _teacher_logits(teacher: nn.Module | None, images: Tensor) -> Tensor | None:
    if teacher is None:
        return None
    with torch.no_grad():
        logits: Tensor = teacher(images)
        return logits
