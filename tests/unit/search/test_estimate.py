"""Tests of harness.search.estimate."""

import tomllib

import pytest

from harness.search.estimate import Estimate, estimate
from harness.search.plan import PlannedTrial, make_plan
from harness.search.space import read_space

BASE = """
[base]
iterations = 100
evaluation.students = ["main", "mlp", "mlp", "convnet"]
evaluation.student_seeds = 3
"""


def plan_of(space: str, search: str = "") -> list[PlannedTrial]:
    text = f"{BASE}[space]\n{space}\n[search]\n{search}"
    return make_plan(read_space(tomllib.loads(text), "a.toml", {}))


@pytest.mark.parametrize(
    ("space", "search", "expected"),
    [
        ("seed = { grid = [0, 1] }", "", Estimate(2, 2, 200, 12)),
        ("ipc = { grid = [1, 10] }", "replicates = 5", Estimate(10, 10, 1000, 60)),
        (
            "kd.variant = { grid = ['off', 'softened', 'legacy'] }",
            "replicates = 2",
            Estimate(6, 2, 200, 36),
        ),
        ("evaluation.lr = { grid = [0.1, 0.2] }", "", Estimate(2, 1, 100, 12)),
    ],
)
def test_counts(space: str, search: str, expected: Estimate) -> None:
    assert estimate(plan_of(space, search)) == expected


def test_longer_runs_of_one_distillation_count_once() -> None:
    text = "[space]\niterations = { grid = [100, 200, 400] }\nseed = { grid = [0, 1] }"
    plan = make_plan(read_space(tomllib.loads(text), "a.toml", {}))
    assert estimate(plan) == Estimate(trials=6, distillations=2, iterations=800, students=6 * 6 * 5)


def test_baselines_have_no_iterations_and_are_made_once() -> None:
    text = (
        "[space]\nmethod = { grid = ['random-real', 'full-data'] }\n"
        "iterations = { grid = [100, 200] }\nseed = { grid = [0, 1] }"
    )
    plan = make_plan(read_space(tomllib.loads(text), "a.toml", {}))
    assert estimate(plan) == Estimate(trials=8, distillations=3, iterations=0, students=8 * 6 * 5)


def test_an_empty_plan() -> None:
    assert estimate([]) == Estimate(0, 0, 0, 0)


def test_text() -> None:
    assert Estimate(6, 2, 600, 36).text() == (
        "6 trials, 2 different distillations, 600 iterations, 36 student networks"
    )
