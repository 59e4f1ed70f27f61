"""Trial folders: status, record and rows of each, many at a time."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
from pyarrow import compute, parquet

from analysis.records import parse_object, summarise_record
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
# Reading waits for the file system, and pyarrow decodes without the interpreter's lock.
_THREADS = 8


class Trial(NamedTuple):
    """What a trial's folder says."""

    status: str
    """One of ``harness.schema.STATUSES``; ``error`` also where its files cannot be read."""
    record: Mapping[str, Any] = {}
    """As ``analysis.records.summarise_record`` returns it; empty without a record."""
    stopped: tuple[int, float] | None = None
    """Iteration at which it was stopped early, and its last quick score (NaN: none)."""
    rows: pyarrow.Table | None = None
    """Its rows, where it finished."""
    warning: str = ""
    """What is wrong with its files."""


def read_trials(folders: Sequence[Path]) -> tuple[list[Trial], pyarrow.Table]:
    """Read trial folders; whatever is wrong with one is its status and its warning.

    Args:
        folders: Named by trial; a folder that is not there is a trial that has not run.

    Returns:
        One trial a folder, in the same order, and the rows of all, with the columns of
        ``harness.schema.COLUMNS``, one chunk a column.

    Raises:
        ResultError: A file was written by a newer version.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        trials = list(pool.map(_read_trial, folders))
    joined = _join(trials)
    # Looked at as a whole, since that is quick; one by one only to find the culprit.
    if not _are_sound(joined, folders, trials):
        trials = [_checked(trial, folder) for trial, folder in zip(trials, folders, strict=True)]
        joined = _join(trials)
    return trials, joined


def _read_trial(folder: Path) -> Trial:
    path = folder / TRIAL_FILE
    try:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return Trial("not_run")
        record = parse_object(text)
        _check_version(record.get("schema_version"), path)
        status = record.get("status")
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}, expected one of {', '.join(STATUSES)}")
        summary = summarise_record(record)
        if status == "stopped_early":
            return Trial(str(status), summary, _stop(record))
        if status not in FINISHED:
            return Trial(str(status), summary)
        path = folder / EVALUATIONS_FILE
        return Trial(str(status), summary, rows=_read_rows(path))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        return _unreadable(path, error)


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
    table = parquet.ParquetFile(pyarrow.BufferReader(path.read_bytes())).read(use_threads=False)
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


def _join(trials: Sequence[Trial]) -> pyarrow.Table:
    tables = [trial.rows for trial in trials if trial.rows is not None]
    # One chunk a column: pandas converts chunk by chunk, and there is one a trial.
    return pyarrow.concat_tables([_SCHEMA.empty_table(), *tables]).combine_chunks()


def _are_sound(joined: pyarrow.Table, folders: Sequence[Path], trials: Sequence[Trial]) -> bool:
    """Whether all rows are whole, of their own trial, and of a version that is known."""
    try:
        joined.validate(full=True)  # a damaged text must not come up later, in pandas
    except pyarrow.ArrowException:
        return False
    newest = compute.max(joined["schema_version"]).as_py()
    counts = [0 if trial.rows is None else trial.rows.num_rows for trial in trials]
    owners = np.repeat(np.array([folder.name for folder in folders], dtype="object"), counts)
    own = compute.equal(joined["trial_id"], pyarrow.array(owners, pyarrow.string()))
    whole = compute.all(compute.fill_null(own, False), min_count=0).as_py()
    return bool(whole) and (newest is None or newest <= SCHEMA_VERSION)


def _checked(trial: Trial, folder: Path) -> Trial:
    """Return a trial whose rows are looked at by themselves."""
    if trial.rows is None:
        return trial
    path = folder / EVALUATIONS_FILE
    try:
        trial.rows.validate(full=True)
        for version in trial.rows["schema_version"].unique().to_pylist():
            _check_version(version, path)
        owners = set(trial.rows["trial_id"].to_pylist())
        if not owners <= {folder.name}:
            raise ValueError(f"it holds rows of trial {', '.join(sorted(map(str, owners)))}")
    except (ValueError, pyarrow.ArrowException) as error:
        return _unreadable(path, error)
    return trial


def _check_version(version: object, path: Path) -> None:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ResultError(
            f"{path}: schema_version is {version}, expected at most {SCHEMA_VERSION}; "
            "a newer harness wrote it: update the harness"
        )
