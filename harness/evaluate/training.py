"""Training a network on a distilled set, and measuring it on real images.

Source of the protocol: VICO-UoE/DatasetCondensation, utils.py (``evaluate_synset``). SGD with
momentum 0.9 and weight decay 5e-4; ``epochs + 1`` passes run; after pass ``epochs // 2 + 1`` the
learning rate falls to a tenth and the momentum starts again from zero; the last network counts.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness import seeding
from harness.architecture import WITH_PATHS, Architecture
from harness.config import EvaluationSettings, KDSettings
from harness.datasets import Split, at_hand
from harness.evaluate import augmentation
from harness.evaluate.cohort import Batch, Cohort, Loss, OneStudent, Vmapped
from harness.networks.droppath import count_paths, set_paths
from harness.synthetic import SyntheticSet

_TEST_BATCH = 256
_TENTH = 0.1

TOGETHER = 5
"""Most students in one vmapped cohort: fixed, since the number changes the last bits."""

_VMAPPED_BELOW_IPC = {("lenet", "cpu"): 10}
"""(Architecture's name, device type) -> the IPC below which its students are vmapped; all others
train one by one. A table, never a measurement at run time (benchmarks, ``evaluation``)."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on a distilled set."""

    epochs: int
    lr: float
    batch: int
    augmentation: str
    optimizer: str = "sgd"
    keep_rates: tuple[float, ...] = ()
    """Of a network with DropPath, by equal parts of the epochs."""

    def identity(self) -> dict[str, Any]:
        """It as plain data, without what did not exist before and is not used."""
        data = asdict(self)
        if self.optimizer == "sgd":
            del data["optimizer"]
        if not self.keep_rates:
            del data["keep_rates"]
        return data

    def keep_rate(self, epoch: int) -> float:
        """The chance that an image takes a block, in a pass 0 .. ``epochs`` (the last is extra)."""
        part = epoch * len(self.keep_rates) // self.epochs
        return self.keep_rates[min(part, len(self.keep_rates) - 1)]


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
    keep_rates = settings.keep_rates if student.name in WITH_PATHS else ()
    return Recipe(epochs, settings.lr, settings.batch, name, settings.optimizer, keep_rates)


class Student(NamedTuple):
    """A network to be trained."""

    network: nn.Module
    """Fresh, on the device of the set's images; trained in place."""
    address: tuple[str | int, ...]
    """Role and index, which address its order and its augmentation."""
    teacher: "Teacher | None" = None
    loss: Loss | None = None
    """In place of cross-entropy, with or without knowledge distillation."""


class Teacher(NamedTuple):
    """A trained network that students follow."""

    network: nn.Module | None
    """Frozen, in eval mode; None: its answers for images as they are count when these are
    augmented too."""
    logits: Tensor
    """Its answers for the set's images as they are, [S, K], or features [S, C, H, W]."""
    accuracies: dict[str, float]
    """By split; a split on which it diverged is missing."""


def vmapped(student: Architecture, ipc: int, recipe: Recipe, device: torch.device) -> bool:
    """Whether the students of an architecture are trained as one vmapped cohort."""
    below = _VMAPPED_BELOW_IPC.get((student.name, device.type), 0)
    return ipc < below and recipe.augmentation == "none" and recipe.optimizer == "sgd"


def train_network(
    student: Student, synthetic: SyntheticSet, recipe: Recipe, *, seed: int, kd: KDSettings
) -> None:
    """Train one network in place on a distilled set.

    Args:
        student: The network, its address, and its teacher where the loss has one.
        synthetic: Images [S, C, H, W] and labels [S].
        recipe: Epochs, learning rate, batch, augmentation.
        seed: The trial's.
        kd: The loss.
    """
    name = " ".join(map(str, student.address))
    one = OneStudent(student.network, kd, name, student.loss, recipe.optimizer)
    _train(one, [student], synthetic, recipe, seed)
    set_paths(student.network, None)


def train_together(
    students: Sequence[Student],
    synthetic: SyntheticSet,
    recipe: Recipe,
    *,
    seed: int,
    kd: KDSettings,
) -> None:
    """Train networks of one architecture in place, vmapped: as each alone, but for rounding.

    Args:
        students: At most ``TOGETHER``; all with a teacher or none; without batch norm.
        synthetic: See ``train_network``.
        recipe: Without augmentation.
        seed: The trial's.
        kd: The loss.
    """
    cohort = Vmapped([student.network for student in students], kd)
    _train(cohort, students, synthetic, recipe, seed)
    cohort.write_back()


def _train(
    cohort: Cohort,
    students: Sequence[Student],
    synthetic: SyntheticSet,
    recipe: Recipe,
    seed: int,
) -> None:
    lr = recipe.lr
    for epoch in range(recipe.epochs + 1):
        for batch in _batches(students, synthetic, recipe, seed, epoch):
            cohort.step(batch, lr)
        if epoch == recipe.epochs // 2 + 1:
            lr *= _TENTH
            cohort.forget_momentum()


def _batches(
    students: Sequence[Student], synthetic: SyntheticSet, recipe: Recipe, seed: int, epoch: int
) -> Iterator[Batch]:
    """Yield one pass over the set, in an order of each student's own.

    A batch that holds the whole set keeps the set's order: any other gives the same sums.
    """
    images, labels = synthetic.images, synthetic.labels
    fixed = [student.teacher.logits for student in students if student.teacher is not None]
    plain = recipe.augmentation == "none"
    if plain and len(labels) <= recipe.batch and not recipe.keep_rates:
        yield Batch(images, labels, torch.stack(fixed) if fixed else None, shared=True)
        return
    orders = [_order(student.address, seed, epoch, labels) for student in students]
    if plain and not recipe.keep_rates:
        for rows in torch.split(torch.stack(orders), recipe.batch, dim=1):
            targets = (
                [logits[own] for logits, own in zip(fixed, rows, strict=True)] if fixed else []
            )
            yield Batch(
                images[rows], labels[rows], torch.stack(targets) if fixed else None, shared=False
            )
        return
    ((network, address, teacher, _),) = students
    role, *index = address
    rng = seeding.generator(seed, f"{role}-augment", *index, epoch)
    chances = seeding.generator(seed, f"{role}-paths", *index, epoch)
    for rows in torch.split(orders[0], recipe.batch):
        shown = augmentation.augment(images[rows], recipe.augmentation, rng)
        answers = None if teacher is None else _answers(teacher, shown, rows)[None]
        paths = None
        if recipe.keep_rates:
            rate = recipe.keep_rate(epoch)
            taken = torch.rand(count_paths(network), len(rows), generator=chances) < rate
            paths = (taken.to(images.dtype) / rate)[None].to(images.device)
        yield Batch(shown[None], labels[rows][None], answers, shared=False, paths=paths)


def _order(address: tuple[str | int, ...], seed: int, epoch: int, labels: Tensor) -> Tensor:
    role, *index = address
    rng = seeding.generator(seed, f"{role}-order", *index, epoch)
    return torch.randperm(len(labels), generator=rng).to(labels.device)


def _answers(teacher: Teacher, shown: Tensor, rows: Tensor) -> Tensor:
    """What a teacher says of augmented images."""
    if teacher.network is None:
        return teacher.logits[rows]
    return teacher_logits(teacher.network, shown)


def teacher_logits(network: nn.Module, images: Tensor) -> Tensor:
    """A teacher's answers [N, K], without gradient."""
    with torch.no_grad():
        logits: Tensor = network(images)
        return logits


def score(network: nn.Module, split: Split) -> Score:
    """Accuracy and loss of a network, in eval mode, in batches of 256.

    A network whose logits are not finite has a loss that is not finite.
    """
    network.eval()
    images = at_hand(split.images)
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    total = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    with torch.no_grad():
        for start in range(0, len(split.labels), _TEST_BATCH):
            labels = split.labels[start : start + _TEST_BATCH]
            logits = network(images[start : start + _TEST_BATCH])
            total += cross_entropy(logits, labels, reduction="sum").double()
            correct += (logits.argmax(1) == labels).sum()
    n = len(split.labels)
    return Score(int(correct) / n, float(total) / n, n)


def is_finite(result: Score) -> bool:
    """Whether the network that gave a score had not diverged."""
    return math.isfinite(result.loss)
