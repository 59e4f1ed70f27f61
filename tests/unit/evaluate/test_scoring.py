"""Tests of harness.evaluate.scoring and harness.evaluate.baselines."""

from typing import Any

import pytest
import torch
from torch import nn

from harness.config import TrialConfig, make_config
from harness.datasets import ImageData
from harness.evaluate import baselines, scoring
from harness.evaluate.baselines import random_real, train_on_all
from harness.evaluate.scoring import hard_labels, score_fairly
from harness.evaluate.students import evaluate
from harness.synthetic import SyntheticSet, labels_by_class


def make(**evaluation: Any) -> TrialConfig:
    settings = {"students": ["main", "mlp"], "student_seeds": 2, "epochs": 2, **evaluation}
    return make_config({"ipc": 1, "network": {"width": 4, "depth": 1}, "evaluation": settings})


@pytest.fixture
def synthetic(tiny: ImageData) -> SyntheticSet:
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return SyntheticSet(images, labels_by_class(3, 1), {})


def test_random_images_are_of_the_training_set_and_of_each_class(tiny: ImageData) -> None:
    picked = random_real(tiny, 2, seed=0, draw=0)
    assert picked.labels.tolist() == [0, 0, 1, 1, 2, 2]
    train = {image.numpy().tobytes(): int(k) for image, k in zip(*tiny.train, strict=True)}
    assert [train[image.numpy().tobytes()] for image in picked.images] == picked.labels.tolist()
    assert torch.equal(picked.images, random_real(tiny, 2, seed=0, draw=0).images)
    others = [random_real(tiny, 2, seed=seed, draw=draw) for seed, draw in ((0, 1), (1, 0))]
    assert all(not torch.equal(picked.images, other.images) for other in others)


def test_the_set_s_scores_are_those_of_evaluate(tiny: ImageData, synthetic: SyntheticSet) -> None:
    config = make()
    found = score_fairly(synthetic, config, tiny, ranking=False)
    assert found.distilled == list(evaluate(synthetic, config, tiny, ("validation", "test")))
    assert found.comparison is None


def test_each_seed_has_random_images_of_its_own(
    tiny: ImageData, synthetic: SyntheticSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = []
    pick = random_real

    def record(*given: Any, **more: Any) -> SyntheticSet:
        draws.append(more["draw"])
        return pick(*given, **more)

    monkeypatch.setattr(scoring, "random_real", record)
    found = score_fairly(synthetic, make(student_seeds=3), tiny, ranking=False).random
    assert draws == [0, 1, 2]
    rows = [(item.student.name, item.student_seed, item.split) for item in found]
    assert len(set(rows)) == len(rows) == 2 * 3 * 2
    assert {item.recipe for item in found} == {
        item.recipe for item in score_fairly(synthetic, make(), tiny, ranking=False).distilled
    }


def test_nothing_is_trained_twice(
    tiny: ImageData, synthetic: SyntheticSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def record(images: SyntheticSet, config: TrialConfig, data: ImageData, splits: Any) -> Any:
        kind = "random" if images.provenance.get("method") == "random-real" else "set"
        runs.append((kind, config.evaluation.augmentation))
        return evaluate(images, config, data, splits)

    monkeypatch.setattr(scoring, "evaluate", record)
    found = score_fairly(synthetic, make(), tiny, ranking=True)
    # Without augmentation the recipe, the plain and the hard-label arm are one.
    assert runs.count(("set", "auto")) == 1
    assert runs.count(("random", "auto")) == 2
    assert runs.count(("set", "crop-scale-rotate")) == 1
    assert runs.count(("random", "crop-scale-rotate")) == 2
    assert len(runs) == 6
    assert found.comparison is not None
    assert found.comparison.recipe == found.comparison.hard == found.comparison.plain
    main = [
        item.score.accuracy
        for item in found.distilled
        if item.student.name == "convnet" and item.split == "test"
    ]
    assert found.comparison.recipe == pytest.approx(sum(main) / 2)


def test_soft_labels_have_a_hard_arm_of_their_own(tiny: ImageData) -> None:
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    soft = SyntheticSet(images, torch.eye(3) * 0.4 + 0.2, {})
    assert hard_labels(soft).labels.tolist() == [0, 1, 2]
    found = score_fairly(soft, make(epochs=20), tiny, ranking=True)
    hard = score_fairly(hard_labels(soft), make(epochs=20), tiny, ranking=True)
    assert found.comparison is not None
    assert hard.comparison is not None
    assert found.comparison.hard == hard.comparison.hard
    losses = [
        [item.score.loss for item in score.distilled if item.split == "test"]
        for score in (found, hard)
    ]
    assert losses[0] != losses[1]


def test_students_learn_soft_labels(tiny: ImageData) -> None:
    """Probabilities of 0 and 1 are hard labels, up to rounding."""
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    config = make(students=["mlp"])
    hard, soft = (
        [
            item.score.loss
            for item in evaluate(SyntheticSet(images, labels, {}), config, tiny, ("test",))
        ]
        for labels in (labels_by_class(3, 1), torch.eye(3))
    )
    assert soft == pytest.approx(hard, rel=1e-5)


def test_another_main_model_is_compared_where_it_is_no_student(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    with_main = score_fairly(synthetic, make(), tiny, ranking=True)
    without = score_fairly(synthetic, make(students=["mlp"]), tiny, ranking=True)
    assert with_main.comparison == without.comparison


def test_a_diverged_main_model_leaves_no_comparison(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    config = make(students=["mlp"], lr=1e30)
    assert score_fairly(synthetic, config, tiny, ranking=True).comparison is None


def test_training_on_all_images_is_plain_sgd(tiny: ImageData) -> None:
    """The same as torch's loop over the whole set, since a batch holds all of it."""
    config = make()
    found = train_on_all(config, tiny, epochs=5, k=0)
    from harness import seeding
    from harness.networks import build_network

    network = build_network(
        config.network,
        in_shape=tiny.in_shape,
        classes=3,
        generator=seeding.generator(config.seed, "all-real-network", 0),
    )
    for epoch in range(5):
        if epoch in (0, 3):
            lr = 0.01 if epoch == 0 else 0.001
        if epoch == 0:
            optimizer = torch.optim.SGD(
                network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4
            )
        optimizer.param_groups[0]["lr"] = lr
        loss = nn.functional.cross_entropy(network(tiny.train.images), tiny.train.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        logits = network(tiny.test.images)
    expected = float(nn.functional.cross_entropy(logits, tiny.test.labels))
    assert found.loss == pytest.approx(expected, rel=1e-4)
    assert found.accuracy > 0.5
    assert train_on_all(config, tiny, epochs=5, k=1) != found
    assert baselines._BATCH == 512
