"""Tests of harness.tune.proposals: Ray's own searchers over made-up trials; no Ray is started."""

import sys
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.records import write_json
from harness.schema import UNSEEN_MEAN
from harness.search import algorithms
from harness.search.algorithms import RAY, check_installed
from harness.search.folder import SearchFolder, open_search
from harness.search.parameters import Point
from harness.search.plan import PlannedTrial, read_plan
from harness.search.space import read_space
from harness.tune.proposals import RayProposals

for package in RAY.values():
    pytest.importorskip(package.module)

NUMBERS = """
[base]
seed = 3
[space]
pool.main_probability = { uniform = [0.0, 1.0] }
lr_img = { loguniform = [0.001, 1.0] }
"""
CHOICES = """
pool.others = { choice = ["similar", [{ network = "lenet", weight = 1.0 }]] }
iterations = { randint = [10, 12] }
"""


def opened(path: Path, algorithm: str, samples: int, add: int | None = None) -> SearchFolder:
    text = NUMBERS + (CHOICES if algorithm != "bayesopt" else "")
    search = f'[search]\nalgorithm = "{algorithm}"\nsamples = {samples}\n'
    space = read_space(tomllib.loads(text + search), "a.toml", {})
    folder = open_search(path, space, add_samples=add)
    folder.prepare()
    return folder


def score(point: Point) -> float:
    """Best where the main probability is 0.3 and the learning rate 0.1."""
    rate = abs(float(point["lr_img"]) - 0.1)
    return 1.0 - abs(float(point["pool.main_probability"]) - 0.3) - 0.2 * rate


def finish(folder: SearchFolder, trial: PlannedTrial, found: float | None) -> None:
    path = folder.trial_folder(trial)
    path.mkdir()
    metrics = {} if found is None else {UNSEEN_MEAN: found}
    status = "diverged" if found is None else "ok"
    record = {"status": status, "metrics": metrics, "timings": {}, "diagnostics": {}}
    write_json(path / "trial.json", record)


def run(
    folder: SearchFolder,
    trials: int = 1000,
    score: Callable[[Point], float | None] = score,
) -> RayProposals:
    proposals = RayProposals(folder, limit=trials)
    while chosen := proposals.next():
        for trial in chosen:
            finish(folder, trial, score(trial.point))
            proposals.ended(trial)
    return proposals


def mean(folder: SearchFolder, start: int, end: int | None) -> float:
    scores = [score(trial.point) for trial in folder.plan[start:end]]
    return sum(scores) / len(scores)


@pytest.fixture(params=RAY)
def algorithm(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_it_plans_before_it_runs_keeps_to_the_space_and_learns_quietly(
    tmp_path: Path, algorithm: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = opened(tmp_path, algorithm, 26)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        proposals = RayProposals(folder)
        (first,) = proposals.next()
        assert read_plan(tmp_path / "plan.jsonl") == [first]
        finish(folder, first, score(first.point))
        proposals.ended(first)
        run(folder)
    assert [str(item.message) for item in said] == []
    assert capfd.readouterr() == ("", "")
    assert len(folder.plan) == 26
    for trial in folder.plan:
        assert 0.0 <= trial.point["pool.main_probability"] <= 1.0
        assert 0.001 <= trial.point["lr_img"] <= 1.0
    if algorithm != "bayesopt":
        assert {trial.point["iterations"] for trial in folder.plan} == {10, 11, 12}
        assert {type(trial.point["pool.others"]) for trial in folder.plan} == {str, list}
    assert mean(folder, 18, None) > mean(folder, 0, 10) + 0.05


def test_the_same_results_lead_to_the_same_configurations(tmp_path: Path, algorithm: str) -> None:
    folders = [opened(tmp_path / name, algorithm, 12) for name in "ab"]
    for folder in folders:
        run(folder)
    assert folders[0].plan == folders[1].plan


def test_a_stopped_search_goes_on_from_what_it_found(tmp_path: Path, algorithm: str) -> None:
    """The end of the plan is near the best: what was told before the stop is known."""
    folder = opened(tmp_path, algorithm, 24)
    run(folder, trials=14)
    again = opened(tmp_path, algorithm, 24)
    run(again)
    assert again.plan[:14] == folder.plan
    assert len({str(trial.point) for trial in again.plan}) == 24
    assert mean(again, 16, None) > mean(again, 0, 10) + 0.05
    more = opened(tmp_path, algorithm, 24, add=2)
    run(more)
    assert len(more.plan) == 26


def test_trials_that_run_at_a_stop_are_learned_from_when_they_end(
    tmp_path: Path, algorithm: str
) -> None:
    folder = opened(tmp_path, algorithm, 8)
    (under_way,) = RayProposals(folder).next()
    again = RayProposals(opened(tmp_path, algorithm, 8))
    again.next()
    finish(folder, under_way, 0.5)
    again.ended(under_way)
    again.ended(under_way)  # told twice, it counts once
    again._ready()  # a searcher that is not there yet learns all when it is made
    assert 0 in again._learned


def test_several_are_chosen_before_the_first_has_ended(tmp_path: Path, algorithm: str) -> None:
    folder = opened(tmp_path, algorithm, 16)
    run(folder, trials=8)
    proposals = RayProposals(folder)
    chosen = [trial for _ in range(8) for trial in proposals.next()]
    assert len({trial.trial_id for trial in chosen}) == 8
    assert len({str(trial.point) for trial in chosen}) > 4


def test_failures_end_no_search(tmp_path: Path, algorithm: str) -> None:
    folder = opened(tmp_path, algorithm, 12)
    run(folder, score=lambda point: None if point["lr_img"] > 0.02 else score(point))
    assert len(folder.plan) == 12
    folder = opened(tmp_path / "all", algorithm, 8)
    run(folder, score=lambda point: None)
    assert len(folder.plan) == 8


# --- What is refused ------------------------------------------------------------------------


def test_what_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    check_installed(algorithm)
    package = RAY[algorithm]
    monkeypatch.setitem(sys.modules, package.module, None)
    with pytest.raises(ConfigError, match=f"pip install '{package.name}=={package.tried}', or"):
        check_installed(algorithm)


def test_a_version_that_does_not_work_names_one_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(algorithms, "version", lambda name: "3.4.0")
    with pytest.raises(
        ConfigError,
        match=r"needs bayesian-optimization>=1\.4,<2, got 3\.4\.0, .*=1\.4\.0', or use 'tpe'",
    ):
        check_installed("bayesopt")


@pytest.mark.parametrize("algorithm", RAY)
def test_a_grid_is_refused_with_the_reason(algorithm: str) -> None:
    text = f'[space]\nipc = {{ grid = [1, 10] }}\n[search]\nalgorithm = "{algorithm}"\nsamples = 2'
    with pytest.raises(ConfigError, match=r"space\.ipc: got 'grid'.*a grid asks for every"):
        read_space(tomllib.loads(text), "a.toml", {})


def test_the_paper_s_protocol_is_never_optimised(algorithm: str) -> None:
    text = NUMBERS.replace("seed = 3", 'protocol = "paper"')
    text += f'[search]\nalgorithm = "{algorithm}"\nsamples = 2'
    with pytest.raises(ConfigError, match="protocol 'paper' has test images only"):
        read_space(tomllib.loads(text), "a.toml", {})
