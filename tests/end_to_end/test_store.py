"""Searches over a store: what is made once, what a search says when it cannot go on, and how."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import trial
from harness.distill.dc import DC
from harness.evaluate import students
from tests.end_to_end.conftest import TINY, Call, shell
from tests.end_to_end.test_bad_input import one_line
from tests.end_to_end.test_search import results, statuses

INLINE = ["--address", "inline"]

TABLE4 = """
title = "Table 4"

[base]
batch_real = 4
network.width = 4
network.depth = 1
outer_loop = 1
inner_loop = 1
evaluation.students = ["mlp"]
evaluation.student_seeds = 1
evaluation.epochs = 1

[space]
ipc = { grid = [1, 2] }
iterations = { grid = [2, 4, 6] }
pool.main_probability = { grid = [0.0, 1.0] }
kd.variant = { grid = ["off", "softened"] }
"""

KD_GRID = """
title = "KD"

[base]
iterations = 3
batch_real = 4
network.width = 4
network.depth = 1
kd.variant = "softened"
evaluation.students = ["mlp"]
evaluation.student_seeds = 1
evaluation.epochs = 1

[space]
kd.temperature = { grid = [1.0, 1.5, 2.0, 4.0, 8.0, 16.0] }
kd.alpha = { grid = [0.1, 0.3, 0.5, 0.7, 0.9] }
"""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each iteration was done, over all distillations."""
    done: Counter[int] = Counter()
    step = DC.step

    def counted(self: DC) -> Tensor:
        done[self.iteration] += 1
        return step(self)

    monkeypatch.setattr(DC, "step", counted)
    return done


def space(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return path


def test_table_4_costs_four_distillations(call: Call, tmp_path: Path, steps: Counter[int]) -> None:
    said = call("search", space(tmp_path, TABLE4), "--out", tmp_path / "out", *INLINE)
    assert said.status == 0, said.err
    assert "24 trials, 4 different distillations" in said.out
    assert "24 ok" in said.out
    assert steps == dict.fromkeys(range(6), 4)


def test_a_grid_of_temperature_and_alpha_costs_one_distillation_and_one_teacher(
    call: Call, tmp_path: Path, steps: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: Counter[str] = Counter()
    train = students.train_network

    def counted(student: students.Student, *args: Any, **more: Any) -> None:
        trained[str(student.address[0])] += 1
        train(student, *args, **more)

    monkeypatch.setattr(students, "train_network", counted)
    said = call("search", space(tmp_path, KD_GRID), "--out", tmp_path / "out", *INLINE)
    assert said.status == 0, said.err
    assert "30 ok" in said.out
    assert steps == {0: 1, 1: 1, 2: 1}
    assert trained["teacher"] == 1


def test_two_searches_share_a_store(
    call: Call, tiny: Path, tmp_path: Path, steps: Counter[int]
) -> None:
    shared = ["--store", tmp_path / "shared", *INLINE]
    assert call("search", tiny, "--out", tmp_path / "a", *shared).status == 0
    done = steps.total()
    assert call("search", tiny, "--out", tmp_path / "b", *shared).status == 0
    assert steps.total() == done == 12
    assert results(tmp_path / "a") == results(tmp_path / "b")
    assert not (tmp_path / "a" / "store").exists()


def test_a_run_is_stopped_by_a_signal_and_goes_on(
    call: Call, tmp_path: Path, steps: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    settings = ["iterations=4", "batch_real=4", "network.width=4", "network.depth=1"]
    settings += ['evaluation.students=["mlp"]', "evaluation.epochs=1"]
    flags = [part for setting in settings for part in ("--set", setting)]
    counted = DC.step

    def terminated(self: DC) -> Tensor:
        if steps.total() == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return counted(self)

    monkeypatch.setattr(DC, "step", terminated)
    said = call("run", "--out", tmp_path / "a", *flags)
    assert said.status == 1
    assert "interrupted" in said.out
    assert "the same command again goes on" in said.out
    assert call("run", "--out", tmp_path / "a", *flags).status == 0
    assert steps == Counter(range(4))
    monkeypatch.undo()
    monkeypatch.setattr("sys.argv", [])
    assert call("run", "--out", tmp_path / "b", *flags).status == 0
    sets = [(tmp_path / name / "distilled.safetensors").read_bytes() for name in "ab"]
    assert sets[0] == sets[1]


def test_a_terminated_inline_search_saves_its_trial_and_goes_on(
    call: Call, tiny: Path, tmp_path: Path, steps: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    counted = DC.step

    def terminated(self: DC) -> Tensor:
        if steps.total() == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return counted(self)

    monkeypatch.setattr(DC, "step", terminated)
    out = tmp_path / "out"
    said = call("search", tiny, "--out", out, *INLINE)
    assert said.status == 1
    assert "interrupted: 1 interrupted, 3 not_run, 2 ok" in said.out
    said = call("search", tiny, "--out", out, *INLINE, "--resume")
    assert said.status == 0, said.err
    assert "6 ok" in said.out
    assert steps == {0: 6, 1: 6}


# --- Extending ------------------------------------------------------------------------------

RANDOM = TINY.replace("grid = [0.0, 0.5, 1.0]", "choice = [0.0, 0.5]").replace(
    "replicates = 2", 'algorithm = "random"\nsamples = 3'
)


def planned(out: Path) -> list[Any]:
    lines = [json.loads(line) for line in (out / "plan.jsonl").read_text().splitlines()]
    return [(line["trial_id"], line["point"]) for line in lines]


def test_a_random_search_is_extended_and_equals_a_longer_one(call: Call, tmp_path: Path) -> None:
    path, out = space(tmp_path, RANDOM), tmp_path / "out"
    assert call("search", path, "--out", out, *INLINE).status == 0
    assert call("search", path, "--out", out, *INLINE, "--add-samples", 2).status == 0
    again = call("search", path, "--out", out, *INLINE)
    assert "5 done, 0 to run" in again.out
    assert call("search", path, "--out", out, *INLINE, "--add-samples", 2).status == 0
    assert call("search", path, "--out", tmp_path / "b", *INLINE, "--samples", 7).status == 0
    assert planned(out) == planned(tmp_path / "b")
    assert results(out) == results(tmp_path / "b")


def test_an_extension_that_is_not_complete_goes_on_and_is_not_repeated(
    call: Call, tmp_path: Path
) -> None:
    path, out = space(tmp_path, RANDOM), tmp_path / "out"
    assert call("search", path, "--out", out, *INLINE).status == 0
    extend = ["search", path, "--out", out, *INLINE, "--add-samples", 3]
    assert call(*extend, "--limit", 1).status == 0
    assert "4 done, 2 to run" in call(*extend).out
    assert len(planned(out)) == 6


@pytest.mark.parametrize(
    ("text", "there", "words"),
    [
        (RANDOM, False, "--add-samples: "),
        (TINY, True, "search.samples: got"),
    ],
)
def test_what_cannot_be_extended(
    call: Call, tmp_path: Path, text: str, there: bool, words: str
) -> None:
    path, out = space(tmp_path, text), tmp_path / "out"
    if there:
        assert call("search", path, "--out", out, *INLINE, "--limit", 1).status == 0
    said = call("search", path, "--out", out, *INLINE, "--add-samples", 2)
    assert said.status == 2
    assert words in one_line(said.err)


# --- What goes wrong ------------------------------------------------------------------------


def test_memory_that_runs_out_is_tried_again_alone_after_the_others(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, failed, order = DC.step, [], []

    def failing(self: DC) -> Tensor:
        if self.iteration == 0 and self._config.pool.main_probability == 0.5:
            order.append("failing")
            if len(failed) < 2:
                failed.append(1)
                raise torch.OutOfMemoryError("full")
        else:
            order.append("other")
        return step(self)

    monkeypatch.setattr(DC, "step", failing)
    out = tmp_path / "out"
    said = call("search", tiny, "--out", out, *INLINE)
    assert said.status == 0, said.out + said.err
    assert "6 ok" in said.out
    assert "ran out of memory and is tried again alone" in said.out
    assert order[-4:] == ["failing", "other", "failing", "other"]


def test_memory_that_runs_out_twice_is_oom_and_the_others_are_ok(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, tries = DC.step, []

    def failing(self: DC) -> Tensor:
        if self._config.pool.main_probability == 0.5 and self._config.seed == 0:
            tries.append(1)
            raise torch.OutOfMemoryError("full")
        return step(self)

    monkeypatch.setattr(DC, "step", failing)
    said = call("search", tiny, "--out", tmp_path / "out", *INLINE)
    assert said.status == 1
    assert "5 ok, 1 oom" in said.out
    assert len(tries) == 2


@pytest.mark.parametrize("name", ["write_rows", "write_json"])
def test_a_full_disk_is_said_and_the_trial_stays_not_run(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write, calls = getattr(trial, name), []

    def full(*args: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(args[0]))
        write(*args)

    monkeypatch.setattr(trial, name, full)
    out = tmp_path / "out"
    said = call("search", tiny, "--out", out, *INLINE)
    assert said.status == 1
    assert "No space left on device" in said.out
    assert "4 not_run, 2 ok" in said.out
    assert call("search", tiny, "--out", out, *INLINE).status == 0
    assert statuses(out) == ["ok"] * 6


@pytest.mark.parametrize(
    "file", ["trial.json", "evaluations.parquet", "distilled.safetensors", "images.png"]
)
def test_a_truncated_result_is_made_again(
    call: Call, tiny: Path, tmp_path: Path, file: str, steps: Counter[int]
) -> None:
    out = tmp_path / "out"
    assert call("search", tiny, "--out", out, *INLINE).status == 0
    before = results(out)
    path = sorted(out.glob(f"trials/*/{file}"))[2]
    path.write_bytes(path.read_bytes()[:-7])
    said = call("search", tiny, "--out", out, *INLINE)
    assert said.status == 0
    assert "5 done, 1 to run" in said.out
    assert results(out) == before
    assert steps.total() == 12


def test_a_second_driver_is_refused(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, said = DC.step, []

    def second(self: DC) -> Tensor:
        if not said:
            said.append(None)
            said.append(call("search", tiny, "--out", tmp_path / "out", *INLINE))
        return step(self)

    monkeypatch.setattr(DC, "step", second)
    first = call("search", tiny, "--out", tmp_path / "out", *INLINE)
    assert first.status == 0
    inner = said[1]
    assert inner is not None
    assert inner.status == 2
    assert "is being run by process" in one_line(inner.err)
    assert statuses(tmp_path / "out") == ["ok"] * 6


def test_a_corrupt_state_is_named_in_the_search_s_output(
    call: Call, tiny: Path, tmp_path: Path
) -> None:
    shared = ["--store", tmp_path / "shared", *INLINE]
    assert call("search", tiny, "--out", tmp_path / "a", *shared).status == 0
    content = sorted((tmp_path / "shared").glob("distillation/*/*/content.safetensors"))[0]
    content.write_bytes(b"rubbish")
    said = call("search", tiny, "--out", tmp_path / "b", *shared)
    assert said.status == 0
    (warning,) = [line for line in said.out.splitlines() if line.startswith("warning: ")]
    assert str(content.parent) in warning
    assert results(tmp_path / "a") == results(tmp_path / "b")


# --- harness store --------------------------------------------------------------------------


def test_the_store_commands(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("search", space(tmp_path, TABLE4), "--out", out, *INLINE).status == 0
    listed = call("store", "ls", out)
    assert listed.status == 0
    lines = listed.out.splitlines()
    distillations = [line for line in lines if line.startswith("distillation")]
    assert len(distillations) == 4
    assert all("3 entries (2, 4, 6)" in line for line in distillations)
    assert any("digits dc ipc 2 main 0 seed 0" in line for line in distillations)
    assert len([line for line in lines if line.startswith("teacher")]) == 12
    assert call("store", "ls", out / "store").out == listed.out

    assert "24 entries, 0 corrupt" in call("store", "verify", out).out
    content = sorted(out.glob("store/distillation/*/00000004/content.safetensors"))[0]
    content.write_bytes(content.read_bytes()[:-1])
    said = call("store", "verify", out)
    assert said.status == 1
    assert f"corrupt, set aside: {content.parent}" in said.out
    assert "24 entries, 1 corrupt" in said.out
    assert call("store", "verify", out).status == 0
    assert "removed 1, " in call("store", "prune", out).out


@pytest.mark.parametrize("command", ["ls", "verify", "prune"])
def test_a_store_that_is_not_there(call: Call, tmp_path: Path, command: str) -> None:
    said = call("store", command, tmp_path / "none")
    assert said.status == 2
    assert "give a store's or a search's folder" in one_line(said.err)


@pytest.mark.ray
def test_under_ray_one_worker_distils_and_the_others_have_it_from_the_store(
    tmp_path: Path,
) -> None:
    text = KD_GRID.replace("[1.0, 1.5, 2.0, 4.0, 8.0, 16.0]", "[1.0, 2.0]")
    out = tmp_path / "out"
    said = shell("search", space(tmp_path, text), "--out", out)
    assert said.status == 0, said.out + said.err
    assert "10 ok" in said.out.splitlines()
    timings = [json.loads(path.read_text())["timings"] for path in out.glob("trials/*/trial.json")]
    made = [item for item in timings if item["distill_s"] == item["distill_cost_s"]]
    assert len(made) == 1
    assert {item["distill_cost_s"] for item in timings} == {made[0]["distill_cost_s"]}
