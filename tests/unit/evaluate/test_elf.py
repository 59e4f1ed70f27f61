"""ELF against its plain version, where networks are split, and who shares a feature network."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import torch
from torch import Tensor

from harness import seeding
from harness.architecture import Architecture
from harness.config import ELFSettings, KDSettings, TrialConfig, make_config
from harness.context import Context
from harness.datasets import ImageData, Split
from harness.errors import ConfigError, DataError
from harness.evaluate import evaluate
from harness.evaluate.augmentation import augment
from harness.evaluate.elf import (
    distance,
    feature_network,
    features_of,
    make_loss,
    train_features,
)
from harness.evaluate.training import Recipe, Student, Teacher, train_network
from harness.networks import BUILDERS, Network, build_network
from harness.networks.split import map_shape, split
from harness.settings.elf import REAR_STARTS, Distance
from harness.store import Store
from harness.synthetic import SyntheticSet, labels_by_class
from harness.trial import check_fits, run_trial
from tests.reference import elf as reference

CPU = torch.device("cpu")
VARIANTS = ("front_rear_task", "task", "front_task", "rear_task", "front_rear")
MAIN = Architecture(width=4, depth=2)


def configure(elf: dict[str, Any] | None = None, **more: Any) -> TrialConfig:
    base: dict[str, Any] = {
        "network": {"width": 4, "depth": 2},
        "iterations": 1,
        "batch_real": 4,
        "evaluation": {"students": ["main", "convnet-w4-d2-batchnorm"], "student_seeds": 2,
                       "epochs": 2},
        "elf": {"loss": "front_rear_task", "epochs": 1, **(elf or {})},
    }  # fmt: skip
    return make_config({**base, **more})


def make(label: str, dtype: torch.dtype = torch.float32) -> Network:
    made = build_network(
        Architecture.parse(label),
        in_shape=(1, 28, 28),
        classes=3,
        generator=torch.Generator().manual_seed(0),
    )
    return made.to(dtype)


@pytest.fixture(scope="module")
def synthetic() -> SyntheticSet:
    images = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    return SyntheticSet(images, labels_by_class(3, 2), {})


def in_double(synthetic: SyntheticSet) -> SyntheticSet:
    return replace(synthetic, images=synthetic.images.double())


def features_for(images: Tensor) -> Tensor:
    rng = torch.Generator().manual_seed(5)
    return torch.rand(len(images), 4, 8, 8, generator=rng, dtype=images.dtype)


# --- Against the plain version --------------------------------------------------------------


@pytest.mark.parametrize("how", get_args(Distance))
def test_distances_agree(how: Distance) -> None:
    rng = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 3, 4, 4, generator=rng, dtype=torch.float64)
    wanted = torch.rand(2, 3, 4, 4, generator=rng, dtype=torch.float64)
    found = distance(how, maps, wanted)
    torch.testing.assert_close(found, reference.distance(how, maps, wanted), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("augmentation", ["none", "dsa-noflip"])
@pytest.mark.parametrize(
    ("variant", "how", "label"),
    [
        *((variant, "ce", "convnet-w4-d2") for variant in VARIANTS),
        ("front_rear_task", "l2", "convnet-w4-d2-batchnorm"),
    ],
)
def test_a_trained_student_agrees_with_the_plain_version(
    synthetic: SyntheticSet, variant: Any, how: Distance, label: str, augmentation: str
) -> None:
    given = in_double(synthetic)
    wanted = features_for(given.images)
    settings = ELFSettings(loss=variant, distance=how, front_weight=0.7, rear_weight=1.3)
    found, expected = make(label, torch.float64), make(label, torch.float64)
    loss = make_loss(settings, found, "convnet")
    teacher = Teacher(None, wanted, {}) if settings.needs_features else None
    recipe = Recipe(4, 0.05, 4, augmentation)
    student = Student(found, ("student", "x", 0), teacher, loss)
    train_network(student, given, recipe, seed=0, kd=KDSettings())

    batches = []
    for epoch in range(5):
        order = torch.randperm(6, generator=seeding.generator(0, "student-order", "x", 0, epoch))
        rng = seeding.generator(0, "student-augment", "x", 0, epoch)
        parts = torch.split(order, 4)
        shown = [augment(given.images[rows], augmentation, rng) for rows in parts]
        batches.append([(x, given.labels[r], wanted[r]) for x, r in zip(shown, parts, strict=True)])
    front, rear = reference.parts(expected, None)
    reference.train(
        expected,
        batches,
        lambda batch: reference.loss(variant, how, front, rear, batch, (0.7, 1.3)),
        epochs=4,
        lr=0.05,
    )
    for one, other in zip(found.state_dict().values(), expected.state_dict().values(), strict=True):
        assert float((one - other).abs().max()) <= 1e-10 * (1 + float(other.abs().max()))


def test_a_feature_network_agrees_with_the_plain_version(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.evaluate.elf._augmentation", lambda *_: "none")
    monkeypatch.setattr("harness.evaluate.elf._BATCH", 10)
    weights = train_features(configure({"epochs": 3}), MAIN, tiny)
    address = ("elf-features-network", MAIN.label)
    expected = build_network(
        MAIN, in_shape=(1, 28, 28), classes=3, generator=seeding.generator(0, *address)
    )
    orders = [
        torch.randperm(36, generator=seeding.generator(0, "elf-features-order", MAIN.label, epoch))
        for epoch in range(3)
    ]
    images, labels = tiny.train
    assert isinstance(images, Tensor)
    reference.pretrain(expected, images, labels, orders, batch=10)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)
    front, _ = reference.parts(expected.eval(), None)
    found = features_of(weights, MAIN, tiny, images)
    torch.testing.assert_close(found, front(images).detach(), rtol=1e-4, atol=1e-5)


# --- Where networks are split ---------------------------------------------------------------


@pytest.mark.parametrize("name", REAR_STARTS)
def test_parts_are_the_network(name: str) -> None:
    network = make(name).eval()
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    front, rear = split(network, name)
    with torch.no_grad():
        assert torch.equal(rear(front(images)), network(images))
        plain_front, plain_rear = reference.parts(network, REAR_STARTS[name])
        assert torch.equal(plain_front(images), front(images))
        assert torch.equal(plain_rear(plain_front(images)), network(images))
    assert tuple(front(images).shape[1:]) == map_shape(Architecture(name=name), (1, 28, 28))


@pytest.mark.parametrize(
    ("label", "convolutions"), [("convnet", [3, 0]), ("vgg11", [5, 3]), ("resnet18", [18, 2])]
)
def test_where_the_split_is(label: str, convolutions: list[int]) -> None:
    """Of ResNet18's 20 convolutions, three are shortcuts of the front's stages."""
    with torch.device("meta"):
        network = BUILDERS[label](Architecture(name=label), (3, 32, 32), 10)
    counts = [
        sum(isinstance(module, torch.nn.Conv2d) for module in part.modules())
        for part in split(network, label)
    ]
    assert counts == convolutions
    shape = map_shape(Architecture(name=label), (3, 32, 32))
    assert shape == ((128 if label == "convnet" else 512), 4, 4)


def test_features_are_as_wide_as_the_student_s_maps() -> None:
    config = configure(network={"width": 16}, evaluation={"students": ["main"]})
    for label, width in (("convnet-w8", 8), ("vgg11", 512), ("resnet18-bn", 512)):
        found = feature_network(config, Architecture.parse(label), (3, 32, 32))
        assert found == Architecture(width=width)


# --- What is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"evaluation": {"students": ["main", "mlp"]}}, "student 'mlp' has no split point; use "
         "convnet, resnet18, resnet18-bn, vgg11, vgg11-bn"),
        ({"kd": {"variant": "softened"}}, "kd.variant is 'softened'"),
        ({"method": "full-data"}, "no distilled set"),
        ({"network": {"name": "vgg11"}, "pool": {"main_probability": 1.0},
          "evaluation": {"students": ["vgg11"]}}, "set network.name = 'convnet'"),
        ({"network": {"activation": "swish"}, "evaluation": {"students": ["main"]},
          "elf": {"loss": "front_task", "distance": "ce"}}, "use 'l2', 'l1' or 'cosine'"),
        ({"elf": {"loss": "front"}}, "elf.loss: got 'front'"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(**more)
    assert words in str(caught.value)


def test_maps_of_another_size_are_refused(tiny: ImageData) -> None:
    config = configure(evaluation={"students": ["main", "vgg11"]})
    with pytest.raises(DataError, match=r"student 'vgg11' has maps of 4x4 .+ ends with 8x8"):
        check_fits(config, tiny)


# --- In a trial -----------------------------------------------------------------------------


def test_the_task_alone_is_a_student_without_elf(tiny: ImageData, synthetic: SyntheticSet) -> None:
    def never(*_: object) -> Any:
        raise AssertionError("no real image is needed")

    augmentation = {"students": ["main"], "student_seeds": 2, "epochs": 2, "augmentation": "dsa"}
    task, off = (
        list(evaluate(synthetic, configure({"loss": v}, evaluation=augmentation), tiny,
                      ("test",), share_features=never))
        for v in ("task", "off")
    )  # fmt: skip
    assert task == off


def test_students_are_augmented_as_published() -> None:
    assert configure().evaluation.augmentation == "dsa"
    assert configure({"loss": "off"}).evaluation.augmentation == "auto"


def test_one_feature_network_serves_all_and_is_kept_by_seed(
    tiny: ImageData, tmp_path: Path
) -> None:
    def run(name: str, **more: Any) -> pd.DataFrame:
        context = Context(
            folder=tmp_path / name,
            device=CPU,
            data=tiny,
            trial_id=name,
            store=Store(tmp_path / "store"),
        )
        record = run_trial(configure(**more), context)
        assert record["status"] == "ok"
        return pd.read_parquet(tmp_path / name / "evaluations.parquet")

    def kept() -> int:
        return len(list((tmp_path / "store" / "feature-network").iterdir()))

    first = run("a")
    assert kept() == 1  # two students of one width, two seeds
    assert set(first["track"]) == {"real-features"}
    assert set(first["elf_loss"]) == {"front_rear_task"}
    again = run("b", elf={"loss": "front_task", "epochs": 1})
    assert kept() == 1
    assert list(first["accuracy"]) != list(again["accuracy"])
    assert list(run("c")["loss"]) == list(first["loss"])
    run("d", seed=1)
    assert kept() == 2
    task = run("e", elf={"loss": "task"})
    assert set(task["track"]) == {"distilled"}


def test_features_see_training_images_alone(tiny: ImageData) -> None:
    def spoilt(part: Split) -> Split:
        return Split(part.images * float("nan"), part.labels)

    blind = replace(tiny, validation=spoilt(tiny.validation), test=spoilt(tiny.test))  # type: ignore[arg-type]
    one, other = (train_features(configure(), MAIN, data) for data in (tiny, blind))
    assert all(torch.equal(one[name], other[name]) for name in one)
