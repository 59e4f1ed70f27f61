"""Tests of harness.search.folder."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import provenance
from harness.errors import ConfigError, ResultError
from harness.records import write_json
from harness.schema import FINISHED, STATUSES
from harness.search import folder as folder_module
from harness.search.folder import SearchFolder, open_search
from harness.search.plan import make_plan
from harness.search.space import Space, read_space, with_samples

GRID = """
title = "A title"
[base]
batch_real = 16
[space]
pool.main_probability = { grid = [0.0, 0.5, 1.0] }
[search]
replicates = 3
"""
RANDOM = """
[space]
lr_img = { uniform = [0.01, 1] }
[search]
algorithm = "random"
samples = 4
"""


def space_of(text: str) -> Space:
    return read_space(tomllib.loads(text), "a.toml", {})


def tree(path: Path) -> dict[str, bytes | None]:
    """Everything below a folder: relative name -> content, None for folders."""
    found = sorted(path.rglob("*"))
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else None for p in found}


@pytest.fixture
def opened(tmp_path: Path) -> SearchFolder:
    folder = open_search(tmp_path / "out", space_of(GRID))
    folder.prepare()
    return folder


WHOLE: dict[str, Any] = {"metrics": {}, "timings": {}, "diagnostics": {}}


def record(folder: SearchFolder, number: int, data: dict[str, Any]) -> None:
    path = folder.trial_folder(folder.plan[number])
    path.mkdir()
    write_json(path / "trial.json", data)


# --- open and prepare -----------------------------------------------------------------------


def test_opening_writes_nothing(tmp_path: Path) -> None:
    folder = open_search(tmp_path / "a" / "out", space_of(GRID))
    assert list(tmp_path.iterdir()) == []
    assert folder.plan == tuple(make_plan(space_of(GRID)))
    assert len(folder.missing()) == 9


def test_prepare_writes_the_space_and_the_plan(opened: SearchFolder) -> None:
    assert set(tree(opened.path)) == {"search.toml", "plan.jsonl", "trials"}
    data = tomllib.loads((opened.path / "search.toml").read_text())
    origin = data.pop("provenance")
    assert data == space_of(GRID).resolved()
    assert set(origin) <= set(provenance.describe())
    assert origin["versions"]["python"]


def test_prepare_is_idempotent(opened: SearchFolder) -> None:
    before = tree(opened.path)
    opened.prepare()
    again = open_search(opened.path, space_of(GRID), must_exist=True)
    assert again.plan == opened.plan
    again.prepare()
    assert tree(opened.path) == before


def test_prepare_makes_parents(tmp_path: Path) -> None:
    open_search(tmp_path / "a" / "b", space_of(GRID)).prepare()
    assert (tmp_path / "a" / "b" / "trials").is_dir()


def test_relative_paths_and_hidden_files_are_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".search.toml.x.tmp").write_text("half")
    folder = open_search(Path("out"), space_of(GRID))
    assert folder.path == tmp_path.resolve() / "out"
    folder.prepare()


@pytest.mark.parametrize("step", ["write_text", "extend_plan"])
def test_a_prepare_that_was_killed_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, step, killed)
        with pytest.raises(KeyboardInterrupt):
            open_search(tmp_path / "out", space_of(GRID)).prepare()
    folder = open_search(tmp_path / "out", space_of(GRID))
    folder.prepare()
    assert set(tree(folder.path)) == {"search.toml", "plan.jsonl", "trials"}
    assert open_search(tmp_path / "out", space_of(GRID), must_exist=True).plan == folder.plan


def test_a_torn_plan_is_healed(opened: SearchFolder) -> None:
    plan = opened.path / "plan.jsonl"
    whole = plan.read_bytes()
    plan.write_bytes(whole[:-10])
    with pytest.warns(UserWarning, match="torn"):
        folder = open_search(opened.path, space_of(GRID))
    assert folder.plan == opened.plan
    with pytest.warns(UserWarning, match="torn"):
        folder.prepare()
    assert plan.read_bytes() == whole


def test_trials_that_only_the_plan_knows_stay(opened: SearchFolder) -> None:
    extra = make_plan(space_of(RANDOM))
    with (opened.path / "plan.jsonl").open("a") as file:
        file.write(extra[3].line())
    folder = open_search(opened.path, space_of(GRID))
    assert folder.plan == (*opened.plan, extra[3])


# --- refusals -------------------------------------------------------------------------------


def refusal(path: Path, space: Space, root: Path, *, resume: bool = False) -> str:
    before = tree(root)
    with pytest.raises(ConfigError) as caught:
        open_search(path, space, must_exist=resume)
    assert tree(root) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("replicates = 3", "replicates = 4", "search.replicates is 3 there and 4 now"),
        ("batch_real = 16", "batch_real = 32", "base.batch_real is 16 there and 32 now"),
        ("batch_real = 16", "", "base.batch_real was 16 there and is missing now"),
        ("batch_real = 16", "batch_real = 16\nipc = 10", "base.ipc is new, 10"),
        (
            "grid = [0.0, 0.5, 1.0]",
            "grid = [0.0, 0.9]",
            "space.pool.main_probability.grid is [0.0, 0.5, 1.0] there and [0.0, 0.9] now",
        ),
        (
            "[0.0, 0.5, 1.0] }",
            "[0.0, 0.5, 1.0], when = { ipc = 1 } }",
            "space.pool.main_probability.when is new, {'ipc': 1}",
        ),
        ("A title", "Another", "title is 'A title' there and 'Another' now"),
    ],
)
def test_another_search(
    opened: SearchFolder, tmp_path: Path, old: str, new: str, difference: str
) -> None:
    for resume in (False, True):
        message = refusal(opened.path, space_of(GRID.replace(old, new)), tmp_path, resume=resume)
        assert message == (
            f"{opened.path} holds another search: {difference}; choose another --out, or undo the "
            "change"
        )


def test_more_samples_are_another_search(tmp_path: Path) -> None:
    space = space_of(RANDOM)
    open_search(tmp_path / "out", space).prepare()
    message = refusal(tmp_path / "out", with_samples(space, 5), tmp_path)
    assert "search.samples is 4 there and 5 now" in message


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("text")
    assert refusal(tmp_path, space_of(GRID), tmp_path) == (
        f"--out: {tmp_path} is not empty and holds no search; choose another --out or empty it"
    )


def test_a_file_as_out(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    for resume in (False, True):
        assert refusal(path, space_of(GRID), tmp_path, resume=resume) == (
            f"--out: {path} is a file, expected a folder; choose another --out"
        )


@pytest.mark.parametrize("there", [True, False])
def test_nothing_to_resume(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "out"
    if there:
        path.mkdir()
    assert refusal(path, space_of(GRID), tmp_path, resume=True) == (
        f"--resume: {path} holds no search; leave --resume out to start one"
    )


@pytest.mark.parametrize("content", [b"[space", b"\xff\xfe", b"title = "])
def test_a_corrupt_search_file(opened: SearchFolder, tmp_path: Path, content: bytes) -> None:
    file = opened.path / "search.toml"
    file.write_bytes(content)
    message = refusal(opened.path, space_of(GRID), tmp_path)
    assert re.fullmatch(
        rf"{re.escape(str(file))}: cannot be read \(.*\); restore or remove it", message
    )


def test_a_corrupt_plan(opened: SearchFolder) -> None:
    with (opened.path / "plan.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(ResultError, match=r"plan\.jsonl:10: not a planned trial"):
        open_search(opened.path, space_of(GRID))


# --- what is done ---------------------------------------------------------------------------


def test_a_trial_of_each_status(opened: SearchFolder) -> None:
    for number, status in enumerate(STATUSES):
        record(opened, number, {**WHOLE, "status": status})
    expected = [*STATUSES, "not_run", "not_run"]
    assert [opened.status(trial) for trial in opened.plan] == expected
    assert opened.counts() == {**dict.fromkeys(STATUSES, 1), "not_run": 3}
    missing = [trial for trial, status in zip(opened.plan, expected, strict=True)
               if status not in FINISHED]  # fmt: skip
    assert opened.missing() == missing
    assert len(missing) == 6


CORRUPTIONS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(b'{"status": "ok"'),
    "not text": lambda path: path.write_bytes(b"\xff"),
    "list": lambda path: path.write_bytes(b'["ok"]'),
    "no status": lambda path: path.write_bytes(b"{}"),
    "no metrics": lambda path: path.write_bytes(b'{"status": "ok"}'),
    "unknown status": lambda path: path.write_bytes(b'{"status": "fine"}'),
    "status of another type": lambda path: path.write_bytes(b'{"status": ["ok"]}'),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_corrupt_record_counts_as_not_run(
    opened: SearchFolder, corrupt: Callable[[Path], object]
) -> None:
    path = opened.trial_folder(opened.plan[0])
    path.mkdir()
    corrupt(path / "trial.json")
    assert opened.status(opened.plan[0]) == "not_run"
    assert opened.plan[0] in opened.missing()
    assert opened.counts() == {"not_run": 9}


def test_a_folder_without_a_record_is_a_trial_under_way(opened: SearchFolder) -> None:
    opened.trial_folder(opened.plan[0]).mkdir()
    assert opened.record(opened.plan[0]) is None
    assert opened.status(opened.plan[0]) == "not_run"


def test_records_are_read(opened: SearchFolder) -> None:
    written = {**WHOLE, "status": "ok", "metrics": {"x": 1.5}}
    record(opened, 1, written)
    assert opened.record(opened.plan[1]) == written
    expected = opened.path / "trials" / opened.plan[1].trial_id
    assert opened.trial_folder(opened.plan[1]) == expected
