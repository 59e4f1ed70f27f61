"""Tests of harness.search.proposals: real Optuna, made-up trials, no torch."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.records import write_json
from harness.schema import UNSEEN_MEAN
from harness.search.algorithms import check_installed
from harness.search.estimate import describe_size
from harness.search.folder import SearchFolder, open_search
from harness.search.front import non_dominated
from harness.search.parameters import Point
from harness.search.plan import PlannedTrial, read_plan
from harness.search.proposals import Proposals
from harness.search.space import Space, read_space
from harness.search.study import OptunaProposals

pytest.importorskip("optuna")

TPE = """
[space]
pool.main_probability = { uniform = [0.0, 1.0] }
kd.variant = { choice = ["off", "softened"] }
kd.temperature = { loguniform = [0.5, 8.0], when = { "kd.variant" = "softened" } }
pool.others = { choice = ["similar", [{ network = "lenet", weight = 1.0 }]] }
iterations = { randint = [10, 1000] }
[search]
algorithm = "tpe"
samples = 30
"""
NSGA2 = """
[space]
ipc = { choice = [1, 10, 20, 30, 40, 50] }
lr_img = { uniform = [0.01, 1.0] }
[search]
algorithm = "nsga2"
samples = 60
metric = ["validation/unseen_mean", "distill_cost_s"]
mode = ["max", "min"]
"""


def space_of(text: str, **overrides: Any) -> Space:
    return read_space(tomllib.loads(text), "a.toml", overrides)


def opened(path: Path, text: str = TPE, **search: Any) -> SearchFolder:
    overrides = {f"search.{name}": value for name, value in search.items()}
    folder = open_search(path, space_of(text, **overrides))
    folder.prepare()
    return folder


def finish(
    folder: SearchFolder,
    trial: PlannedTrial,
    score: float | None,
    *,
    status: str = "ok",
    **more: Any,
) -> None:
    metrics = {} if score is None else {UNSEEN_MEAN: score, "validation/main": 1.0}
    path = folder.trial_folder(trial)
    path.mkdir()
    timings = {"distill_cost_s": 1.0, **more}
    data = {"status": status, "metrics": metrics, "timings": timings, "diagnostics": {}}
    write_json(path / "trial.json", data)


def height(point: Point) -> float:
    """A score whose best is a main probability of 0.3, KD off."""
    bonus = 0.1 if point["kd.variant"] == "off" else 0.0
    return 0.8 - abs(float(point["pool.main_probability"]) - 0.3) + bonus


def run(folder: SearchFolder, proposals: Proposals, score: Callable[[Point], float]) -> None:
    while trials := proposals.next():
        for trial in trials:
            finish(folder, trial, score(trial.point))
            proposals.ended(trial)


def test_it_plans_before_it_runs_and_ends_with_its_samples(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    assert (folder.plan, folder.to_propose()) == ((), 30)
    proposals = OptunaProposals(folder)
    (first,) = proposals.next()
    assert read_plan(tmp_path / "plan.jsonl") == [first]
    finish(folder, first, 0.5)
    proposals.ended(first)
    run(folder, proposals, height)
    assert len(folder.plan) == 30
    assert folder.to_propose() == 0
    assert open_search(tmp_path, space_of(TPE)).plan == folder.plan


def test_values_keep_to_the_space_and_its_conditions(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    run(folder, OptunaProposals(folder), height)
    for trial in folder.plan:
        point = trial.point
        assert ("kd.temperature" in point) is (point["kd.variant"] == "softened")
        assert 0.0 <= point["pool.main_probability"] <= 1.0
        assert 10 <= point["iterations"] <= 1000
        assert point["pool.others"] in ("similar", [{"network": "lenet", "weight": 1.0}])
    assert {type(trial.point["pool.others"]) for trial in folder.plan} == {str, list}


def test_it_learns(tmp_path: Path) -> None:
    """The last third is nearer to the best than the first, which is drawn at random."""
    folder = opened(tmp_path)
    run(folder, OptunaProposals(folder), height)
    scores = [height(trial.point) for trial in folder.plan]
    assert sum(scores[20:]) / 10 > sum(scores[:10]) / 10 + 0.1


def test_it_learns_the_way_that_mode_says(tmp_path: Path) -> None:
    folder = opened(tmp_path, mode="min")
    run(folder, OptunaProposals(folder), height)
    scores = [height(trial.point) for trial in folder.plan]
    assert sum(scores[20:]) / 10 < sum(scores[:10]) / 10 - 0.1


def test_a_resumed_search_knows_what_was_and_draws_nothing_twice(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    first = OptunaProposals(folder)
    for _ in range(12):
        (trial,) = first.next()
        finish(folder, trial, height(trial.point))
        first.ended(trial)
    again = open_search(tmp_path, space_of(TPE))
    run(again, OptunaProposals(again), height)
    assert len(again.plan) == 30
    assert again.plan[:12] == folder.plan
    probabilities = [trial.point["pool.main_probability"] for trial in again.plan]
    assert len(set(probabilities)) == 30
    scores = [height(trial.point) for trial in again.plan]
    assert sum(scores[20:]) / 10 > sum(scores[:10]) / 10 + 0.1


def test_a_planned_trial_that_was_not_run_is_missing_and_is_learned_from_later(
    tmp_path: Path,
) -> None:
    folder = opened(tmp_path, samples=2)
    OptunaProposals(folder).next()
    again = open_search(tmp_path, space_of(TPE, **{"search.samples": 2}))
    assert again.missing() == list(folder.plan)
    proposals = OptunaProposals(again)
    finish(again, again.plan[0], 0.5)
    proposals.ended(again.plan[0])
    proposals.ended(again.plan[0])  # told twice, it counts once
    assert [trial.value for trial in proposals._study.trials] == [0.5]


def test_replicates_are_one_configuration(tmp_path: Path) -> None:
    folder = opened(tmp_path, samples=2, replicates=3)
    proposals = OptunaProposals(folder)
    trials = proposals.next()
    assert [trial.config.seed for trial in trials] == [0, 1, 2]
    for trial, score in zip(trials, (0.1, 0.2, 0.6), strict=True):
        assert [item.value for item in proposals._study.get_trials(states=None)] == [None]
        finish(folder, trial, score)
        proposals.ended(trial)
    assert [item.value for item in proposals._study.trials] == [pytest.approx(0.3)]


def test_replicates_that_a_kill_kept_off_the_plan_come_back(tmp_path: Path) -> None:
    folder = opened(tmp_path, samples=2, replicates=3)
    OptunaProposals(folder).next()
    path = tmp_path / "plan.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    again = opened(tmp_path, samples=2, replicates=3)
    assert again.plan == folder.plan == tuple(read_plan(path))


@pytest.mark.parametrize("status", ["diverged", "error", "oom"])
def test_what_has_no_score_is_told_as_failed(tmp_path: Path, status: str) -> None:
    folder = opened(tmp_path, samples=2)
    proposals = OptunaProposals(folder)
    (trial,) = proposals.next()
    finish(folder, trial, None, status=status)
    proposals.ended(trial)
    assert [item.state.name for item in proposals._study.trials] == ["FAIL"]
    assert [item.state.name for item in OptunaProposals(folder)._study.trials] == ["FAIL"]
    assert proposals.next()


def test_a_limit_counts_trials(tmp_path: Path) -> None:
    folder = opened(tmp_path, replicates=2)
    proposals = OptunaProposals(folder, limit=3)
    assert [len(proposals.next()) for _ in range(3)] == [2, 1, 0]
    assert len(folder.missing()) == 4


def test_samples_are_added(tmp_path: Path) -> None:
    folder = opened(tmp_path, samples=2)
    run(folder, OptunaProposals(folder), height)
    more = open_search(tmp_path, space_of(TPE, **{"search.samples": 2}), add_samples=3)
    more.prepare()
    assert more.to_propose() == 3
    run(more, OptunaProposals(more), height)
    assert len(more.plan) == 5


def test_gp_proposes_too(tmp_path: Path) -> None:
    folder = opened(tmp_path, algorithm="gp", samples=3)
    run(folder, OptunaProposals(folder), height)
    assert len(folder.plan) == 3


# --- Several metrics ------------------------------------------------------------------------


def accuracy(point: Point) -> float:
    return 0.3 + 0.01 * float(point["ipc"]) - abs(float(point["lr_img"]) - 0.2)


def test_nsga2_moves_towards_a_front_that_nothing_dominates(tmp_path: Path) -> None:
    folder = opened(tmp_path, NSGA2)
    proposals = OptunaProposals(folder)
    while trials := proposals.next():
        (trial,) = trials
        # What the set costs, not what this trial spent: a hit in the store is not cheap.
        cost = float(trial.point["ipc"])
        finish(folder, trial, accuracy(trial.point), distill_cost_s=cost, distill_s=0.0)
        proposals.ended(trial)
    rows = [(accuracy(t.point), float(t.point["ipc"])) for t in folder.plan]
    told = {item.number for item in proposals._study.best_trials}
    assert told == set(non_dominated(rows, ["max", "min"]))
    off = [abs(float(trial.point["lr_img"]) - 0.2) for trial in folder.plan]
    assert sum(off[40:]) / 20 < sum(off[:12]) / 12


def test_nsga2_goes_on_with_its_generation(tmp_path: Path) -> None:
    folder = opened(tmp_path, NSGA2)
    first = OptunaProposals(folder)
    for _ in range(30):
        (trial,) = first.next()
        finish(folder, trial, accuracy(trial.point), distill_cost_s=1.0)
        first.ended(trial)
    again = OptunaProposals(folder)
    assert [item.values for item in again._study.trials] == [
        item.values for item in first._study.trials
    ]
    (trial,) = again.next()
    key = "NSGAIISampler:generation"
    assert [item.system_attrs[key] for item in again._study.trials] == [
        item.system_attrs[key] for item in first._study.trials
    ] + [30 // 12]


# --- What is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"algorithm": "bohb"}, r"HyperBandForBOHB pauses, and nothing .*; use 'tpe'"),
        ({"algorithm": "zoopt"}, r"zoopt 0\.4\.2\) has no loguniform; use 'tpe'"),
        ({"algorithm": "hebo"}, r"HEBO 0\.3\.6 needs numpy < 1\.25 .*use 'tpe'"),
        ({"algorithm": "ax"}, r"ax-platform 1\.3\.1"),
        ({"algorithm": "hyperopt"}, r"space\.kd\.temperature\.when: got a condition.* use 'tpe'"),
        ({"algorithm": "nevergrad"}, "which chooses all settings every time"),
        ({"algorithm": "bayesopt"}, r"others: got 'choice'.*numbers between bounds .*'gp'"),
        ({"algorithm": "optuna"}, "use 'tpe', 'gp' or 'nsga2'"),
        ({"algorithm": "tpee"}, "did you mean 'tpe'"),
        ({"metric": ["validation/main", "ipc"], "mode": ["max", "min"]}, "'nsga2' has several"),
        ({"metric": "distill_cost_s"}, "search.metric: got 'distill_cost_s'"),
        ({"metric": "test/main"}, "recorded, never optimised"),
        ({"samples": None}, "search.samples: missing, expected a number for algorithm 'tpe'"),
    ],
)
def test_wrong_searches_say_why(search: dict[str, Any], words: str) -> None:
    overrides = {f"search.{name}": value for name, value in search.items()}
    with pytest.raises(ConfigError, match=words):
        space_of(TPE, **overrides)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"metric": "ipc", "mode": "min"}, "search.metric: got 'ipc'"),
        ({"metric": "validation/main", "mode": "max"}, "'nsga2' has several metrics"),
        ({"mode": "max"}, "expected 'max' or 'min' for each of"),
        ({"mode": ["max"]}, "expected 'max' or 'min' for each of"),
        ({"metric": ["ipc", "ipc"]}, "expected two or more that differ"),
        ({"metric": ["ipc", "test/main"]}, "recorded, never optimised"),
    ],
)
def test_wrong_goals_say_why(search: dict[str, Any], words: str) -> None:
    overrides = {f"search.{name}": value for name, value in search.items()}
    with pytest.raises(ConfigError, match=words):
        space_of(NSGA2, **overrides)


def test_a_grid_is_refused_with_the_reason() -> None:
    text = TPE.replace("iterations = { randint = [10, 1000] }", "ipc = { grid = [1, 10] }")
    with pytest.raises(ConfigError, match=r"space\.ipc: got 'grid'.*a grid asks for every"):
        space_of(text)


@pytest.mark.parametrize("where", ["base", "space"])
def test_the_paper_s_protocol_is_never_optimised(where: str) -> None:
    text = f'[base]\nprotocol = "paper"\n{TPE}'
    if where == "space":
        text = TPE.replace("[search]", 'protocol = { choice = ["paper", "held-out"] }\n[search]')
    with pytest.raises(ConfigError, match="protocol 'paper' has test images only"):
        space_of(text)


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"needs Optuna.*pip install 'harness\[optuna\]'"):
        check_installed("tpe")


def test_an_optuna_without_gp_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    monkeypatch.delattr(optuna.samplers, "GPSampler")
    check_installed("tpe")
    with pytest.raises(ConfigError, match="has no GPSampler"):
        check_installed("gp")


def test_its_size_says_what_is_to_be_chosen(tmp_path: Path) -> None:
    folder = opened(tmp_path, replicates=2)
    OptunaProposals(folder).next()
    assert describe_size(folder.space, folder.plan, folder.to_propose()) == (
        "60 trials of 30 configurations, of which 'tpe' has 29 to choose"
    )
