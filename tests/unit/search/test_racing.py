"""Tests of harness.search.racing, on made-up results and on recorded ones."""

import json
import tomllib
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from scipy import stats

from harness.errors import ConfigError
from harness.records import write_json
from harness.schema import UNSEEN_MEAN
from harness.search.folder import SearchFolder, open_search
from harness.search.parameters import Point
from harness.search.plan import PlannedTrial, read_plan
from harness.search.racing import Racing, describe_race, next_round, standings, survivors
from harness.search.space import Space, read_space

SPACE = """
[space]
ipc = { grid = [1, 10, 20, 30] }
[search]
replicates = 6
allocate = "racing"
"""
MEANS = {1: 0.2, 10: 0.5, 20: 0.79, 30: 0.8}
NOISE = (0.0, 0.01, -0.01, 0.005, -0.005, 0.0)
RECORDED = json.loads((Path(__file__).parent / "recorded_race.json").read_text())


def space_of(text: str = SPACE, **search: Any) -> Space:
    return read_space(
        tomllib.loads(text), "a.toml", {f"search.{name}": value for name, value in search.items()}
    )


def opened(path: Path, space: Space) -> SearchFolder:
    folder = open_search(path, space)
    folder.prepare()
    return folder


def finish(folder: SearchFolder, trial: PlannedTrial, score: float | None) -> None:
    path = folder.trial_folder(trial)
    path.mkdir()
    data = {
        "status": "diverged" if score is None else "ok",
        "metrics": {UNSEEN_MEAN: score},
        "timings": {},
        "diagnostics": {},
    }
    write_json(path / "trial.json", data)


def made_up(trial: PlannedTrial) -> float:
    return MEANS[trial.point["ipc"]] + NOISE[trial.replicate]


def race(folder: SearchFolder, limit: int | None = None) -> list[list[tuple[int, int]]]:
    """Run to the end; return the rounds, as (ipc, replicate)."""
    for trial in folder.missing():
        finish(folder, trial, made_up(trial))
    racing, rounds = Racing(folder, limit), []
    while trials := racing.next():
        rounds.append([(trial.point["ipc"], trial.replicate) for trial in trials])
        for trial in trials:
            assert racing.next() == []  # waits for the whole round
            finish(folder, trial, made_up(trial))
            racing.ended(trial)
    return rounds


def test_all_run_thrice_and_then_those_that_may_be_the_best(tmp_path: Path) -> None:
    folder = opened(tmp_path, space_of())
    assert [trial.replicate for trial in folder.plan] == [0] * 4 + [1] * 4 + [2] * 4
    assert race(folder) == [[(30, r), (20, r)] for r in (3, 4, 5)]
    assert read_plan(tmp_path / "plan.jsonl") == list(folder.plan)
    assert [trial.config.seed for trial in folder.plan[-2:]] == [5, 5]
    assert open_search(tmp_path, space_of()).plan == folder.plan


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    assert race(opened(tmp_path, space_of()), limit=2) == [[(30, 3), (20, 3)]]
    again = opened(tmp_path, space_of())
    assert next_round(again) != []
    assert race(again) == [[(30, r), (20, r)] for r in (4, 5)]


def test_a_round_cut_by_a_kill_is_completed(tmp_path: Path) -> None:
    race(opened(tmp_path, space_of()), limit=3)  # (30, 3), (20, 3), (30, 4)
    assert race(opened(tmp_path, space_of()))[0] == [(20, 4)]


def test_one_that_is_clearly_best_ends_it(tmp_path: Path) -> None:
    space = space_of(SPACE.replace("[1, 10, 20, 30]", "[1, 10, 30]"))
    assert race(opened(tmp_path, space)) == []


@pytest.mark.parametrize(("budget", "expected"), [(15, [[(30, 3), (20, 3)], [(30, 4)]]), (5, [])])
def test_a_budget_ends_it(tmp_path: Path, budget: int, expected: list[Any]) -> None:
    folder = opened(tmp_path, space_of(budget=budget))
    assert race(folder) == expected
    assert len(folder.plan) == max(12, budget)


def test_least_is_best_where_the_mode_says_so(tmp_path: Path) -> None:
    folder = opened(tmp_path, space_of(mode="min"))
    assert race(folder) == []
    assert standings(folder)[0].point == {"ipc": 1}


def test_what_diverged_is_out(tmp_path: Path) -> None:
    folder = opened(tmp_path, space_of())
    for trial in folder.plan:
        lost = trial.point["ipc"] == 30 and trial.replicate == 1
        finish(folder, trial, None if lost else made_up(trial))
    assert [item.point["ipc"] for item in standings(folder)] == [20, 10, 1]
    assert next_round(folder) == []


def test_intervals_are_student_s(tmp_path: Path) -> None:
    folder = opened(tmp_path, space_of())
    race(folder)
    best = standings(folder)[0]
    scores = [0.8 + noise for noise in NOISE]
    low, high = stats.t.interval(0.95, 5, fmean(scores), stats.sem(scores))
    assert (best.n, best.mean) == (6, pytest.approx(fmean(scores)))
    assert (best.low, best.high) == (pytest.approx(low), pytest.approx(high))
    assert len(survivors(standings(folder), larger_is_better=True)) == 2
    assert describe_race(folder, str) == (
        f"race: 2 of 4 configurations left; best {UNSEEN_MEAN} 0.800 ({low:.3f} to {high:.3f}, "
        "n = 6)  {'ipc': 30}"
    )


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"replicates": 3}, "search.replicates: got 3, but a race begins after 3"),
        ({"allocate": "all", "budget": 9}, "search.budget: got 9, but search.allocate is 'all'"),
        ({"budget": 0}, "search.budget: got 0, expected greater than or equal to 1"),
        ({"allocate": "half"}, "search.allocate: got 'half', expected 'all' or 'racing'"),
    ],
)
def test_wrong_races_say_why(search: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        space_of(**search)


def test_what_chooses_cannot_race() -> None:
    text = SPACE.replace("grid =", "choice =").replace("[search]", '[search]\nalgorithm = "tpe"')
    with pytest.raises(ConfigError, match="judges a configuration by all of its replicates"):
        space_of(text, samples=4)


def test_the_paper_s_protocol_is_never_raced() -> None:
    with pytest.raises(ConfigError, match=r"search\.allocate: got 'racing', but protocol 'paper'"):
        space_of(f'[base]\nprotocol = "paper"\n{SPACE}')


def test_on_recorded_results_it_finds_the_full_design_s_winner_with_half_of_the_trials(
    tmp_path: Path,
) -> None:
    """Sixteen configurations of eight replicates, on the digits; ``recorded_race.json``."""
    table = {json.dumps(row["point"], sort_keys=True): row["scores"] for row in RECORDED["rows"]}

    def score(point: Point) -> list[float]:
        return list(table[json.dumps(point, sort_keys=True)])

    folder = opened(tmp_path, read_space(RECORDED["space"], "recorded.toml", {}))
    for trial in folder.missing():
        finish(folder, trial, score(trial.point)[trial.replicate])
    racing = Racing(folder)
    while trials := racing.next():
        for trial in trials:
            finish(folder, trial, score(trial.point)[trial.replicate])
    full = max(RECORDED["rows"], key=lambda row: fmean(row["scores"]))
    assert standings(folder)[0].point == full["point"]
    assert len(folder.plan) <= sum(len(row["scores"]) for row in RECORDED["rows"]) / 2
