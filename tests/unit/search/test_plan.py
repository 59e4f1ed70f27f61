"""Tests of harness.search.plan."""

import errno
import json
import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ResultError
from harness.search.plan import extend_plan, make_plan, read_plan
from harness.search.space import Space, read_space, with_samples

GRID = """
[base]
seed = 5
[space]
pool.main_probability = { grid = [0.5, 1.0] }
ipc = { grid = [1, 10] }
[search]
replicates = 3
"""
RANDOM = """
[space]
lr_img = { loguniform = [0.01, 1] }
[search]
algorithm = "random"
samples = 6
"""
CONDITIONAL = """
[space]
kd.variant = { grid = ["off", "softened", "legacy"] }
kd.temperature = { grid = [1.5, 2.0, 4.0], when = { kd.variant = "softened" } }
[search]
replicates = 2
"""


def space_of(text: str) -> Space:
    return read_space(tomllib.loads(text), "a.toml", {})


# --- make -----------------------------------------------------------------------------------


def test_all_configurations_come_once_before_any_comes_twice() -> None:
    plan = make_plan(space_of(GRID))
    assert [trial.replicate for trial in plan] == [0] * 4 + [1] * 4 + [2] * 4
    assert [(t.point["pool.main_probability"], t.point["ipc"]) for t in plan] == 3 * [
        *((0.5, 1), (0.5, 10)),
        *((1.0, 1), (1.0, 10)),
    ]


def test_replicates_are_paired_by_their_seeds() -> None:
    for trial in make_plan(space_of(GRID)):
        assert trial.config.seed == 5 + trial.replicate
        assert "seed" not in trial.point


def test_ids_are_stable_ordered_and_unique() -> None:
    plan = make_plan(space_of(GRID))
    ids = [trial.trial_id for trial in plan]
    assert ids == [trial.trial_id for trial in make_plan(space_of(GRID))]
    assert ids == sorted(ids)
    assert len(set(ids)) == 12
    for number, trial in enumerate(plan):
        assert trial.trial_id == f"{number:05d}-{trial.config.digest()[:8]}"
        assert re.fullmatch(r"[0-9]{5}-[0-9a-f]{8}", trial.trial_id)


def test_a_conditional_grid_has_a_whole_number_of_trials() -> None:
    plan = make_plan(space_of(CONDITIONAL))
    assert len(plan) == 2 * (1 + 3 + 1)
    assert len({trial.config.digest() for trial in plan}) == len(plan)


def test_more_samples_only_add_trials() -> None:
    space = space_of(RANDOM)
    plan = make_plan(space)
    assert len(plan) == 6
    assert make_plan(with_samples(space, 9))[:6] == plan


# --- write and read -------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.jsonl"


@pytest.mark.parametrize("text", [GRID, RANDOM, CONDITIONAL])
def test_round_trip(path: Path, text: str) -> None:
    plan = make_plan(space_of(text))
    assert read_plan(path) == []
    extend_plan(path, plan)
    assert read_plan(path) == plan
    lines = path.read_text().splitlines()
    assert [json.loads(line)["trial_id"] for line in lines] == [trial.trial_id for trial in plan]
    assert all(list(json.loads(line)) == sorted(json.loads(line)) for line in lines)


def test_extending_appends_what_is_missing(path: Path) -> None:
    plan = make_plan(space_of(GRID))
    extend_plan(path, plan[:5])
    before = path.read_bytes()
    extend_plan(path, plan[:5])
    assert path.read_bytes() == before
    extend_plan(path, plan[3:])
    assert path.read_bytes().startswith(before)
    assert read_plan(path) == plan


def test_words_of_any_language_survive(path: Path) -> None:
    space = read_space(
        tomllib.loads(
            '[base]\ndataset.root = "/d\u2028\u00e9 \\n"\n[space]\nseed = { grid = [0] }'
        ),
        "a.toml",
        {},
    )
    plan = make_plan(space)
    extend_plan(path, plan)
    assert path.read_bytes().isascii()
    assert read_plan(path) == plan


@pytest.mark.parametrize("lost", [1, 2, 40, 400])
def test_a_torn_last_line_is_dropped_and_healed(path: Path, lost: int) -> None:
    plan = make_plan(space_of(GRID))
    extend_plan(path, plan)
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    with pytest.warns(UserWarning, match=r"plan\.jsonl: the last line is torn and is dropped"):
        assert read_plan(path) == plan[:-1]
    assert path.read_bytes() == whole[:-lost]
    with pytest.warns(UserWarning, match="the last line is torn"):
        extend_plan(path, plan)
    assert path.read_bytes() == whole
    assert read_plan(path) == plan


def test_a_torn_only_line(path: Path) -> None:
    plan = make_plan(space_of(RANDOM))
    path.write_bytes(b'{"trial_id": "\xff')
    with pytest.warns(UserWarning, match="torn"):
        extend_plan(path, plan)
    assert read_plan(path) == plan


def test_a_full_disk_leaves_a_plan_that_heals(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    plan = make_plan(space_of(GRID))
    extend_plan(path, plan[:2])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            extend_plan(path, plan)
    extend_plan(path, plan)
    assert read_plan(path) == plan


RESTORE = "restore the file from a copy, or search into another folder"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", f"not a planned trial (Expecting property name .*); {RESTORE}"),
        ("", f"not a planned trial (Expecting value: .*); {RESTORE}"),
        ("[1]", f"not a planned trial (list indices .*); {RESTORE}"),
        ("3", f"not a planned trial ('int' object .*); {RESTORE}"),
        ('"text"', f"not a planned trial (string indices .*); {RESTORE}"),
        ('{"trial_id": "a"}', f"not a planned trial ('config'); {RESTORE}"),
        ('{"config": {}, "trial_id": "a"}', f"not a planned trial ('replicate'); {RESTORE}"),
        ('{"config": {"future": 1}}', "unknown setting 'future'; .* another version of harness?"),
        ('{"config": [1]}', "got [1], expected a table of settings; .* version of harness?"),
    ],
)
def test_a_corrupt_line_in_the_middle_is_named(path: Path, line: str, words: str) -> None:
    plan = make_plan(space_of(RANDOM))
    path.write_text("".join([plan[0].line(), line + "\n", plan[1].line()]))
    pattern = re.escape(f"{path}:2: {words}").replace(r"\.\*", ".*")
    with pytest.raises(ResultError, match=f"^{pattern}$"):
        read_plan(path)
    before = path.read_bytes()
    with pytest.raises(ResultError):
        extend_plan(path, plan)
    assert path.read_bytes() == before


def test_a_line_is_plain_json() -> None:
    trial = make_plan(space_of(CONDITIONAL))[1]
    data: dict[str, Any] = json.loads(trial.line())
    assert set(data) == {"trial_id", "replicate", "point", "config"}
    assert data["point"] == {"kd.variant": "softened", "kd.temperature": 1.5}
    assert data["config"]["kd"]["temperature"] == 1.5


def test_what_is_planned_stays_and_what_it_lacks_comes_after() -> None:
    space = read_space(
        {"space": {"ipc": {"grid": [1, 10]}}, "search": {"replicates": 2}}, "s.toml", {}
    )
    whole = make_plan(space)
    renamed = [replace(trial, trial_id=f"{trial.trial_id[:5]}-older") for trial in whole[:3]]
    plan = make_plan(space, renamed)
    assert plan[:3] == renamed
    assert plan[3:] == whole[3:]
