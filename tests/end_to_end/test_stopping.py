"""Searches that stop distillations early: real ones on the digits."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from harness import distilling
from harness.distill.dc import DC
from tests.end_to_end.conftest import TINY, Call, shell, start, wait_until

SPACE = (
    TINY.replace("iterations = 2\n", "iterations = 3\nrun.report_every = 1\n")
    .replace(
        "pool.main_probability = { grid = [0.0, 0.5, 1.0] }",
        "lr_img = { grid = [30.0, 0.03, 0.02, 0.01, 0.003, 0.001] }",
    )
    .replace("replicates = 2", 'scheduler = "asha"\nreduction_factor = 2')
)
SCORES = {30.0: 0.9}
"""Quick score by learning rate, where it is made up; 0.1 for the others."""


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("trials/*/trial.json"))]


def statuses(out: Path) -> list[str]:
    return [record["status"] for record in records(out)]


def rows_and_sets(out: Path) -> list[tuple[bytes, Any]]:
    found = []
    for path in sorted(out.glob("trials/*")):
        metrics = json.loads((path / "trial.json").read_text())["metrics"]
        found.append(((path / "distilled.safetensors").read_bytes(), metrics))
    return found


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick scores that cost nothing and leave no doubt."""
    monkeypatch.setattr(
        distilling, "quick_score", lambda _, config, __: SCORES.get(config.lr_img, 0.1)
    )


@pytest.mark.usefixtures("made_up")
def test_inline_what_is_stopped_is_promoted_and_equals_what_never_was(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    step = DC.step

    def counted(self: DC) -> Any:
        steps.append(self.iteration)
        return step(self)

    monkeypatch.setattr(DC, "step", counted)
    space, out, whole = tmp_path / "a.toml", tmp_path / "out", tmp_path / "whole"
    space.write_text(SPACE.replace("30.0, 0.03, 0.02, 0.01, 0.003, 0.001", "30.0, 0.03, 0.02"))
    arguments = ("search", space, "--address", "inline", "--out")
    said = call(*arguments, out)
    assert said.status == 0, said.err
    assert statuses(out) == ["ok", "stopped_early", "stopped_early"]
    assert "1 ok, 2 stopped early" in said.out
    assert len(steps) == 3 + 1 + 1
    said = call(*arguments, out)
    assert "3 done, 0 to run" in said.out
    said = call("report", out, "--include-stopped")
    assert "2 of 3 trials were stopped early" in said.out
    assert "lr_img = 0.03" in said.out
    steps.clear()
    said = call(*arguments, out, "--promote", 5)
    assert said.status == 0, said.err
    assert sorted(steps) == [1, 1, 2, 2]
    assert statuses(out) == ["ok"] * 3
    plain = call(*arguments, whole, "--set", "search.scheduler=none", "--set",
                 "search.reduction_factor=2")  # fmt: skip
    assert plain.status == 2
    assert "remove it" in plain.err
    space.write_text(space.read_text().replace('scheduler = "asha"\nreduction_factor = 2', ""))
    assert call(*arguments, whole).status == 0
    assert rows_and_sets(out) == rows_and_sets(whole)


@pytest.mark.usefixtures("made_up")
def test_a_race_and_a_scheduler_leave_the_same_configuration_out(
    call: Call, tmp_path: Path
) -> None:
    space, out = tmp_path / "a.toml", tmp_path / "out"
    text = SPACE.replace("30.0, 0.03, 0.02, 0.01, 0.003, 0.001", "30.0, 0.03")
    space.write_text(f'{text}replicates = 4\nallocate = "racing"\n')
    said = call("search", space, "--address", "inline", "--out", out)
    assert said.status == 0, said.err
    assert statuses(out) == ["ok", "stopped_early"] * 3
    assert [record["stopped"]["iteration"] for record in records(out)[1::2]] == [1, 0, 0]


@pytest.mark.usefixtures("made_up")
def test_tpe_learns_of_stopped_configurations_as_pruned(call: Call, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from harness.search.folder import open_search
    from harness.search.space import load_space
    from harness.search.study import OptunaProposals

    space, out = tmp_path / "a.toml", tmp_path / "out"
    text = SPACE.replace("grid =", "choice =") + 'algorithm = "tpe"\nsamples = 5\n'
    space.write_text(text.replace("seed = 0", ""))
    said = call("search", space, "--address", "inline", "--out", out)
    assert said.status == 0, said.err
    states = [
        trial.state
        for trial in OptunaProposals(open_search(out, load_space(str(space))))._study.trials
    ]
    named = {
        "ok": optuna.trial.TrialState.COMPLETE,
        "stopped_early": optuna.trial.TrialState.PRUNED,
    }
    assert states == [named[status] for status in statuses(out)]


def test_nothing_to_promote_says_so(call: Call, tiny: Path, tmp_path: Path) -> None:
    said = call("search", tiny, "--out", tmp_path / "out", "--promote", 1)
    assert said.status == 2
    assert "--promote: no trial of" in said.err


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["asha", "median", "hyperband"])
def test_each_scheduler_stops_real_distillations_on_ray(tmp_path: Path, scheduler: str) -> None:
    space, out = tmp_path / "a.toml", tmp_path / "out"
    text = SPACE.replace('"asha"\nreduction_factor = 2', f'"{scheduler}"')
    if scheduler == "hyperband":
        text = text.replace('"hyperband"', '"hyperband"\nreduction_factor = 2')
    space.write_text(text)
    said = shell("search", space, "--out", out)
    assert said.status == 0, said.err
    found = statuses(out)
    assert found.count("ok") + found.count("stopped_early") == 6
    assert found.count("stopped_early") >= 1
    for record in records(out):
        if record["status"] == "stopped_early":
            assert record["stopped"]["reason"].startswith(f"{scheduler}: validation/quick")
            assert record["stopped"]["iteration"] == record["validation/quick"][-1][0] in (1, 2)
    said = shell("search", space, "--out", out, "--promote", 6)
    assert said.status == 0, said.err
    assert statuses(out) == ["ok"] * 6


@pytest.mark.ray
@pytest.mark.slow
def test_interrupted_on_ray_it_goes_on_with_what_it_decided(tmp_path: Path) -> None:
    space, out = tmp_path / "a.toml", tmp_path / "out"
    space.write_text(SPACE)
    driver = start("search", space, "--out", out)
    decisions = out / "decisions.jsonl"
    assert wait_until(lambda: decisions.exists() and decisions.read_text().count("\n") >= 3)
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=60)
    assert driver.returncode == 1
    before = decisions.read_text()
    stopped = [record["trial_id"] for record in records(out) if record["stopped"]]
    said = shell("search", space, "--out", out)
    assert said.status == 0, said.err
    assert decisions.read_text().startswith(before)
    found = {record["trial_id"]: record["status"] for record in records(out)}
    assert set(found.values()) <= {"ok", "stopped_early"}
    assert len(found) == 6
    assert all(found[trial_id] == "stopped_early" for trial_id in stopped)
    judged = [json.loads(line) for line in decisions.read_text().splitlines()]
    keys = [(line["family"], line["iteration"]) for line in judged]
    assert len(keys) == len(set(keys))
