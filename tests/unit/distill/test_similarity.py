"""Cosines of image gradients: against their definition, and in a trial's record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import seeding
from harness.architecture import Architecture
from harness.config import TrialConfig, make_config
from harness.context import Context
from harness.datasets import ImageData
from harness.distill import build_distiller
from harness.distill.learner import BATCH_NORM_IMAGES
from harness.distill.similarity import similarities
from harness.networks import build_network
from harness.pool import other_members
from harness.synthetic import SyntheticSet
from harness.trial import run_trial
from tests.reference import dc as reference_dc
from tests.reference import matching, similarity

OTHERS = [
    {"network": "convnet-w4-d1-batchnorm", "weight": 0.75},
    {"network": "convnet-w4-d1-sigmoid", "weight": 0.25},
]


def configure(**more: Any) -> TrialConfig:
    base: dict[str, Any] = {
        "iterations": 3,
        "batch_real": 5,
        "network": {"width": 4, "depth": 1},
        "pool": {"others": OTHERS},
        "evaluation": {"students": ["mlp"], "student_seeds": 1, "epochs": 1},
        "run": {"similarity_draws": 2},
    }
    return make_config({**base, **more})


def start(config: TrialConfig, data: ImageData) -> SyntheticSet:
    synthetic = build_distiller(config, data, torch.device("cpu")).synthetic()
    assert synthetic is not None
    return synthetic


def plain_gradient(
    config: TrialConfig, data: ImageData, images: Tensor, label: str, role: str, draw: int
) -> Tensor:
    network = build_network(
        Architecture.parse(label),
        in_shape=data.in_shape,
        classes=3,
        generator=seeding.generator(config.seed, f"similarity-{role}", label, draw),
    )

    def rows(kind: str, size: int) -> list[Tensor]:
        found = []
        for k in range(3):
            own = torch.nonzero(data.train.labels == k).flatten()
            rng = seeding.generator(config.seed, kind, draw, k)
            found.append(data.train.images[own[torch.randperm(len(own), generator=rng)[:size]]])
        return found

    if "batchnorm" in label:
        shown = torch.cat(rows("similarity-batch-norm", BATCH_NORM_IMAGES))
        reference_dc.set_batch_norms(network, shown)
    return matching.match(network, images, 1, rows("similarity-batch", 5))[1]


def test_it_agrees_with_its_definition(tiny: ImageData) -> None:
    config = configure()
    synthetic = start(config, tiny)
    members = other_members(config.pool, config.network)
    found = similarities(synthetic, config, tiny, members, 2)
    expected = similarity.pool_similarity(
        lambda *address: plain_gradient(config, tiny, synthetic.images, *address),
        config.network.label,
        {item["network"]: item["weight"] for item in OTHERS},  # type: ignore[misc]
        2,
    )
    assert found["others"] == pytest.approx(expected, abs=1e-4)
    assert set(found["members"]) == {item["network"] for item in OTHERS}


def test_the_main_model_is_what_a_pool_can_reach(tiny: ImageData) -> None:
    """Others that are the main model are as near to it as it is itself, and that is not 1."""
    pool = {"others": [{"network": "convnet-w4-d1", "weight": 1.0}]}
    config = configure(pool=pool)
    members = other_members(config.pool, config.network)
    found = similarities(start(config, tiny), config, tiny, members, 3)
    assert found["others"] == found["main"]
    assert 0.0 < found["main"] < 0.999


def test_a_gradient_that_is_not_finite_has_no_cosine(tiny: ImageData) -> None:
    config = configure()
    synthetic = start(config, tiny)
    broken = replace(synthetic, images=synthetic.images * float("nan"))
    found = similarities(broken, config, tiny, other_members(config.pool, config.network), 1)
    assert found["others"] is found["main"] is None


def run(config: TrialConfig, data: ImageData, folder: Path) -> dict[str, Any]:
    return run_trial(
        config, Context(folder=folder, device=torch.device("cpu"), data=data, trial_id="t")
    )


def test_it_is_recorded_and_changes_nothing(tiny: ImageData, tmp_path: Path) -> None:
    config, without = configure(), configure(run={})
    assert config.digest() == without.digest()
    record, other = run(config, tiny, tmp_path / "a"), run(without, tiny, tmp_path / "b")
    sets = [(tmp_path / name / "distilled.safetensors").read_bytes() for name in ("a", "b")]
    assert sets[0] == sets[1]
    assert other["pool_similarity"] is None
    assert record["timings"]["similarity_s"] > 0.0
    ends = [record["pool_similarity"][name] for name in ("initial", "final")]
    metrics = record["metrics"]
    assert metrics["pool/similarity_initial"] == ends[0]["others"] != ends[1]["others"]
    assert metrics["pool/similarity_final"] == ends[1]["others"]
    assert metrics["pool/similarity"] == pytest.approx(sum(end["others"] for end in ends) / 2)
    assert metrics["pool/similarity_main"] == pytest.approx(sum(end["main"] for end in ends) / 2)
    assert ends[0] == similarities(
        start(config, tiny), config, tiny, other_members(config.pool, config.network), 2
    )


@pytest.mark.parametrize("more", [{"method": "random-real"}, {"pool": {"main_probability": 1.0}}])
def test_where_there_is_no_pool_nothing_is_measured(
    tiny: ImageData, tmp_path: Path, more: dict[str, Any]
) -> None:
    record = run(configure(**more), tiny, tmp_path / "a")
    assert record["pool_similarity"] is None
    assert "pool/similarity" not in record["metrics"]
