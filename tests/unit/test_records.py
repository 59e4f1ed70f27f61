"""Tests of harness.records: files appear whole or not at all."""

import errno
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from harness import records
from harness.errors import ResultError
from harness.records import read_json, whole_file, write_json, write_rows, write_text
from harness.schema import COLUMNS


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def fail_half_way(path: Path, error: type[BaseException], *, remove: bool = False) -> None:
    with whole_file(path) as aside:
        aside.write_text("half")
        if remove:
            aside.unlink()
        raise error


def full_disk(*args: object, **kwargs: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


# --- whole_file -----------------------------------------------------------------------------


def test_the_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as aside:
        aside.write_text("half")
        assert not path.exists()
        assert aside.parent == tmp_path
        assert aside.name.startswith(".a.txt.")
        assert aside.suffix == ".tmp"
    assert path.read_text() == "half"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        fail_half_way(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_exception_leaves_nothing_new(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_half_way(tmp_path / "a.txt", ZeroDivisionError)
    assert names(tmp_path) == []


def test_an_exception_comes_through_where_the_aside_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_half_way(tmp_path / "a.txt", ZeroDivisionError, remove=True)


@pytest.mark.parametrize("broken", ["fsync", "replace", "write"])
def test_a_full_disk_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    (tmp_path / "old.txt").write_text("old")
    with monkeypatch.context() as patch:
        if broken == "fsync":
            patch.setattr(os, "fsync", full_disk)
        else:
            patch.setattr(Path, {"replace": "replace", "write": "write_text"}[broken], full_disk)
        for name in ("old.txt", "new.txt"):
            with pytest.raises(OSError, match="No space left"):
                write_text(tmp_path / name, "new")
    assert names(tmp_path) == ["old.txt"]
    assert (tmp_path / "old.txt").read_text() == "old"


def test_a_folder_that_cannot_be_synced_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> Any:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "open", refuse)
    records.sync_folder(tmp_path)


def test_a_missing_folder_and_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "no" / "a.txt", "text")
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "a.txt", "text")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path, mask: int, mode: int) -> None:
    os.umask(mask)
    write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode
    assert os.umask(mask) == mask


# --- JSON -----------------------------------------------------------------------------------


def test_json_round_trip_with_sorted_keys(tmp_path: Path) -> None:
    data = {"b": [1, 2.5, None], "a": {"d": "é", "c": True}}
    write_json(tmp_path / "a.json", data)
    assert read_json(tmp_path / "a.json") == data
    text = (tmp_path / "a.json").read_text()
    assert text == json.dumps(data, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_not_a_number(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read (EOF while parsing"),
        (b'{"a": 1', "cannot be read (EOF while parsing"),
        (b"\xff\xfe", "cannot be read (expected value"),
        (b"[1]", "got list, expected a JSON object; remove it"),
        (b"3", "got int, expected a JSON object; remove it"),
    ],
)
def test_files_that_are_no_json_object(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "trial.json"
    path.write_bytes(content)
    with pytest.raises(ResultError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert "remove it" in str(caught.value)


@pytest.mark.parametrize("name", ["no.json", "."])
def test_json_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResultError, match=r"cannot be read .*; remove it to run it again"):
        read_json(tmp_path / name)


# --- rows -----------------------------------------------------------------------------------

VALUES: dict[str, Any] = {"string": "word", "int64": 2**40, "float64": 0.25, "bool": False}
ARROW = {"string": "string", "int64": "int64", "float64": "double", "bool": "bool"}


def test_rows_have_the_columns_of_the_schema(tmp_path: Path) -> None:
    full = {column.name: VALUES[column.type] for column in COLUMNS}
    empty = dict.fromkeys(full)
    backwards = dict(reversed(full.items()))
    path = tmp_path / "evaluations.parquet"
    write_rows(path, [full, empty, {**backwards, "more": 3}])
    table = parquet.read_table(path)
    assert table.schema.names == [column.name for column in COLUMNS]
    assert [str(field.type) for field in table.schema] == [ARROW[c.type] for c in COLUMNS]
    assert table.to_pylist() == [full, empty, full]
    assert names(tmp_path) == ["evaluations.parquet"]


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", [])
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 0
    assert table.schema.names == [column.name for column in COLUMNS]


def test_a_row_lacking_a_column_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="trial_id"):
        write_rows(tmp_path / "a.parquet", [{"search": None}])
    assert names(tmp_path) == []


def test_a_full_disk_leaves_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "write_table", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_rows(tmp_path / "a.parquet", [])
    assert names(tmp_path) == []
