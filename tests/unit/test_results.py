"""Rows and metrics of a trial."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.architecture import Architecture
from harness.config import TrialConfig, make_config
from harness.evaluate import StudentScore
from harness.evaluate.training import Recipe, Score
from harness.records import write_rows
from harness.results import common_columns, diverged_rows, metrics, student_rows
from harness.schema import COLUMNS, TEST_UNSEEN_MEAN, UNSEEN_MEAN

MAIN = Architecture(width=4)
NAN, INF = math.nan, math.inf
RECORD: dict[str, Any] = {
    "search": None,
    "trial_id": "t",
    "replicate": 2,
    "timings": {"distill_s": 1.5, "distill_cost_s": 2.5, "eval_s": 0.5},
    "peak_gib": 0.25,
    "device": "cpu",
    "provenance": {"git_hash": None},
    "schema_version": 1,
}


def make_score(
    label: str,
    seed: int,
    accuracy: float,
    *,
    split: str = "validation",
    loss: float = 1.0,
    teacher: float | None = None,
) -> StudentScore:
    return StudentScore(
        student=Architecture.parse(label),
        student_seed=seed,
        recipe=Recipe(300, 0.01, 256, "none"),
        split=split,
        score=Score(accuracy, loss, 18),
        teacher_accuracy=teacher,
    )


def configure(**more: Any) -> TrialConfig:
    return make_config({"network": {"width": 4}, **more})


# --- Metrics --------------------------------------------------------------------------------


def test_unseen_and_main_means_by_split() -> None:
    scores = [
        make_score("convnet-w4", 0, 0.9),
        make_score("convnet-w4", 1, 0.7),
        make_score("mlp", 0, 0.5),
        make_score("mlp", 1, 0.3),
        make_score("lenet", 0, 0.2),
        make_score("lenet", 1, 0.4),
        make_score("mlp", 0, 0.1, split="test"),
    ]
    assert metrics(scores, MAIN) == {
        UNSEEN_MEAN: pytest.approx(0.35),
        "validation/main": pytest.approx(0.8),
        TEST_UNSEEN_MEAN: pytest.approx(0.1),
        "test/main": None,
    }


@pytest.mark.parametrize("loss", [NAN, INF])
def test_each_architecture_weighs_the_same_however_many_networks_diverged(loss: float) -> None:
    scores = [
        make_score("mlp", 0, 0.6),
        make_score("mlp", 1, 0.1, loss=loss),
        make_score("mlp", 2, 0.1, loss=loss),
        make_score("lenet", 0, 0.2),
        make_score("lenet", 1, 0.2),
        make_score("lenet", 2, 0.2),
    ]
    assert metrics(scores, MAIN)[UNSEEN_MEAN] == pytest.approx(0.4)


def test_an_architecture_without_a_finite_network_leaves_no_mean() -> None:
    scores = [
        make_score("mlp", 0, 0.6),
        make_score("lenet", 0, 0.1, loss=NAN),
        make_score("convnet-w4", 0, 0.8),
    ]
    assert metrics(scores, MAIN) == {UNSEEN_MEAN: None, "validation/main": 0.8}


def test_the_searched_metric_is_always_there() -> None:
    assert metrics([], MAIN) == {UNSEEN_MEAN: None}
    only_test = metrics([make_score("mlp", 0, 0.5, split="test")], MAIN)
    assert only_test == {UNSEEN_MEAN: None, TEST_UNSEEN_MEAN: 0.5, "test/main": None}


def test_the_main_model_is_never_among_the_unseen() -> None:
    assert metrics([make_score("convnet-w4", 0, 0.5)], MAIN)[UNSEEN_MEAN] is None
    # A ConvNet of another width is another architecture.
    assert metrics([make_score("convnet", 0, 0.5)], MAIN)[UNSEEN_MEAN] == 0.5


# --- Rows -----------------------------------------------------------------------------------


def test_common_columns_come_from_config_and_record() -> None:
    config = configure(
        seed=7,
        ipc=10,
        kd={"variant": "softened", "temperature": 2.0, "alpha": 0.25},
        pool={"others": [{"network": "lenet", "weight": 1.0}], "main_probability": 0.75},
    )
    common = common_columns(config, RECORD)
    assert list(common) == [column.name for column in COLUMNS]
    assert {name: value for name, value in common.items() if value is not None} == {
        "trial_id": "t",
        "protocol": "held-out",
        "dataset": "digits",
        "method": "dc",
        "ipc": 10,
        "iterations": 1000,
        "pool": "lenet:1",
        "main_model": "convnet-w4",
        "main_probability": 0.75,
        "kd_variant": "softened",
        "kd_temperature": 2.0,
        "kd_alpha": 0.25,
        "track": "distilled",
        "elf_loss": "off",
        "seed": 7,
        "replicate": 2,
        "distill_s": 1.5,
        "distill_cost_s": 2.5,
        "eval_s": 0.5,
        "peak_gib": 0.25,
        "device": "cpu",
        "threads": 1,
        "schema_version": 1,
    }


def test_a_student_has_a_row_with_its_own_status() -> None:
    config = configure()
    scores = [
        make_score("mlp", 3, 0.5, split="test", teacher=0.75),
        make_score("mlp", 4, 0.1, loss=NAN),
    ]
    common = common_columns(config, RECORD)
    fine, diverged = student_rows(common, config, scores)
    own = {name: value for name, value in fine.items() if common[name] is None}
    assert own == {
        "search": None,
        "git_hash": None,
        "kd_temperature": None,
        "kd_alpha": None,
        "status": "ok",
        "teacher_accuracy": 0.75,
        "student": "mlp",
        "student_in_pool": False,
        "student_seed": 3,
        "epochs": 300,
        "augmentation": "none",
        "optimizer": "sgd",
        "split": "test",
        "accuracy": 0.5,
        "loss": 1.0,
        "n_images": 18,
    }
    assert diverged["status"] == "diverged"
    assert diverged["accuracy"] is None
    assert diverged["loss"] is None
    assert diverged["n_images"] == 18


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.9, [True, True, False]), (1.0, [True, False, False]), (0.0, [False, True, False])],
)
def test_rows_mark_what_the_pool_could_draw(probability: float, expected: list[bool]) -> None:
    others = [{"network": "lenet", "weight": 1.0}]
    config = configure(pool={"others": others, "main_probability": probability})
    scores = [make_score(label, 0, 0.5) for label in ("convnet-w4", "lenet", "mlp")]
    rows = student_rows(common_columns(config, RECORD), config, scores)
    assert [row["student_in_pool"] for row in rows] == expected


def test_a_diverged_distillation_has_a_row_a_split_without_a_student() -> None:
    rows = diverged_rows(common_columns(configure(), RECORD), ("validation", "test"))
    assert [row["split"] for row in rows] == ["validation", "test"]
    for row in rows:
        assert row["status"] == "diverged"
        assert row["student"] is None
        assert row["accuracy"] is None


def test_rows_fit_the_columns_of_the_file(tmp_path: Path) -> None:
    config = configure()
    common = common_columns(config, RECORD)
    rows = student_rows(common, config, [make_score("mlp", 0, 0.5)])
    rows += diverged_rows(common, ("test",))
    write_rows(tmp_path / "rows.parquet", rows)
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(frame.columns) == [column.name for column in COLUMNS]
    assert len(frame) == 2
