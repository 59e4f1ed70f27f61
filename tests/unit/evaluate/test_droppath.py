"""DropPath students and Lion against their plain versions, and what goes with neither."""

import importlib.util
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from harness import seeding
from harness.architecture import WITH_PATHS, Architecture
from harness.config import EvaluationSettings, KDSettings, make_config
from harness.datasets import ImageData
from harness.errors import ConfigError
from harness.evaluate import evaluate
from harness.evaluate.training import Recipe, Student, make_recipe, train_network
from harness.networks import Network, build_network
from harness.networks.droppath import count_paths, set_paths
from harness.synthetic import SyntheticSet, labels_by_class
from harness.trial import preflight
from tests.reference import droppath as reference

BLOCKS = {"alexnet-droppath": 1, "vgg11-droppath": 3, "resnet18-droppath": 8}


def make(label: str) -> Network:
    made = build_network(
        Architecture.parse(label),
        in_shape=(1, 28, 28),
        classes=3,
        generator=torch.Generator().manual_seed(0),
    )
    return made.double()


def images(count: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(3)
    return torch.randn(count, 1, 28, 28, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("label", WITH_PATHS)
def test_images_pass_blocks_by_as_in_the_plain_version(label: str) -> None:
    network, shown = make(label), images(3)
    blocks = count_paths(network)
    assert blocks == BLOCKS[label]
    rng = torch.Generator().manual_seed(4)
    taken = torch.rand(blocks, 3, generator=rng) < 0.5
    taken[0] = torch.tensor([True, False, True])
    with torch.no_grad():
        set_paths(network, taken.double() / 0.5)
        found = network(shown)
        expected = reference.forward(network, shown, taken, 0.5)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
        every = reference.forward(network, shown, torch.ones(blocks, 3, dtype=torch.bool), 1.0)
        assert not torch.allclose(found, every)
        torch.testing.assert_close(network.eval()(shown), every, rtol=1e-9, atol=1e-10)
        set_paths(network, None)
        torch.testing.assert_close(network.train()(shown), every, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.01), ("lion", 1e-4)])
def test_training_agrees_with_the_plain_version(optimizer: str, lr: float) -> None:
    shown, labels = images(3), labels_by_class(3, 1)
    found, expected = make("alexnet-droppath"), make("alexnet-droppath")
    recipe = Recipe(1, lr, 2, "none", optimizer, (1.0, 0.5))
    synthetic = SyntheticSet(shown, labels, {})
    student = Student(found, ("student", "x", 0))
    train_network(student, synthetic, recipe, seed=0, kd=KDSettings())

    step = reference.lion if optimizer == "lion" else reference.sgd
    parameters = list(expected.parameters())
    averages = [torch.zeros_like(p) for p in parameters]
    passed_by = 0
    for epoch, keep in enumerate([1.0, 0.5]):
        order = torch.randperm(3, generator=seeding.generator(0, "student-order", "x", 0, epoch))
        chances = seeding.generator(0, "student-paths", "x", 0, epoch)
        for rows in torch.split(order, 2):
            taken = torch.rand(1, len(rows), generator=chances) < keep
            passed_by += int((~taken).sum())
            logits = reference.forward(expected, shown[rows], taken, keep)
            loss = cross_entropy(logits, labels[rows])
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for p, gradient, average in zip(parameters, gradients, averages, strict=True):
                own = torch.zeros_like(p) if gradient is None else gradient
                step(p, own, average, lr)
    assert passed_by > 0
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
        assert one.grad is None
    assert found.train()(shown).isfinite().all()  # no path of the last batch is left


def test_the_schedule_is_the_published_one() -> None:
    settings = EvaluationSettings(epochs=4000)
    recipe = make_recipe(settings, "cifar10", Architecture(name="resnet18-droppath"))
    assert [recipe.keep_rate(e) for e in range(4000)] == [
        reference.keep_rate(e) for e in range(4000)
    ]
    assert recipe.keep_rate(4000) == 0.8  # the pass that is run besides
    assert make_recipe(settings, "cifar10", Architecture(name="resnet18")).keep_rates == ()


def test_students_repeat_their_bits_and_differ_by_seed(tiny: ImageData) -> None:
    config = make_config(
        {
            "evaluation": {
                "students": ["alexnet-droppath"],
                "student_seeds": 2,
                "epochs": 2,
                "optimizer": "lion",
                "keep_rates": [0.5],
            }
        }
    )
    assert (config.evaluation.lr, config.evaluation.batch) == (5e-5, 100)
    synthetic = SyntheticSet(images(3).float(), labels_by_class(3, 1), {})
    first, again = (list(evaluate(synthetic, config, tiny, ("test",))) for _ in range(2))
    assert first == again
    assert first[0].score != first[1].score
    assert {item.recipe.optimizer for item in first} == {"lion"}


def test_what_is_not_used_changes_no_digest() -> None:
    def digest(**evaluation: Any) -> str:
        return make_config({"evaluation": evaluation}).digest()

    assert digest(keep_rates=[0.5]) == digest()
    assert digest(students=["vgg11-droppath"], keep_rates=[0.5]) != digest(
        students=["vgg11-droppath"]
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"students": ["mlp"], "optimizer": "lion"}, "trains by DD-Ranking's recipe"),
        ({"students": ["vgg11-droppath"]}, "whose DropPath is for distilled sets"),
    ],
)
def test_all_real_images_go_without(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_config({"method": "full-data", "evaluation": settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"network": {"name": "vgg11-droppath"}, "pool": {"main_probability": 1.0}},
        {"pool": {"others": [{"network": "resnet18-droppath", "weight": 1.0}]}},
        {"pool": {"bandit": {"probes": ["alexnet-droppath"]}}},
    ],
)
def test_they_are_for_students_alone(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="which is for students"):
        make_config(settings)


@pytest.mark.parametrize("rates", [[], [0.0], [1.5]])
def test_keep_rates_are_chances(rates: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.keep_rates"):
        make_config({"evaluation": {"keep_rates": rates}})


def test_lion_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "lion_pytorch" else find(name)
    )
    config = make_config({"evaluation": {"optimizer": "lion"}})
    with pytest.raises(ConfigError, match=r"pip install 'harness\[lion\]'"):
        preflight([config])
