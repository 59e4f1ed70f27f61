"""Trial folders: status, record and rows of each, many at a time.

Ten thousand small files cost what opening and decoding each costs. They are read in parts: the rows
of a part become one table before the next is read, so that what was decoded is freed at once, and
are looked at as a whole, since that is quick; one by one only to find a culprit.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from pyarrow import compute, parquet

from analysis.records import parse_parts, summarise_record
from harness.errors import ResultError
from harness.schema import (
    ADDED,
    COLUMNS,
    EVALUATIONS_FILE,
    FINISHED,
    QUICK,
    SCHEMA_VERSION,
    STATUSES,
    TRIAL_FILE,
)

_ARROW_TYPES = {
    "string": pyarrow.string(),
    "int64": pyarrow.int64(),
    "float64": pyarrow.float64(),
    "bool": pyarrow.bool_(),
}
_SCHEMA = pyarrow.schema([(column.name, _ARROW_TYPES[column.type]) for column in COLUMNS])
_PART = 128
# One reads while another decodes, without the interpreter's lock; more than there are cores wait
# for each other.
_THREADS = min(8, max(2, os.cpu_count() or 1))


class Trial(NamedTuple):
    """What a trial's folder says."""

    status: str
    """One of ``harness.schema.STATUSES``; ``error`` also where its files cannot be read."""
    record: Mapping[str, Any] = {}
    """As ``analysis.records.summarise_record`` returns it; empty without a record."""
    stopped: tuple[int, float] | None = None
    """Iteration at which it was stopped early, and its last quick score (NaN: none)."""
    warning: str = ""
    """What is wrong with its files."""


class _Read(NamedTuple):
    trial: Trial
    rows: pyarrow.Table | None = None


def read_trials(folders: Sequence[Path]) -> tuple[list[Trial], pyarrow.Table]:
    """Read trial folders; whatever is wrong with one is its status and its warning.

    Args:
        folders: Named by trial; a folder that is not there is a trial that has not run.

    Returns:
        One trial a folder, in the same order, and the rows of all, with the columns of
        ``harness.schema.COLUMNS``.

    Raises:
        ResultError: A file was written by a newer version.
    """
    parts = [folders[at : at + _PART] for at in range(0, len(folders), _PART)]
    with ThreadPoolExecutor(_THREADS) as pool:
        read = list(pool.map(_read_part, parts))
    rows = pyarrow.concat_tables([_SCHEMA.empty_table(), *(rows for _, rows in read)])
    return [trial for trials, _ in read for trial in trials], rows


def _read_part(folders: Sequence[Path]) -> tuple[list[Trial], pyarrow.Table]:
    read = [_read_trial(folder) for folder in folders]
    joined = _join(one.rows for one in read)
    if not _are_sound(joined, folders, read):
        read = [_checked(one, folder) for one, folder in zip(read, folders, strict=True)]
        joined = _join(one.rows for one in read)
    return [one.trial for one in read], joined


def _read_trial(folder: Path) -> _Read:
    path = folder / TRIAL_FILE
    try:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return _Read(Trial("not_run"))
        record = parse_parts(text)
        _check_version(record.get("schema_version"), path)
        status = record.get("status")
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}, expected one of {', '.join(STATUSES)}")
        trial = Trial(str(status), summarise_record(record))
        if status == "stopped_early":
            return _Read(trial._replace(stopped=_stop(record)))
        if status not in FINISHED:
            return _Read(trial)
        path = folder / EVALUATIONS_FILE
        return _Read(trial, _read_rows(path))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        return _Read(_unreadable(path, error))


def _unreadable(path: Path, error: Exception) -> Trial:
    warning = f"{path}: cannot be read ({error}); the trial counts as an error and is not used"
    return Trial("error", warning=warning)


def _stop(record: Mapping[str, Any]) -> tuple[int, float]:
    """Where a trial was stopped early, and its last quick score."""
    try:
        scores = record[QUICK]
        return int(record["stopped"]["iteration"]), float(scores[-1][1]) if scores else math.nan
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"where it was stopped is not there ({error})") from None


def _read_rows(path: Path) -> pyarrow.Table:
    # Bytes, not the path: out of that, pyarrow would read columns such as a folder "ipc=1".
    # One thread: the files are small and many.
    file = parquet.ParquetFile(pyarrow.BufferReader(path.read_bytes()), pre_buffer=False)
    table = file.read(use_threads=False)
    if table.schema.equals(_SCHEMA):
        return table
    # The version first: a newer file may well have other columns.
    if "schema_version" in table.column_names:
        for version in table["schema_version"].unique().to_pylist():
            _check_version(version, path)
    for name, value in ADDED.items():
        if name not in table.column_names:
            table = table.append_column(name, pyarrow.repeat(value, table.num_rows))
    names = set(table.column_names)
    if missing := [name for name in _SCHEMA.names if name not in names]:
        raise ValueError(f"column '{missing[0]}' is missing")
    return table.select(_SCHEMA.names).cast(_SCHEMA)


def _join(tables: Iterable[pyarrow.Table | None]) -> pyarrow.Table:
    found = [table for table in tables if table is not None]
    # One chunk a column: pandas converts chunk by chunk, and there is one a trial.
    return pyarrow.concat_tables([_SCHEMA.empty_table(), *found]).combine_chunks()


def _are_sound(joined: pyarrow.Table, folders: Sequence[Path], read: Sequence[_Read]) -> bool:
    """Whether all rows are whole, of their own trial, and of a version that is known."""
    try:
        joined.validate(full=True)  # a damaged text must not come up later, in pandas
    except pyarrow.ArrowException:
        return False
    newest = compute.max(joined["schema_version"]).as_py()
    owners: list[str] = []
    for folder, one in zip(folders, read, strict=True):
        owners += [folder.name] * (0 if one.rows is None else one.rows.num_rows)
    own = compute.equal(joined["trial_id"], pyarrow.array(owners, pyarrow.string()))
    whole = compute.all(compute.fill_null(own, False), min_count=0).as_py()
    return bool(whole) and (newest is None or newest <= SCHEMA_VERSION)


def _checked(read: _Read, folder: Path) -> _Read:
    """Return a trial whose rows are looked at by themselves."""
    if read.rows is None:
        return read
    path = folder / EVALUATIONS_FILE
    try:
        read.rows.validate(full=True)
        for version in read.rows["schema_version"].unique().to_pylist():
            _check_version(version, path)
        owners = set(read.rows["trial_id"].to_pylist())
        if not owners <= {folder.name}:
            raise ValueError(f"it holds rows of trial {', '.join(sorted(map(str, owners)))}")
    except (ValueError, pyarrow.ArrowException) as error:
        return _Read(_unreadable(path, error))
    return read


def _check_version(version: object, path: Path) -> None:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ResultError(
            f"{path}: schema_version is {version}, expected at most {SCHEMA_VERSION}; "
            "a newer harness wrote it: update the harness"
        )
