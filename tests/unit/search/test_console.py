"""Tests of harness.search.console."""

import io
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.records import write_json
from harness.schema import UNSEEN_MEAN
from harness.search.console import SearchConsole, describe_best, describe_counts
from harness.search.folder import SearchFolder, open_search
from harness.search.plan import PlannedTrial
from harness.search.space import Space, read_space

SPACE = """
[base]
dataset.name = "mnist"
[space]
pool.main_probability = { grid = [0.3333333, 1.0] }
dataset.root = { grid = ["/data/[red]x[/red]", "/data/a:100:b"] }
[search]
replicates = 2
"""


def space_of(text: str) -> Space:
    return read_space(tomllib.loads(text), "a.toml", {})


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    found = open_search(tmp_path / "out [bold]:warning:", space_of(SPACE))
    found.prepare()
    return found


def record(
    folder: SearchFolder, number: int, *, status: str = "ok", fired: bool = False, **metrics: Any
) -> PlannedTrial:
    trial = folder.plan[number]
    folder.trial_folder(trial).mkdir()
    data = {
        "status": status,
        "metrics": {name.replace("__", "/"): value for name, value in metrics.items()},
        "timings": {"distill_s": 12.34, "eval_s": 5.67},
        "diagnostics": {
            "matching_loss_flat": {"fired": fired},
            "kd_below_control": {"fired": False},
        },
    }
    write_json(folder.trial_folder(trial) / "trial.json", data)
    return trial


def ended(folder: SearchFolder, *trials: PlannedTrial) -> list[str]:
    """The lines that are printed, as into a file."""
    file = io.StringIO()
    console = Console(file=file, highlight=False, soft_wrap=True)
    with SearchConsole(folder, len(trials), console) as shown:
        for trial in trials:
            shown.advanced(trial, 0.5)
            shown.ended(trial)
    return file.getvalue().splitlines()


def test_one_line_a_trial(folder: SearchFolder) -> None:
    first = record(folder, 0, validation__unseen_mean=0.4567)
    second = record(folder, 3, test__unseen_mean=0.25, validation__unseen_mean=None)
    third = record(folder, 5, status="diverged", fired=True, validation__unseen_mean=None)
    lines = ended(folder, first, second, third)
    assert lines == [
        f"{first.trial_id} ok        unseen 0.457  distil 12.3 s, evaluate 5.7 s  "
        "pool.main_probability=0.3333 dataset.root=/data/[red]x[/red]  replicate=0",
        f"{second.trial_id} ok        unseen 0.250  distil 12.3 s, evaluate 5.7 s  "
        "pool.main_probability=1 dataset.root=/data/a:100:b  replicate=0",
        f"{third.trial_id} diverged  distil 12.3 s, evaluate 5.7 s  matching_loss_flat  "
        "pool.main_probability=0.3333 dataset.root=/data/a:100:b  replicate=1",
    ]


def test_a_failed_trial_shows_where_its_error_is(folder: SearchFolder) -> None:
    trial = record(folder, 1, status="error", validation__unseen_mean=None)
    (line,) = ended(folder, trial)
    path = folder.path / "trials" / trial.trial_id / "error.txt"
    assert line.startswith(f"{trial.trial_id} error ")
    assert line.endswith(f"  replicate=0  see {path}")
    assert "out [bold]:warning:" in line


@pytest.mark.parametrize("status", ["oom", "interrupted", "stopped_early"])
def test_other_statuses(folder: SearchFolder, status: str) -> None:
    (line,) = ended(folder, record(folder, 1, status=status, validation__unseen_mean=None))
    assert f" {status.replace('_', ' ')}" in line
    assert "error.txt" not in line


def test_a_trial_that_was_lost(folder: SearchFolder) -> None:
    trial = folder.plan[2]
    (line,) = ended(folder, trial)
    assert line == (
        f"{trial.trial_id} not_run   pool.main_probability=1 dataset.root=/data/[red]x[/red]  "
        "replicate=0"
    )


def test_a_line_is_printed_as_it_is(folder: SearchFolder) -> None:
    file = io.StringIO()
    text = "lost [/nothing] :warning: [red]x[/red] \\[a] /a/b"
    SearchConsole(folder, 1, Console(file=file, highlight=False, soft_wrap=True)).say(text)
    assert file.getvalue() == text + "\n"


def test_standard_output_by_default(
    folder: SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with SearchConsole(folder, 1) as shown:
        shown.say("word " * 60)
    assert capsys.readouterr().out.splitlines() == ["word " * 60]


def test_a_terminal_has_a_live_line(folder: SearchFolder) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, highlight=False, color_system=None)
    first, second = record(folder, 0, validation__unseen_mean=0.5), folder.plan[1]
    with SearchConsole(folder, 2, console) as shown:
        shown.advanced(first, 0.25)
        shown.advanced(second, 0.5)
        shown._progress.refresh()
        assert "trials (00000 25%, 00001 50%)" in file.getvalue()
        shown.ended(first)
        shown.advanced(second, 0.75)
        shown._progress.refresh()
        assert "trials (00001 75%)" in file.getvalue()
        assert "1/2" in file.getvalue()


def test_an_exception_stops_the_live_line(folder: SearchFolder) -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    shown = SearchConsole(folder, 1, console)
    with pytest.raises(KeyboardInterrupt), shown:
        raise KeyboardInterrupt
    assert not shown._progress.live.is_started


def test_counts() -> None:
    assert describe_counts(Counter(ok=14, diverged=1)) == "1 diverged, 14 ok"
    assert describe_counts(Counter()) == ""


# --- the best trial -------------------------------------------------------------------------


def test_the_best_trial_so_far(folder: SearchFolder) -> None:
    assert describe_best(folder) == ""
    record(folder, 0, status="error", validation__unseen_mean=None)
    assert describe_best(folder) == ""
    record(folder, 1, validation__unseen_mean=0.25)
    best = record(folder, 3, validation__unseen_mean=0.5)
    record(folder, 4, validation__unseen_mean=0.375)
    assert describe_best(folder) == (
        f"best trial: {best.trial_id}  {UNSEEN_MEAN} 0.500  "
        "pool.main_probability=1 dataset.root=/data/a:100:b"
    )


def test_the_best_by_another_metric_and_mode(tmp_path: Path) -> None:
    text = f"{SPACE}metric = 'validation/main'\nmode = 'min'\n"
    folder = open_search(tmp_path / "out", space_of(text))
    folder.prepare()
    record(folder, 0, validation__main=0.5, validation__unseen_mean=0.0)
    best = record(folder, 1, validation__main=0.125, validation__unseen_mean=1.0)
    assert describe_best(folder).startswith(f"best trial: {best.trial_id}  validation/main 0.125  ")
