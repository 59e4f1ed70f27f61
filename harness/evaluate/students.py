"""Students: fresh networks trained on a distilled set and judged on real images."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness import seeding
from harness.architecture import Architecture
from harness.config import (
    QUICK_STUDENTS,
    ELFSettings,
    EvaluationSettings,
    KDSettings,
    TrialConfig,
)
from harness.datasets import ImageData, Split
from harness.evaluate.baselines import real_network
from harness.evaluate.elf import (
    feature_identity,
    feature_network,
    features_of,
    make_loss,
    train_features,
)
from harness.evaluate.kd import needs_teacher
from harness.evaluate.training import (
    TOGETHER,
    Recipe,
    Score,
    Student,
    Teacher,
    is_finite,
    make_recipe,
    score,
    teacher_logits,
    train_network,
    train_together,
    vmapped,
)
from harness.networks import Network, build_network
from harness.synthetic import SyntheticSet

_PLAIN = KDSettings()
_NO_ELF = ELFSettings()

Weights = Mapping[str, Tensor]
"""Parameters and buffers of a network by name."""
ShareTeacher = Callable[[Mapping[str, Any], Callable[[], Weights]], Weights]
"""Called with all that determines a teacher, as plain data, and with what trains it; returns its
weights, which may have been trained elsewhere."""


def _train_each(identity: Mapping[str, Any], train: Callable[[], Weights]) -> Weights:
    return train()


class StudentScore(NamedTuple):
    """One student network on one split."""

    student: Architecture
    student_seed: int
    recipe: Recipe
    split: str
    score: Score
    teacher_accuracy: float | None
    """On the same split; None without a teacher, or where it diverged."""


def evaluate(
    synthetic: SyntheticSet | None,
    config: TrialConfig,
    data: ImageData,
    splits: Iterable[str],
    share_teacher: ShareTeacher = _train_each,
    share_features: ShareTeacher = _train_each,
) -> Iterator[StudentScore]:
    """Train every student of a trial and yield its score on each split.

    Student networks, their data order and their teachers are addressed by (seed, architecture,
    student seed): equal across configurations, whatever the distillation drew. There is one
    teacher for each student seed, shared by all architectures.

    Args:
        synthetic: The set, on the device to train on; None: all training images of ``data``.
        config: Students, seeds, recipe and KD.
        data: Real images, on the same device.
        splits: Names of the splits to score: ``validation``, ``test``.
        share_teacher: Where teachers come from; by default each is trained here.
        share_features: The same for the feature networks of ELF, which are trained on real images.
    """
    named = {name: getattr(data, name) for name in splits}
    if synthetic is None:
        yield from _evaluate_on_all(config, data, named)
        return
    teachers = _Teachers(synthetic, config, data, named, share_teacher)
    features = _Features(synthetic, config, data, share_features)
    for student in config.students():
        recipe = make_recipe(config.evaluation, config.dataset.name, student)
        for seeds in _groups(config, student, recipe, synthetic.images.device):
            trained = _train_students(synthetic, config, data, student, seeds, teachers, features)
            for k, network in zip(seeds, trained, strict=True):
                accuracies = found.accuracies if (found := teachers.get(k)) else {}
                for name, split in named.items():
                    yield StudentScore(
                        student, k, recipe, name, score(network, split), accuracies.get(name)
                    )


def _evaluate_on_all(
    config: TrialConfig, data: ImageData, splits: Mapping[str, Split]
) -> Iterator[StudentScore]:
    """Train the students on all real images, from the weights they have on a distilled set."""
    settings = config.evaluation
    assert settings.epochs is not None, "filled in for the method that has no set"
    recipe = Recipe(settings.epochs, settings.lr, settings.batch, "none")
    for student in config.students():
        for k in range(settings.student_seeds):
            address = ("student", student.label, k)
            network = real_network(student, data, recipe, seed=config.seed, address=address)
            for name, split in splits.items():
                yield StudentScore(student, k, recipe, name, score(network, split), None)


def quick_score(synthetic: SyntheticSet, config: TrialConfig, data: ImageData) -> float | None:
    """Mean validation accuracy of one small student of each kind, by plain cross-entropy.

    It depends on the distillation alone, not on the trial's evaluation: MLP and LeNet at default
    settings, less the main model. None where there are no validation images or none is finite.
    """
    if data.validation is None:
        return None
    plain = config.model_copy(
        update={"kd": _PLAIN, "elf": _NO_ELF, "evaluation": EvaluationSettings()}
    )
    accuracies = []
    for name in QUICK_STUDENTS:
        student = Architecture(name=name)
        if student == config.network:
            continue
        (network,) = _train_students(synthetic, plain, data, student, range(1))
        result = score(network, data.validation)
        if is_finite(result):
            accuracies.append(result.accuracy)
    return sum(accuracies) / len(accuracies) if accuracies else None


def kd_gain(
    synthetic: SyntheticSet,
    config: TrialConfig,
    data: ImageData,
    scores: Iterable[StudentScore],
    split: str,
) -> float | None:
    """Accuracy of the students with KD minus that of their control, on student seed 0.

    The control trains the same networks, in the same groups, by (1 - alpha) * CE alone.

    Returns:
        Mean over students whose two networks are finite, as a fraction; None where there is none.
    """
    control = config.model_copy(update={"kd": config.kd.model_copy(update={"variant": "control"})})
    differences = []
    for item in scores:
        if item.student_seed != 0 or item.split != split or not is_finite(item.score):
            continue
        first, *_ = _groups(config, item.student, item.recipe, synthetic.images.device)
        network, *_ = _train_students(synthetic, control, data, item.student, first)
        result = score(network, getattr(data, split))
        if is_finite(result):
            differences.append(item.score.accuracy - result.accuracy)
    return sum(differences) / len(differences) if differences else None


def _groups(
    config: TrialConfig, student: Architecture, recipe: Recipe, device: torch.device
) -> Iterator[range]:
    """Student seeds in the groups that are trained together; most are trained alone."""
    together = vmapped(student, config.ipc, recipe, device) and not config.elf.terms
    size = TOGETHER if together else 1
    total = config.evaluation.student_seeds
    for start in range(0, total, size):
        yield range(start, min(start + size, total))


def _train_students(
    synthetic: SyntheticSet,
    config: TrialConfig,
    data: ImageData,
    architecture: Architecture,
    seeds: range,
    teachers: "_Teachers | None" = None,
    features: "_Features | None" = None,
) -> list[nn.Module]:
    """Train a group of students; one alone trains as it would in no group."""
    recipe = make_recipe(config.evaluation, config.dataset.name, architecture)
    students = []
    for k in seeds:
        address = ("student", architecture.label, k)
        network = _fresh(architecture, config.seed, address, data).to(synthetic.images.device)
        if config.elf.terms:
            followed = features.get(architecture) if features else None
            loss = make_loss(config.elf, network, architecture.name)
            students.append(Student(network, address, followed, loss))
            continue
        students.append(Student(network, address, teachers.get(k) if teachers else None))
    if len(students) > 1:
        train_together(students, synthetic, recipe, seed=config.seed, kd=config.kd)
    else:
        train_network(students[0], synthetic, recipe, seed=config.seed, kd=config.kd)
    return [student.network for student in students]


def _fresh(
    architecture: Architecture, seed: int, address: tuple[str | int, ...], data: ImageData
) -> Network:
    role, *index = address
    return build_network(
        architecture,
        in_shape=data.in_shape,
        classes=data.num_classes,
        generator=seeding.generator(seed, f"{role}-network", *index),
    )


class _Teachers:
    """One teacher a student seed, trained on the set when first asked for."""

    def __init__(
        self,
        synthetic: SyntheticSet,
        config: TrialConfig,
        data: ImageData,
        splits: dict[str, Split],
        share: ShareTeacher,
    ) -> None:
        self._share = share
        self._synthetic = synthetic
        self._config = config
        self._data = data
        self._splits = splits
        self._trained: dict[int, Teacher] = {}

    def get(self, k: int) -> Teacher | None:
        """Teacher of a student seed; none where the loss needs none."""
        if not needs_teacher(self._config.kd):
            return None
        if k not in self._trained:
            self._trained[k] = self._train(k)
        return self._trained[k]

    def _train(self, k: int) -> Teacher:
        config, synthetic = self._config, self._synthetic
        architecture = config.teacher()
        address = ("teacher", architecture.label, k)
        network = _fresh(architecture, config.seed, address, self._data)
        network = network.to(synthetic.images.device)
        recipe = make_recipe(config.evaluation, config.dataset.name, architecture)

        def train() -> Weights:
            train_network(Student(network, address), synthetic, recipe, seed=config.seed, kd=_PLAIN)
            weights: Weights = network.state_dict()
            return weights

        identity = {
            "set": _content(synthetic),
            "classes": self._data.num_classes,
            "architecture": architecture.label,
            "recipe": recipe.identity(),
            "seed": config.seed,
            "student_seed": k,
        }
        network.load_state_dict(self._share(identity, train))
        network.eval().requires_grad_(False)
        scores = {name: score(network, split) for name, split in self._splits.items()}
        accuracies = {name: found.accuracy for name, found in scores.items() if is_finite(found)}
        return Teacher(network, teacher_logits(network, synthetic.images), accuracies)


class _Features:
    """Features of the set's images, as wide as each student needs them, made when asked for."""

    def __init__(
        self, synthetic: SyntheticSet, config: TrialConfig, data: ImageData, share: ShareTeacher
    ) -> None:
        self._share = share
        self._synthetic = synthetic
        self._config = config
        self._data = data
        self._known: dict[Architecture, Teacher] = {}

    def get(self, student: Architecture) -> Teacher | None:
        """What a student follows; None where its loss needs none."""
        if not self._config.elf.needs_features:
            return None
        architecture = feature_network(self._config, student, self._data.in_shape)
        if architecture not in self._known:
            weights = self._share(
                feature_identity(self._config, architecture, self._data),
                lambda: train_features(self._config, architecture, self._data),
            )
            found = features_of(weights, architecture, self._data, self._synthetic.images)
            self._known[architecture] = Teacher(None, found, {})
        return self._known[architecture]


def _content(synthetic: SyntheticSet) -> str:
    """Hash of a set's images and labels: 64 hex digits."""
    digest = hashlib.sha256()
    for tensor in (synthetic.images, synthetic.labels):
        digest.update(f"{tensor.dtype}/{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()
