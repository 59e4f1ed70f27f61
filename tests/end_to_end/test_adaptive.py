"""Searches that choose: TPE and NSGA-II over real trials on the digits."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import TINY, shell

pytest.importorskip("optuna")

SPACE = TINY.replace("{ grid = [0.0, 0.5, 1.0] }", "{ uniform = [0.0, 1.0] }").replace(
    "replicates = 2", 'algorithm = "tpe"\nsamples = 4'
)
FRONT = (
    TINY.replace("iterations = 2\n", "")
    .replace(
        "pool.main_probability = { grid = [0.0, 0.5, 1.0] }", "iterations = { choice = [1, 2, 6] }"
    )
    .replace(
        "replicates = 2",
        'algorithm = "nsga2"\nsamples = 4\nmetric = ["validation/unseen_mean", "distill_cost_s"]\n'
        'mode = ["max", "min"]',
    )
)


def records(out: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("trials/*/trial.json"))]


@pytest.mark.slow
def test_an_inline_search_chooses_stops_at_its_limit_and_goes_on(tmp_path: Path) -> None:
    space, out = tmp_path / "a.toml", tmp_path / "out"
    space.write_text(SPACE)
    arguments = ("search", space, "--out", out, "--address", "inline")
    said = shell(*arguments, "--limit", 2)
    assert said.status == 0, said.err
    assert len(records(out)) == 2
    assert len((out / "plan.jsonl").read_text().splitlines()) == 2
    said = shell(*arguments)
    assert said.status == 0, said.err
    assert [item["status"] for item in records(out)] == ["ok"] * 4
    assert "best trial: " in said.out
    said = shell(*arguments, "--add-samples", 1)
    assert said.status == 0, said.err
    assert len(records(out)) == 5
    assert shell(*arguments).out.count("5 done, 0 to run") == 1


@pytest.mark.ray
@pytest.mark.slow
def test_nsga2_on_ray_prints_what_is_not_dominated(tmp_path: Path) -> None:
    space, out = tmp_path / "a.toml", tmp_path / "out"
    space.write_text(FRONT)
    said = shell("search", space, "--out", out)
    assert said.status == 0, said.err
    assert [item["status"] for item in records(out)] == ["ok"] * 4
    assert said.out.count("not dominated: ") >= 1


@pytest.mark.slow
def test_an_inline_race_ends_and_says_who_is_left(tmp_path: Path) -> None:
    space, out = tmp_path / "a.toml", tmp_path / "out"
    space.write_text(TINY.replace("replicates = 2", 'replicates = 4\nallocate = "racing"'))
    arguments = ("search", space, "--out", out, "--address", "inline")
    said = shell(*arguments, "--limit", 9)  # the first replicates; the race is still to come
    assert said.status == 0, said.err
    said = shell(*arguments)
    assert said.status == 0, said.err
    assert "of 3 configurations left; best validation/unseen_mean" in said.out
    planned = len((out / "plan.jsonl").read_text().splitlines())
    assert 9 <= planned == len(records(out)) <= 12
    assert f"{planned} done, 0 to run" in shell(*arguments).out
