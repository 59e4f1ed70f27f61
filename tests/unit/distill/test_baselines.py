"""Baselines: methods like any other, which select real images and ignore ``iterations``."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans as SklearnKMeans

from harness import distilling, seeding
from harness.config import BASELINES, TrialConfig, make_config
from harness.context import Context
from harness.datasets import ImageData
from harness.distill import build_distiller
from harness.distill.kmeans import cluster, nearest
from harness.distill.selection import Selection
from harness.errors import ConfigError, DataError
from harness.evaluate.baselines import random_real, real_network
from harness.evaluate.training import Recipe
from harness.networks import build_network
from harness.store import Store
from harness.synthetic import load_synthetic
from harness.trial import run_trial
from tests.reference import kmeans as reference
from tests.reference import real as real_reference

CPU = torch.device("cpu")


def configure(method: str, **more: Any) -> TrialConfig:
    base: dict[str, Any] = {
        "method": method,
        "ipc": 2,
        "outer_loop": 1,
        "inner_loop": 1,
        "iterations": 50,
        "network": {"width": 4, "depth": 1},
        "kmeans": {"epochs": 2},
        "evaluation": {"students": ["main", "mlp"], "student_seeds": 1, "epochs": 2},
    }
    return make_config({**base, **more})


def select(config: TrialConfig, data: ImageData) -> Selection:
    method = build_distiller(config, data, CPU)
    assert isinstance(method, Selection)
    return method


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", warn=lambda _: None)


def run(config: TrialConfig, data: ImageData, folder: Path, store: Store | None) -> dict[str, Any]:
    context = Context(folder=folder, device=CPU, data=data, trial_id=folder.name, store=store)
    return run_trial(config, context)


# --- Selections -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random-real", "kmeans"])
def test_a_selection_is_ipc_different_real_images_of_each_class(
    tiny: ImageData, method: str
) -> None:
    synthetic = select(configure(method), tiny).synthetic()
    assert synthetic.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert isinstance(tiny.train.images, torch.Tensor)
    rows = []
    for image, label in zip(synthetic.images, synthetic.labels, strict=True):
        (found,) = [i for i, real in enumerate(tiny.train.images) if torch.equal(real, image)]
        assert tiny.train.labels[found] == label
        rows.append(found)
    assert len(set(rows)) == 6


def test_random_real_is_the_draw_that_evaluate_compares_with(tiny: ImageData) -> None:
    chosen = select(configure("random-real", seed=3), tiny).synthetic()
    assert torch.equal(chosen.images, random_real(tiny, 2, seed=3, draw=0).images)
    other = select(configure("random-real", seed=4), tiny).synthetic()
    assert not torch.equal(chosen.images, other.images)


@pytest.mark.parametrize("method", ["random-real", "kmeans"])
def test_a_selection_survives_its_state(tiny: ImageData, method: str) -> None:
    first = select(configure(method), tiny)
    again = select(configure(method, seed=1), tiny)
    again.load_state_dict(first.state_dict())
    assert torch.equal(first.synthetic().images, again.synthetic().images)


@pytest.mark.parametrize("method", ["random-real", "kmeans"])
def test_too_few_images_of_a_class_are_an_error(tiny: ImageData, method: str) -> None:
    with pytest.raises(DataError, match=r"class 0: got 12 .* ipc = 13; lower ipc"):
        select(configure(method, ipc=13), tiny).synthetic()


def test_no_baseline_has_an_iteration_to_do(tiny: ImageData) -> None:
    for method in BASELINES:
        with pytest.raises(AssertionError, match="no iterations"):
            build_distiller(configure(method), tiny, CPU).step()


# --- K-means --------------------------------------------------------------------------------


def points(n: int = 30, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn((n, 3), generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("clusters", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_those_of_lloyd_in_plain_python(clusters: int, seed: int) -> None:
    found = cluster(points(), clusters, torch.Generator().manual_seed(seed))
    fixed = reference.lloyd(points().tolist(), found.tolist())
    torch.testing.assert_close(torch.tensor(fixed, dtype=torch.float64), found)
    assert nearest(points(), found).tolist() == reference.choose(points().tolist(), fixed)


def test_clusters_are_as_tight_as_sklearn_s() -> None:
    blobs = torch.cat([points(10, k) * 0.1 + 5 * k for k in range(4)])
    best = SklearnKMeans(4, n_init=10, random_state=0).fit(blobs.numpy())
    centres = cluster(blobs, 4, torch.Generator().manual_seed(0))
    inertia = float(torch.cdist(blobs, centres).min(1).values.square().sum())
    assert inertia == pytest.approx(best.inertia_)


def test_equal_images_do_not_stop_it_and_none_is_taken_twice() -> None:
    same = torch.ones((5, 3), dtype=torch.float64)
    centres = cluster(same, 3, torch.Generator().manual_seed(0))
    assert sorted(nearest(same, centres).tolist()) == [0, 1, 2]


def test_kmeans_depends_on_the_features(tiny: ImageData) -> None:
    one = select(configure("kmeans"), tiny).choose()
    other = select(configure("kmeans", network={"width": 8, "depth": 2}), tiny).choose()
    assert not torch.equal(one, other)


# --- All real images ------------------------------------------------------------------------


def test_training_on_real_images_is_torch_s_own_loop(tiny: ImageData) -> None:
    config = configure("full-data")
    found = real_network(
        config.network, tiny, Recipe(5, 0.02, 16, "none"), seed=7, address=("student", "x", 1)
    )
    expected = build_network(
        config.network,
        in_shape=tiny.in_shape,
        classes=3,
        generator=seeding.generator(7, "student-network", "x", 1),
    )
    assert isinstance(tiny.train.images, torch.Tensor)
    orders = [
        torch.randperm(36, generator=seeding.generator(7, "student-order", "x", 1, epoch))
        for epoch in range(5)
    ]
    real_reference.train(
        expected, tiny.train.images, tiny.train.labels, orders=orders, lr=0.02, batch=16
    )
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_its_recipe_is_dd_ranking_s() -> None:
    config = make_config({"method": "full-data"})
    recipe = config.evaluation
    assert (recipe.epochs, recipe.batch, recipe.lr) == (200, 512, 0.01)
    given = make_config({"method": "full-data", "evaluation": {"epochs": 3, "batch": 8}})
    assert (given.evaluation.epochs, given.evaluation.batch) == (3, 8)
    assert make_config(json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kd": {"variant": "softened"}}, "kd.variant: got 'softened', but method 'full-data'"),
        (
            {"evaluation": {"augmentation": "crop-noise"}},
            "evaluation.augmentation: got 'crop-noise', but method 'full-data' trains without",
        ),
    ],
)
def test_what_all_real_images_cannot_have_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure("full-data", **more)


# --- As trials ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", BASELINES)
def test_a_baseline_is_a_trial_that_asks_for_no_quick_score(
    tiny: ImageData, tmp_path: Path, store: Store, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> float:
        raise AssertionError("a baseline has no way to score")

    monkeypatch.setattr(distilling, "quick_score", never)
    config = configure(method, run={"report_every": 1, "checkpoint_every": 1})
    record = run(config, tiny, tmp_path / "a", store)
    assert record["status"] == "ok"
    assert record["matching_loss"] == record["pool_draws"]["draws"] == []
    rows = pd.read_parquet(tmp_path / "a" / "evaluations.parquet")
    assert rows["iterations"].tolist() == 4 * [50]
    assert rows["method"].tolist() == 4 * [method]
    assert not rows["student_in_pool"].any()
    assert rows["accuracy"].notna().all()
    assert ("distilled.safetensors" in record["files"]) is (method != "full-data")


@pytest.mark.parametrize("method", BASELINES)
def test_what_a_baseline_ignores_gives_the_same_set_from_one_entry(
    tiny: ImageData, tmp_path: Path, store: Store, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = configure(method)
    other = configure(method, iterations=7, pool={"main_probability": 0.5}, lr_img=1.0, ipc=2)
    assert first.lineage() == other.lineage()
    run(first, tiny, tmp_path / "a", store)
    monkeypatch.setattr(
        Selection, "choose", lambda _: pytest.fail("a stored selection is made again")
    )
    record = run(other, tiny, tmp_path / "b", store)
    assert record["status"] == "ok"
    if method != "full-data":
        sets = [tmp_path / name / "distilled.safetensors" for name in ("a", "b")]
        assert sets[0].read_bytes() == sets[1].read_bytes()
        recorded = load_synthetic(sets[0]).provenance["distillation"]
        assert make_config(recorded).lineage() == first.lineage()


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("random-real", [{"ipc": 1}, {"seed": 1}, {"protocol": "paper"}]),
        ("kmeans", [{"ipc": 1}, {"seed": 1}, {"kmeans": {"epochs": 3}}, {"network": {"depth": 2}}]),
        ("full-data", [{"protocol": "paper"}, {"dataset": {"name": "mnist"}}]),
    ],
)
def test_what_a_set_depends_on_is_in_its_lineage(
    method: str, changes: list[dict[str, Any]]
) -> None:
    lineages = [configure(method, **change).lineage() for change in [{}, *changes]]
    assert len({json.dumps(item, sort_keys=True) for item in lineages}) == len(lineages)


def test_students_of_all_real_images_start_as_those_of_a_set(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a difference between the two is one of the images, not of the weights."""
    drawn: dict[str, list[tuple[str, ...]]] = {}
    original = seeding.generator
    for method in ("random-real", "full-data"):
        addresses = drawn.setdefault(method, [])

        def noted(seed: int, role: str, *index: int | str) -> torch.Generator:
            if role == "student-network":
                addresses.append((str(seed), *map(str, index)))  # noqa: B023
            return original(seed, role, *index)

        monkeypatch.setattr(seeding, "generator", noted)
        run(configure(method), tiny, tmp_path / method, None)
    assert drawn["random-real"] == drawn["full-data"] != []
