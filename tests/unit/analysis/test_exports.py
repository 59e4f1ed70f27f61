"""Tests of analysis.exports."""

import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.exports import ARCHIVE, is_export, read_export, whole_replicates, write_export
from analysis.load import load_search
from analysis.summary import summarise
from analysis.views import make_tables
from harness.cli import app
from harness.errors import ConfigError, ResultError
from harness.schema import EVALUATIONS_FILE, PLAN_FILE, SCHEMA_VERSION, TRIAL_FILE, TRIALS_FOLDER

MakeSearch = Callable[..., Path]
P, KD, T, OTHERS = "pool.main_probability", "kd.variant", "kd.temperature", "pool.others"


@pytest.fixture
def mixed(make_search: MakeSearch) -> Path:
    """Texts beside lists, settings that do not apply, a divergence, a diagnostic, no third seed."""
    points: list[dict[str, Any]] = [
        {P: 1.0, KD: "off"},
        {P: 0.5, KD: "off", OTHERS: [{"network": "mlp", "weight": 1.0}]},
        {P: 0.5, KD: "softened", T: 2, OTHERS: "similar"},
    ]
    trials = [
        {
            "point": point,
            "replicate": replicate,
            "status": "diverged" if (number, replicate) == (1, 1) else "ok",
            "students": {"convnet": [0.9, 0.8], "mlp": [0.5 + 0.1 * number, None]},
            "cost_s": 2.5,
            "config": {"ipc": 1, "pool": {"main_probability": point[P]}},
            "record": {
                "timings": {"distill_s": 1.0},
                "diagnostics": {
                    "flat": {"fired": True, "value": 1.0, "threshold": 0.5, "meaning": "flat"}
                },
            },
        }
        for replicate in range(3)
        for number, point in enumerate(points)
    ]
    trials[-1]["status"] = "not_run"
    where = {"git_hash": "abc", "host": "secret", "command": ["harness", "search"]}
    return make_search(trials, varied=[P, KD, T, OTHERS], provenance=where)


def test_an_export_gives_the_tables_of_the_search(mixed: Path, tmp_path: Path) -> None:
    search = whole_replicates(load_search(mixed))
    found = write_export(mixed, tmp_path / "out")
    export = read_export(tmp_path / "out")
    assert (found.rows, found.replicates, found.left_out) == (len(search.rows), 2, 1)
    pd.testing.assert_frame_equal(export.rows, search.rows)
    for name in ("name", "title", "question", "varied"):
        assert getattr(export, name) == getattr(search, name)
    assert summarise(export) == summarise(search)
    for got, wanted in zip(make_tables(export), make_tables(search), strict=True):
        assert (got.cells, got.caption) == (wanted.cells, wanted.caption)
    assert list(export.settings["ipc"]) == [1] * 6
    assert set(export.trials["replicate"]) == {0, 1}


def test_a_plan_that_is_being_written_is_exported(mixed: Path, tmp_path: Path) -> None:
    plan = mixed / PLAN_FILE
    whole = load_search(mixed)
    for text in (plan.read_text().removesuffix("\n"), plan.read_text() + '\n{"trial_id": "0'):
        plan.write_text(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the torn line, which load_search drops
            found = write_export(mixed, tmp_path / "out")
        assert found.replicates == 2
        kept = read_export(tmp_path / "out").trials["trial_id"]
        assert list(kept) == list(whole_replicates(whole).trials["trial_id"])


def test_an_export_does_not_say_which_machine_it_is_from(mixed: Path, tmp_path: Path) -> None:
    write_export(mixed, tmp_path / "out")
    export = read_export(tmp_path / "out")
    assert export.provenance == {"git_hash": "abc", "command": ["harness", "search"]}
    with tarfile.open(tmp_path / "out" / ARCHIVE) as packed:
        files = [packed.extractfile(entry) for entry in packed]
        assert not any(b"secret" in file.read() for file in files if file)


def test_an_export_is_replaced_and_other_files_are_not(mixed: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    write_export(mixed, to)
    before = [(to / name).read_bytes() for name in (EVALUATIONS_FILE, ARCHIVE)]
    write_export(mixed, to)
    assert [(to / name).read_bytes() for name in (EVALUATIONS_FILE, ARCHIVE)] == before
    with pytest.raises(ConfigError, match="no export; choose another folder"):
        write_export(mixed, mixed)


def test_a_search_is_no_export(mixed: Path) -> None:
    assert not is_export(mixed)
    with pytest.raises(ResultError, match="give a folder that 'harness export' wrote"):
        read_export(mixed)


def test_a_damaged_export_is_named(mixed: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    write_export(mixed, to)
    whole = (to / ARCHIVE).read_bytes()
    for damaged in (b"no archive", b"", whole[: len(whole) // 2]):
        (to / ARCHIVE).write_bytes(damaged)
        with pytest.raises(ResultError, match=r"search\.tar\.xz: cannot be read"):
            read_export(to)


def test_an_archive_writes_nothing_outside_its_place(mixed: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    write_export(mixed, to)
    link = tarfile.TarInfo("demo/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    for entry in (tarfile.TarInfo("../outside"), tarfile.TarInfo("/outside"), link):
        with tarfile.open(to / ARCHIVE, "w:xz") as packed:
            packed.addfile(entry)
        with pytest.raises(ResultError, match=f"it holds '{entry.name}'"):
            read_export(to)


def test_a_newer_export_says_so(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "out"
    write_export(mixed, to)
    monkeypatch.setattr("analysis.trials.SCHEMA_VERSION", SCHEMA_VERSION - 1)
    with pytest.raises(ResultError, match=r"out/search\.tar\.xz/demo/.*update the harness"):
        read_export(to)


def test_a_broken_record_stays_an_error(mixed: Path, tmp_path: Path) -> None:
    broken = next((mixed / TRIALS_FOLDER).iterdir()) / TRIAL_FILE
    broken.write_text("{")
    with pytest.warns(UserWarning, match="cannot be read"):
        write_export(mixed, tmp_path / "out")
    with pytest.warns(UserWarning, match="cannot be read"):
        export = read_export(tmp_path / "out")
    assert list(export.trials["status"]).count("error") == 1


def test_the_command_writes_a_folder(mixed: Path, tmp_path: Path) -> None:
    to = tmp_path / "published"
    result = CliRunner().invoke(app, ["export", str(mixed), "--to", str(to)])
    assert result.exception is None
    assert result.output == f"{to}: 42 rows of 2 whole replicates; 1 not whole and left out\n"
    assert read_export(to).name == mixed.name
