"""Tests of harness.search.pace."""

import tomllib
from pathlib import Path

import pytest

from harness.records import write_json
from harness.search import pace
from harness.search.folder import SearchFolder, open_search
from harness.search.pace import Pace, describe_rest, measure_pace
from harness.search.space import read_space

SPACE = """
[space]
seed = { grid = [0, 1, 2, 3, 4] }
"""


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    found = open_search(tmp_path, read_space(tomllib.loads(SPACE), "a.toml", {}))
    found.prepare()
    return found


def finish(folder: SearchFolder, number: int, seconds: float, status: str = "ok") -> None:
    path = folder.trial_folder(folder.plan[number])
    path.mkdir()
    timings = {"distill_s": seconds, "eval_s": 1.0, "distill_cost_s": 1000.0}
    data = {"status": status, "metrics": {}, "timings": timings, "diagnostics": {}}
    write_json(path / "trial.json", data)


def test_nothing_is_guessed_before_a_trial_is_done(folder: SearchFolder) -> None:
    finish(folder, 0, 5.0, status="error")
    assert measure_pace(folder) is None
    assert describe_rest(folder, 2).startswith("hours and disk are not known before")


def test_the_rest_takes_what_the_done_took(folder: SearchFolder, tmp_path: Path) -> None:
    finish(folder, 0, 9.0)
    finish(folder, 1, 29.0)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "entry").write_bytes(bytes(2**20))
    found = measure_pace(folder)
    assert found is not None
    assert (found.done, found.seconds) == (2, 20.0)
    own = [*tmp_path.glob("trials/*/*"), *tmp_path.glob("store/*")]
    assert found.size == sum(path.stat().st_size for path in own) / 2
    assert describe_rest(folder, 2).startswith("3 left, 2 at a time: about 0.011 hours and 1.5")


def test_no_more_than_the_limit_is_run(folder: SearchFolder) -> None:
    finish(folder, 0, 9.0)
    assert describe_rest(folder, 1, limit=3).startswith("3 left, 1 at a time: ")
    assert describe_rest(folder, 1, limit=9).startswith("4 left, 1 at a time: ")


def test_slots_that_are_not_known_are_not_made_up(folder: SearchFolder) -> None:
    finish(folder, 0, 3599.0)
    text = describe_rest(folder, None)
    assert text.startswith("4 left, one at a time (what runs there is not known): about 4 hours")


def test_a_sample_of_the_records_is_enough(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, seconds in enumerate((1.0, 2.0, 9.0, 4.0)):
        finish(folder, number, seconds)
    assert len(folder.missing()) == 1
    monkeypatch.setattr(pace, "_SAMPLE", 2)
    found = measure_pace(folder)
    assert found is not None
    assert (found.done, found.seconds) == (4, 6.0)  # of trials 0 and 2


@pytest.mark.parametrize(("left", "slots", "hours"), [(1, 4, "1"), (4, 4, "1"), (5, 4, "2")])
def test_slots_share_the_rest(left: int, slots: int, hours: str) -> None:
    text = Pace(3, 3600.0, 2**20).text(left, slots)
    assert text.startswith(f"{left} left, {slots} at a time: about {hours} hours and {left} MiB, ")
