"""Tests of analysis.exports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.exports import is_export, read_export, whole_replicates, write_export
from analysis.load import load_search
from analysis.summary import summarise
from analysis.views import make_tables
from harness.cli import app
from harness.errors import ConfigError, ResultError
from harness.schema import EVALUATIONS_FILE, SEARCH_FILE

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


def test_an_export_does_not_say_which_machine_it_is_from(mixed: Path, tmp_path: Path) -> None:
    write_export(mixed, tmp_path / "out")
    assert "secret" not in (tmp_path / "out" / SEARCH_FILE).read_text()
    export = read_export(tmp_path / "out")
    assert export.provenance == {"git_hash": "abc", "command": ["harness", "search"]}


def test_an_export_is_replaced_and_other_files_are_not(mixed: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    write_export(mixed, to)
    before = (to / EVALUATIONS_FILE).read_bytes()
    write_export(mixed, to)
    assert (to / EVALUATIONS_FILE).read_bytes() == before
    with pytest.raises(ConfigError, match="no export; choose another folder"):
        write_export(mixed, mixed)


def test_a_search_is_no_export(mixed: Path) -> None:
    assert not is_export(mixed)
    with pytest.raises(ResultError, match="give a folder that 'harness export' wrote"):
        read_export(mixed)


def test_a_damaged_export_is_named(mixed: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    write_export(mixed, to)
    (to / EVALUATIONS_FILE).write_bytes(b"no parquet")
    with pytest.raises(ResultError, match="out: cannot be read"):
        read_export(to)


def test_the_command_writes_a_folder(mixed: Path, tmp_path: Path) -> None:
    to = tmp_path / "published"
    result = CliRunner().invoke(app, ["export", str(mixed), "--to", str(to)])
    assert result.exception is None
    assert result.output == f"{to}: 42 rows of 2 whole replicates; 1 not whole and left out\n"
    assert read_export(to).name == mixed.name
