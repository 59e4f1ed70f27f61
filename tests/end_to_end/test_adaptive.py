"""Searches that choose, by Optuna and by Ray's searchers, over real trials on the digits."""

import json
from pathlib import Path

import pytest

from harness.search.algorithms import RAY
from tests.end_to_end.conftest import TINY, Call, shell

pytest.importorskip("optuna")

SPACE = TINY.replace("{ grid = [0.0, 0.5, 1.0] }", "{ uniform = [0.0, 1.0] }").replace(
    "replicates = 2", 'algorithm = "tpe"\nsamples = 4'
)
NUMBERS = SPACE.replace(
    "uniform = [0.0, 1.0] }", "uniform = [0.0, 1.0] }\nlr_img = { loguniform = [0.01, 1.0] }"
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


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("algorithm", RAY)
def test_a_search_by_ray_runs_to_its_end(tmp_path: Path, algorithm: str) -> None:
    pytest.importorskip(RAY[algorithm].module)
    space, out = tmp_path / "a.toml", tmp_path / "out"
    space.write_text(NUMBERS.replace('"tpe"\nsamples = 4', f'"{algorithm}"\nsamples = 7'))
    said = shell("search", space, "--out", out)
    assert (said.status, said.err) == (0, "")
    assert "arning" not in said.out
    assert [item["status"] for item in records(out)] == ["ok"] * 7
    assert len({json.dumps(trial["point"]) for trial in planned(out)}) == 7


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_by_ray_stops_at_its_limit_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("hyperopt")
    space, out = tmp_path / "a.toml", tmp_path / "out"
    space.write_text(NUMBERS.replace('"tpe"', '"hyperopt"'))
    arguments = ("search", space, "--out", out)
    assert shell(*arguments, "--limit", 3).status == 0
    assert len(records(out)) == 3
    said = shell(*arguments)
    assert (said.status, said.err) == (0, "")
    assert "3 done, 1 to run" in said.out
    assert [item["status"] for item in records(out)] == ["ok"] * 4


def planned(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "plan.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("algorithm", RAY)
def test_a_search_by_ray_is_not_run_inline(tmp_path: Path, call: Call, algorithm: str) -> None:
    space, out = tmp_path / "a.toml", tmp_path / "out"
    space.write_text(NUMBERS.replace('"tpe"', f'"{algorithm}"'))
    said = call("search", space, "--out", out, "--address", "inline")
    assert said.status == 2
    assert f"got 'inline', but search.algorithm '{algorithm}' is Ray's; use" in said.err
    assert said.err.count("\n") == 1
    assert not out.exists()
