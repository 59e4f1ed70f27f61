"""Tests of harness.schema: what other people's scripts read does not change unnoticed."""

from typing import get_args

from harness.schema import (
    COLUMNS,
    FINISHED,
    SCHEMA_VERSION,
    STATUSES,
    TEST_UNSEEN_MEAN,
    UNSEEN_MEAN,
    Status,
)

VERSION_1 = [
    "search",
    "trial_id",
    "status",
    "protocol",
    "dataset",
    "method",
    "ipc",
    "iterations",
    "pool",
    "main_model",
    "main_probability",
    "kd_variant",
    "kd_temperature",
    "kd_alpha",
    "teacher_accuracy",
    "track",
    "elf_loss",
    "seed",
    "replicate",
    "student",
    "student_in_pool",
    "student_seed",
    "epochs",
    "augmentation",
    "optimizer",
    "split",
    "accuracy",
    "loss",
    "n_images",
    "distill_s",
    "distill_cost_s",
    "eval_s",
    "peak_gib",
    "device",
    "threads",
    "git_hash",
    "schema_version",
]


def test_columns_of_version_1() -> None:
    assert SCHEMA_VERSION == 1
    assert [column.name for column in COLUMNS] == VERSION_1


def test_every_column_has_a_type_and_a_meaning() -> None:
    assert {column.type for column in COLUMNS} <= {"string", "int64", "float64", "bool"}
    assert all(column.meaning and not column.meaning.endswith(".") for column in COLUMNS)


def test_statuses() -> None:
    assert get_args(Status) == STATUSES
    assert set(STATUSES) > FINISHED
    assert "not_run" not in FINISHED
    assert not {"error", "oom", "interrupted"} & FINISHED


def test_validation_is_optimised_and_test_is_not() -> None:
    assert UNSEEN_MEAN == "validation/unseen_mean"
    assert TEST_UNSEEN_MEAN == "test/unseen_mean"
