"""Training of a student against its plain version, its schedule, and how it is scored."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.architecture import Architecture
from harness.config import EvaluationSettings, KDSettings
from harness.datasets import ImageData, Split
from harness.evaluate import cohort, training
from harness.evaluate.training import (
    Recipe,
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
from harness.networks import build_network
from harness.synthetic import SyntheticSet, labels_by_class
from tests.reference import evaluation as reference

PLAIN = KDSettings()
SOFTENED = KDSettings(variant="softened", temperature=2.0, alpha=0.5)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_set(ipc: int = 3, dtype: torch.dtype = torch.float32) -> SyntheticSet:
    labels = labels_by_class(3, ipc)
    images = torch.randn(len(labels), 1, 28, 28, generator=rng(3)).to(dtype)
    return SyntheticSet(images, labels, {})


def make_network(label: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    network = build_network(
        Architecture.parse(label), in_shape=(1, 28, 28), classes=3, generator=rng(seed)
    )
    return network.to(dtype)


def recipe(epochs: int, *, lr: float = 0.01, batch: int = 256, name: str = "none") -> Recipe:
    return Recipe(epochs, lr, batch, name)


def train(network: nn.Module, synthetic: SyntheticSet, how: Recipe, **more: Any) -> None:
    teacher = more.pop("teacher", None)
    if teacher is not None:
        teacher = Teacher(teacher, teacher_logits(teacher, synthetic.images), {})
    student = Student(network, more.pop("address", ("student", "x", 0)), teacher)
    train_network(student, synthetic, how, **{"seed": 0, "kd": PLAIN, **more})


class Recorder(nn.Module):
    """Keeps every batch that it is given, with its mode and the logits that it gave back."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.batches: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        self.batches.append(images.clone())
        self.logits.append(logits.detach().clone())
        self.modes.append(self.training)
        return logits


# --- Against the plain version --------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2, 5, 8])
@pytest.mark.parametrize("label", ["convnet-w4", "mlp", "convnet-w4-d1-batchnorm"])
def test_parameters_agree_with_the_plain_version(label: str, epochs: int) -> None:
    synthetic = make_set(dtype=torch.float64)
    found, expected = (make_network(label, dtype=torch.float64) for _ in range(2))
    train(found, synthetic, recipe(epochs, lr=0.05))
    reference.train(expected, synthetic.images, synthetic.labels, epochs=epochs, lr=0.05, batch=256)
    for one, other in zip(found.state_dict().values(), expected.state_dict().values(), strict=True):
        assert float((one - other).abs().max()) <= 1e-10 * (1 + float(other.abs().max()))


@pytest.mark.parametrize(
    ("epochs", "before", "after"),
    [(1, 2, 0), (2, 3, 0), (3, 3, 1), (4, 4, 1), (5, 4, 2), (300, 152, 149), (1000, 502, 499)],
)
def test_the_rate_drops_once_with_fresh_momentum(
    epochs: int, before: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    fresh: list[int] = []

    def descend(parameters: Any, gradients: Any, momenta: list[Tensor], lr: float) -> None:
        if not any(bool(momentum.any()) for momentum in momenta):
            fresh.append(len(rates))
        rates.append(lr)
        for momentum in momenta:
            momentum.fill_(1.0)

    monkeypatch.setattr(cohort, "descend", descend)
    train(nn.Sequential(nn.Flatten(), nn.Linear(784, 3)), make_set(1), recipe(epochs, lr=0.01))
    assert rates == pytest.approx([0.01] * before + [0.001] * after)
    assert fresh == ([0, before] if after else [0])


def test_every_image_is_seen_once_a_pass_in_changing_order() -> None:
    synthetic = make_set(3)
    network = Recorder(make_network("mlp"))
    train(network, synthetic, recipe(3, batch=4))
    assert [len(batch) for batch in network.batches] == [4, 4, 1] * 4
    orders = []
    for start in range(0, 12, 3):
        images = torch.cat(network.batches[start : start + 3])
        equal = (images[:, None] == synthetic.images[None]).flatten(2).all(2)
        orders.append(equal.int().argmax(1).tolist())
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_mini_batches_agree_with_plain_steps_in_the_same_order() -> None:
    synthetic = make_set(3, dtype=torch.float64)
    found, expected = (make_network("mlp", dtype=torch.float64) for _ in range(2))
    recorder = Recorder(found)
    train(recorder, synthetic, recipe(1, batch=4))
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for batch in recorder.batches:
        equal = (batch[:, None] == synthetic.images[None]).flatten(2).all(2)
        optimizer.zero_grad()
        cross_entropy(expected(batch), synthetic.labels[equal.int().argmax(1)]).backward()
        optimizer.step()
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


# --- Random numbers -------------------------------------------------------------------------


def trained(label: str = "mlp", **more: Any) -> Tensor:
    network = make_network(label)
    how = recipe(2, batch=4, name=more.pop("name", "crop-scale-rotate"))
    train(network, make_set(), how, **more)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_the_same_address_gives_the_same_bits_whatever_the_global_generator_holds() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(trained(), first)


def test_a_batch_that_holds_the_whole_set_needs_no_order() -> None:
    synthetic = make_set(3)
    network = Recorder(make_network("mlp"))
    train(network, synthetic, recipe(2))
    assert all(torch.equal(batch, synthetic.images) for batch in network.batches)
    assert len(network.batches) == 3


@pytest.mark.parametrize("name", ["none", "crop-scale-rotate"])
def test_seed_and_address_each_change_the_order(name: str) -> None:
    results = [
        trained(name=name),
        trained(name=name, seed=1),
        trained(name=name, address=("student", "x", 1)),
        trained(name=name, address=("student", "y", 0)),
        trained(name=name, address=("teacher", "x", 0)),
    ]
    assert len({tuple(result[:50].tolist()) for result in results}) == 5


# --- Teachers -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["softened", "legacy", "control"])
def test_alpha_zero_trains_the_plain_student_bit_for_bit(variant: str) -> None:
    kd = KDSettings.model_validate({"variant": variant, "alpha": 0.0})
    assert torch.equal(trained(kd=kd), trained())


@pytest.mark.parametrize("name", ["none", "crop-scale-rotate"])
def test_the_teacher_answers_for_the_images_that_the_student_sees(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = Recorder(make_network("mlp", seed=1))
    teacher = make_network("convnet-w4-d1-batchnorm", seed=2).eval().requires_grad_(False)
    given: list[Tensor] = []
    loss = cohort.student_loss

    def spying(kd: KDSettings, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        assert targets is not None
        assert not targets.requires_grad
        given.append(targets.clone())
        return loss(kd, logits, labels, targets)

    monkeypatch.setattr(cohort, "student_loss", spying)
    before = [tensor.clone() for tensor in teacher.state_dict().values()]
    train(student, make_set(), recipe(2, batch=4, name=name), kd=SOFTENED, teacher=teacher)
    assert len(given) == len(student.batches) == 9
    for batch, targets in zip(student.batches, given, strict=True):
        torch.testing.assert_close(targets, teacher(batch))
    assert all(map(torch.equal, before, teacher.state_dict().values()))
    assert not teacher.training
    assert all(student.modes)


def test_fixed_images_are_shown_to_the_teacher_once() -> None:
    teacher = Recorder(make_network("mlp", seed=2).eval().requires_grad_(False))
    train(make_network("mlp"), make_set(), recipe(3), kd=SOFTENED, teacher=teacher)
    assert len(teacher.batches) == 1  # when its answers were computed, before the training


def test_a_student_with_a_teacher_agrees_with_plain_steps() -> None:
    synthetic = make_set(2, dtype=torch.float64)
    found, expected = (make_network("mlp", dtype=torch.float64) for _ in range(2))
    teacher = make_network("mlp", seed=5, dtype=torch.float64).requires_grad_(False)
    train(found, synthetic, recipe(2, lr=0.05), kd=SOFTENED, teacher=teacher)
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    p_teacher = (teacher(synthetic.images) / 2.0).softmax(1)
    for _ in range(3):
        logits = expected(synthetic.images)
        p_student = (logits / 2.0).softmax(1)
        divergence = (p_teacher * (p_teacher.log() - p_student.log())).sum(1).mean()
        labels = cross_entropy(logits, synthetic.labels)
        optimizer.zero_grad()
        (0.5 * 4.0 * divergence + 0.5 * labels).backward()
        optimizer.step()
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


# --- Together -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [4, 256])
@pytest.mark.parametrize("kd", [PLAIN, SOFTENED], ids=["plain", "softened"])
@pytest.mark.parametrize("label", ["lenet", "mlp", "convnet-w4"])
def test_students_together_are_as_students_alone(label: str, kd: KDSettings, batch: int) -> None:
    """Each has its own weights, teacher and order; in float64, since float32 runs drift apart."""
    synthetic = make_set(3, dtype=torch.float64)
    alone, together = [
        [
            Student(make_network(label, k, torch.float64), ("student", label, k), make_teacher(k))
            for k in range(3)
        ]
        for _ in range(2)
    ]
    if kd is PLAIN:
        alone, together = ([s._replace(teacher=None) for s in own] for own in (alone, together))
    how = recipe(4, lr=0.05, batch=batch)
    for student in alone:
        train_network(student, synthetic, how, seed=0, kd=kd)
    train_together(together, synthetic, how, seed=0, kd=kd)
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def make_teacher(seed: int) -> Teacher:
    network = make_network("mlp", 10 + seed, torch.float64).eval().requires_grad_(False)
    images = make_set(3, dtype=torch.float64).images
    return Teacher(network, teacher_logits(network, images), {})


def test_a_table_says_which_students_train_together() -> None:
    lenet, convnet = Architecture(name="lenet"), Architecture(width=32)
    cpu = torch.device("cpu")
    assert vmapped(lenet, 1, recipe(300), cpu)
    assert not vmapped(lenet, 10, recipe(300), cpu)
    assert not vmapped(lenet, 1, recipe(300), torch.device("cuda"))
    assert not vmapped(lenet, 1, recipe(1000, name="crop-noise"), cpu)
    assert not vmapped(convnet, 1, recipe(300), cpu)


# --- Recipes and scores ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "dataset", "student", "expected"),
    [
        ({}, "digits", "mlp", (300, "none")),
        ({}, "cifar10", "resnet18", (300, "none")),
        ({}, "mnist", "mlp", (1000, "crop-scale-rotate")),
        ({}, "cifar10", "convnet-batchnorm", (1000, "crop-noise")),
        ({"augmentation": "none"}, "mnist", "mlp", (300, "none")),
        ({"augmentation": "crop-noise"}, "digits", "mlp", (1000, "crop-noise")),
        ({"epochs": 7}, "digits", "mlp", (7, "none")),
        ({"epochs": 7}, "mnist", "mlp", (7, "crop-scale-rotate")),
    ],
)
def test_epochs_follow_the_augmentation(
    settings: dict[str, Any], dataset: str, student: str, expected: tuple[int, str]
) -> None:
    made = make_recipe(
        EvaluationSettings.model_validate(settings), dataset, Architecture.parse(student)
    )
    assert (made.epochs, made.augmentation) == expected
    assert (made.lr, made.batch) == (0.01, 256)


@pytest.mark.parametrize("batch", [4, 256])
@pytest.mark.parametrize("label", ["mlp", "convnet-w4-d1-batchnorm"])
def test_a_score_is_a_plain_mean(
    tiny: ImageData, label: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_TEST_BATCH", batch)
    network = make_network(label)
    train(network, make_set(), recipe(3, lr=0.05))
    found = score(network, tiny.test)
    assert not network.training
    assert found.accuracy == reference.accuracy(network, *tiny.test)
    assert found.n_images == 18
    with torch.no_grad():
        losses = [
            float(cross_entropy(network(image[None]), label[None]))
            for image, label in zip(*tiny.test, strict=True)
        ]
    assert found.loss == pytest.approx(sum(losses) / 18, rel=1e-5)
    assert is_finite(found)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_network_has_a_loss_that_is_not_finite(value: float) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        network[1].bias[1] = value
    found = score(network, Split(torch.ones(5, 1, 2, 2), torch.tensor([0, 1, 2, 1, 0])))
    assert not math.isfinite(found.loss)
    assert not is_finite(found)


def test_training_at_an_absurd_rate_ends_in_a_score_that_is_not_finite(tiny: ImageData) -> None:
    network = make_network("mlp")
    train(network, make_set(), recipe(5, lr=1e20))
    assert not is_finite(score(network, tiny.test))
