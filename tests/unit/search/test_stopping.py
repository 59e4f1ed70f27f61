"""Tests of harness.search.stopping and of Ray's schedulers as its rules, without trials or Ray."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConfigError, ResultError
from harness.events import Verdict
from harness.records import write_json
from harness.search.folder import SearchFolder, open_search
from harness.search.plan import PlannedTrial
from harness.search.space import Space, load_space, read_space
from harness.search.stopping import EarlyStopping
from harness.tune.rules import make_rule
from harness.tune.verdicts import VerdictFiles, read_verdict

SPACE = """
[base]
iterations = 16
run.report_every = 2
[space]
lr_img = { grid = [0.1, 0.2, 0.3] }
kd.variant = { grid = ["off", "softened"] }
[search]
replicates = 2
scheduler = "asha"
"""
RECORDED = json.loads((Path(__file__).parent / "recorded_stopping.json").read_text())


def space_of(text: str = SPACE, **overrides: Any) -> Space:
    return read_space(tomllib.loads(text), "a.toml", overrides)


def opened(path: Path, space: Space | None = None) -> SearchFolder:
    folder = open_search(path, space or space_of())
    folder.prepare()
    return folder


class Below:
    """A rule that stops what scores below 0.5, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, float]] = []

    def __call__(self, family: str, iteration: int, score: float) -> bool:
        self.asked.append((family, iteration, score))
        return score < 0.5


def stop(folder: SearchFolder, trial: PlannedTrial, status: str = "stopped_early") -> None:
    folder.trial_folder(trial).mkdir(exist_ok=True)
    empty: dict[str, Any] = {"metrics": {}, "timings": {}, "diagnostics": {}}
    write_json(folder.trial_folder(trial) / "trial.json", {"status": status, **empty})


# --- Verdicts -------------------------------------------------------------------------------


def test_a_verdict_is_on_all_that_share_a_distillation_and_on_its_replicates(
    tmp_path: Path,
) -> None:
    folder = opened(tmp_path)
    own = EarlyStopping(folder, Below())
    verdict = own.report(folder.plan[0], 4, 0.4)
    assert verdict == Verdict(4, "asha: validation/quick 0.400 is too low at iteration 4")
    stopped = [trial for trial in folder.plan if own.verdict(trial) is not None]
    assert {trial.point["lr_img"] for trial in stopped} == {0.1}
    assert len(stopped) == 4
    assert {own.family(trial) for trial in stopped} == {folder.plan[0].trial_id}


def test_each_iteration_of_a_family_is_judged_once_by_its_first_replicate(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    rule = Below()
    own = EarlyStopping(folder, rule)
    first, twin, *_ = folder.plan
    replicate = next(item for item in folder.plan if item.replicate == 1)
    for trial, iteration, score in [
        (first, 2, 0.6),
        (twin, 2, 0.1),
        (replicate, 4, 0.1),
        (first, 4, None),
        (twin, 4, 0.6),
        (first, 2, 0.1),
    ]:
        assert own.report(trial, iteration, score) is None
    assert [(iteration, score) for _, iteration, score in rule.asked] == [(2, 0.6), (4, 0.6)]


def test_lengths_of_one_distillation_are_one_family(tmp_path: Path) -> None:
    text = SPACE.replace("iterations = 16\n", "").replace(
        "kd.variant", "iterations = { grid = [8, 16] }\nkd.variant"
    )
    folder = opened(tmp_path, space_of(text))
    own = EarlyStopping(folder, Below())
    assert len({own.family(trial) for trial in folder.plan}) == 3


# --- Going on -------------------------------------------------------------------------------


def test_a_search_that_goes_on_is_told_all_again_and_decides_as_it_did(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    first = Below()
    before = EarlyStopping(folder, first)
    for number, score in enumerate([0.7, 0.7, 0.4, 0.4, 0.9, 0.9]):
        before.report(folder.plan[number], 2, score)
    with (tmp_path / "decisions.jsonl").open("a") as file:
        file.write('{"family": "torn')
    second = Below()
    after = EarlyStopping(opened(tmp_path), second)
    assert second.asked == first.asked
    assert [after.verdict(trial) for trial in folder.plan] == [
        before.verdict(trial) for trial in folder.plan
    ]
    after.report(folder.plan[0], 2, 0.1)
    assert second.asked == first.asked
    after.report(folder.plan[0], 4, 0.8)
    assert len((tmp_path / "decisions.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("line", ["{", '{"family": "a"}', "[]", '{"iteration": 1}'])
def test_a_broken_line_says_so(tmp_path: Path, line: str) -> None:
    folder = opened(tmp_path)
    (tmp_path / "decisions.jsonl").write_text(f"{line}\n")
    with pytest.raises(ResultError, match=r"decisions\.jsonl:1: not a decision"):
        EarlyStopping(folder, Below())


# --- Promotion ------------------------------------------------------------------------------


def stopped_search(path: Path) -> tuple[SearchFolder, EarlyStopping]:
    """Three distillations, stopped at (4, 0.2), (2, 0.4) and (4, 0.3)."""
    folder = opened(path)
    own = EarlyStopping(folder, Below())
    for number, iteration, score in [(0, 4, 0.2), (2, 2, 0.4), (4, 4, 0.3)]:
        own.report(folder.plan[number], iteration, score)
    for trial in folder.plan:
        stop(folder, trial)
    assert folder.missing() == []
    return folder, own


def test_the_furthest_and_best_is_promoted_with_all_its_trials(tmp_path: Path) -> None:
    folder, own = stopped_search(tmp_path)
    due = own.promote(1)
    assert {trial.point["lr_img"] for trial in due} == {0.3}
    assert due == folder.missing()
    assert len(due) == 4
    assert own.verdict(due[0]) is None
    assert own.report(due[0], 6, 0.0) is None


def test_a_promotion_outlives_a_kill_and_is_not_repeated_meanwhile(tmp_path: Path) -> None:
    folder, own = stopped_search(tmp_path)
    due = own.promote(1)
    stop(folder, due[0], "ok")
    stop(folder, due[1])  # as if the kill had come before its result was taken away
    again = EarlyStopping(opened(tmp_path), Below())
    assert again.promote(1) == due[1:]
    assert again.promote(0) == due[1:]
    for trial in due[1:]:
        stop(folder, trial, "ok")
    more = EarlyStopping(opened(tmp_path), Below()).promote(5)
    assert {trial.point["lr_img"] for trial in more} == {0.1, 0.2}


# --- The way to workers ---------------------------------------------------------------------


def test_workers_find_a_verdict_in_their_family_s_file(tmp_path: Path) -> None:
    folder = opened(tmp_path / "s")
    files = VerdictFiles(tmp_path / "v", EarlyStopping(folder, Below()))
    path, twin, other = (files.open(folder.plan[number]) for number in (0, 1, 2))
    assert path == twin != other
    assert read_verdict(path) is None
    files.report(folder.plan[0], 2, 0.4)
    found = read_verdict(path)
    assert found is not None
    assert found.iteration == 2
    assert read_verdict(files.open(folder.plan[1])) == found
    assert read_verdict(other) is None
    path.write_text('{"iteration": 2')
    assert read_verdict(path) is None
    assert read_verdict(None) is None


# --- Settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"search.scheduler": "pbt"}, "search.scheduler: got 'pbt', expected 'none', 'asha'"),
        ({"search.scheduler": "none", "search.grace_iterations": 2}, "scheduler is 'none'"),
        ({"search.scheduler": "median", "search.reduction_factor": 2}, "'median' halves nothing"),
        ({"search.reduction_factor": 1}, "search.reduction_factor: got 1"),
        ({"search.grace_iterations": 16}, "search.grace_iterations: got 16, but the longest"),
        ({"search.mode": "min"}, "search.mode is 'min'"),
        ({"run.report_every": 16}, "run.report_every: got 16, but the longest trial has 16"),
        ({"method": "kmeans"}, "no method of the space has iterations"),
        ({"protocol": "paper"}, "search.scheduler: got 'asha', but protocol 'paper'"),
    ],
)
def test_what_cannot_be_stopped_early_says_why(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        space_of(**overrides)


@pytest.mark.parametrize(
    ("algorithm", "words"), [("nsga2", "has several"), ("gp", "learns nothing")]
)
def test_searchers_that_cannot_use_it_say_why(algorithm: str, words: str) -> None:
    text = SPACE.replace("grid =", "choice =")
    overrides: dict[str, Any] = {"search.algorithm": algorithm, "search.samples": 4}
    if algorithm == "nsga2":
        overrides |= {
            "search.metric": ["validation/unseen_mean", "ipc"],
            "search.mode": ["max", "min"],
        }
    with pytest.raises(ConfigError, match=words):
        space_of(text, **overrides)


def test_without_a_scheduler_a_search_is_the_one_it_was() -> None:
    resolved = space_of(**{"search.scheduler": "none"}).resolved()
    assert "scheduler" not in resolved["search"]
    assert space_of().resolved()["search"]["scheduler"] == "asha"


def test_the_readme_s_example_is_legal() -> None:
    text = (Path(__file__).parents[3] / "search_spaces" / "README.md").read_text()
    assert "search.scheduler=asha --set run.report_every=100" in text
    space = load_space("pool_composition", {"search.scheduler": "asha", "run.report_every": 100})
    assert space.search.stops_early


# --- Ray's schedulers -----------------------------------------------------------------------


def replay(space: Space, workers: int) -> tuple[int, list[str]]:
    """Replay the recorded reports, so many trials side by side; iterations, who ended."""
    rule = make_rule(space)
    waiting, running = list(RECORDED["rows"]), []
    spent, ended = 0, []
    while waiting or running:
        while waiting and len(running) < workers:
            row = waiting.pop(0)
            running.append((row, iter(row["quick"])))
        for item in list(running):
            row, reports = item
            iteration, score = next(reports, (60, None))
            if score is None:
                ended.append(row["trial_id"])
            if score is None or rule(row["trial_id"], iteration, score):
                running.remove(item)
                spent += iteration
    return spent, ended


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_asha_keeps_the_best_of_a_recorded_space_at_half_of_its_iterations(workers: int) -> None:
    """Twenty distillations on the digits, each made in full: ``recorded_stopping.json``.

    Its ``space``, run by ``harness search``; ``quick`` and ``final`` are ``validation/quick`` and
    ``validation/unseen_mean`` of the records. That the best is kept is so at the default factor of
    4: 2 and 3 keep the second best, since quick scores put five sets close together.
    """
    space = read_space({**RECORDED["space"]}, "a.toml", {"search.scheduler": "asha"})
    spent, ended = replay(space, workers)
    best = max(RECORDED["rows"], key=lambda row: row["final"])
    assert spent <= 0.5 * 60 * len(RECORDED["rows"])
    assert best["trial_id"] in ended


@pytest.mark.parametrize("scheduler", ["median", "hyperband"])
def test_the_others_stop_some_and_never_all(scheduler: str) -> None:
    space = read_space({**RECORDED["space"]}, "a.toml", {"search.scheduler": scheduler})
    spent, ended = replay(space, 2)
    assert 0 < len(ended) < len(RECORDED["rows"])
    assert (spent, ended) == replay(space, 2)


def test_nothing_is_stopped_in_its_grace() -> None:
    overrides = {"search.scheduler": "asha", "search.grace_iterations": 30}
    space = read_space({**RECORDED["space"]}, "a.toml", overrides)
    rule = make_rule(space)
    early = [rule(row["trial_id"], 20, score) for row in RECORDED["rows"] for score in (0.9, 0.0)]
    assert not any(early)
