"""Search folders into frames: the planned trials and the rows of the finished ones.

Reads ``search.toml``, ``plan.jsonl`` and the trial folders, never unpickles, and may run while
the search does: writers replace files whole, and the plan only grows.
"""

import json
import math
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from harness.errors import ResultError
from harness.schema import (
    COLUMNS,
    EVALUATIONS_FILE,
    FINISHED,
    PLAN_FILE,
    QUICK,
    SCHEMA_VERSION,
    SEARCH_FILE,
    STATUSES,
    TRIAL_FILE,
    TRIALS_FOLDER,
)

_ARROW_TYPES = {
    "string": pyarrow.string(),
    "int64": pyarrow.int64(),
    "float64": pyarrow.float64(),
    "bool": pyarrow.bool_(),
}
_SCHEMA = pyarrow.schema([(column.name, _ARROW_TYPES[column.type]) for column in COLUMNS])
# Spelled out, because the defaults differ between pandas 2 and 3 and depend on which values are
# null: a search with one diverged trial would turn every student_seed into a float.
_PANDAS_TYPES = {
    pyarrow.string(): pd.StringDtype(na_value=np.nan),
    pyarrow.int64(): pd.Int64Dtype(),
    pyarrow.bool_(): pd.BooleanDtype(),
}


@dataclass(frozen=True, eq=False)
class SearchResults:
    """What one search folder holds at the moment of reading."""

    name: str
    """Name of the folder."""
    title: str
    """Title of the search space; the folder's name where it has none."""
    question: str
    """Question that the search asks; may be empty."""
    varied: tuple[str, ...]
    """Dotted names of the settings that the space varies, in its order."""
    rows: pd.DataFrame
    """Columns as ``harness.schema.COLUMNS``, in that order, a row for each (trial, student,
    student_seed, split). Only trials whose status is in ``harness.schema.FINISHED`` have rows.
    Texts are ``str`` with NaN, integers ``Int64`` and booleans ``boolean`` with NA, all on every
    version of pandas."""
    trials: pd.DataFrame
    """A row for each planned trial, in the order of the plan.

    - ``trial_id``: folder below ``trials/``
    - ``status``: one of ``harness.schema.STATUSES``; ``error`` also where files cannot be read
    - ``replicate``: int64; equal replicates of different configurations are paired
    - one column for each name in ``varied``: the trial's value; lists as compact text; missing
      where the setting does not apply (for example ``kd.temperature`` where KD is off)
    """
    stopped: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["trial_id", "iteration", "quick"])
    )
    """A row for each trial that a scheduler stopped early, in the order of the plan.

    - ``trial_id``: as in ``trials``
    - ``iteration``: iterations that were done; 0 where it was stopped before it began
    - ``quick``: its last quick validation score, 0..1; NaN where it has none
    """
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Table ``[provenance]`` of ``search.toml``: git hash, versions, command line."""


class _Planned(NamedTuple):
    trial_id: str
    replicate: int
    point: dict[str, Any]


def load(folders: Iterable[Path | str]) -> list[SearchResults]:
    """Read several searches.

    Args:
        folders: Folders that ``harness search`` wrote to.

    Returns:
        One result a folder, in the same order.

    Raises:
        ResultError: See ``load_search``.
    """
    return [load_search(folder) for folder in folders]


def load_search(folder: Path | str) -> SearchResults:
    """Read one search, finished or not.

    A trial whose files cannot be read gets the status ``error`` and a warning that names the
    file; its rows are not used. A torn last line of the plan is dropped with a warning.

    Args:
        folder: Folder that ``harness search`` wrote to.

    Returns:
        The planned trials, and the rows of those that finished.

    Raises:
        ResultError: The folder holds no search, ``search.toml`` or a line of ``plan.jsonl`` is
            broken, or a file was written by a newer version.
    """
    folder = Path(folder)
    search = _read_search(folder)
    varied = tuple(_table(search, "space", folder))
    planned = _read_plan(folder / PLAN_FILE, varied)
    statuses, tables, stopped = [], [], []
    for trial in planned:
        status, table, stop = _read_trial(folder / TRIALS_FOLDER / trial.trial_id)
        statuses.append(status)
        if stop is not None:
            stopped.append((trial.trial_id, *stop))
        if table is not None:
            tables.append(table)
    joined = pyarrow.concat_tables(tables) if tables else _SCHEMA.empty_table()
    trials = pd.DataFrame(
        {
            "trial_id": [trial.trial_id for trial in planned],
            "status": statuses,
            "replicate": np.array([trial.replicate for trial in planned], dtype="int64"),
            **{name: [_compact(trial.point.get(name)) for trial in planned] for name in varied},
        }
    )
    name = folder.resolve().name
    return SearchResults(
        name=name,
        title=str(search.get("title", name)),
        question=str(search.get("question", "")),
        varied=varied,
        rows=joined.to_pandas(types_mapper=_PANDAS_TYPES.get),
        trials=trials,
        stopped=pd.DataFrame(stopped, columns=["trial_id", "iteration", "quick"]),
        provenance=_table(search, "provenance", folder),
    )


def _read_search(folder: Path) -> dict[str, Any]:
    path = folder / SEARCH_FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        got = f"no {SEARCH_FILE} in it" if folder.is_dir() else "no such folder"
        raise ResultError(
            f"{folder}: {got}, expected the folder of a search; "
            "give the folder that 'harness search' got as --out"
        ) from None
    except (OSError, ValueError) as error:
        raise ResultError(
            f"{path}: cannot be read ({error}), expected TOML; restore the file from a copy"
        ) from error


def _table(search: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    table = search.get(name, {})
    if not isinstance(table, dict):
        raise ResultError(
            f"{folder / SEARCH_FILE}: '{name}' is {table!r}, expected a table [{name}]; "
            "restore the file from a copy"
        )
    return table


def _read_plan(path: Path, varied: tuple[str, ...]) -> list[_Planned]:
    """Read the planned trials; a plan that is not there yet is empty."""
    try:
        *lines, tail = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error}); check its permissions") from error
    if tail.strip():
        # No newline yet: the driver is writing this line, or died doing so.
        try:
            _json_object(tail)
        except ValueError:
            warnings.warn(f"{path}: dropped the torn last line {len(lines) + 1}", stacklevel=3)
        else:
            lines.append(tail)
    planned: dict[str, _Planned] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            trial = _parse_planned(line, varied)
            if planned.setdefault(trial.trial_id, trial) != trial:
                raise ValueError(f"trial '{trial.trial_id}' was planned before, differently")
        except ValueError as error:
            raise ResultError(
                f"{path}, line {number}: {error}; expected a planned trial as a JSON object with "
                "trial_id, replicate and point; restore the file from a copy"
            ) from error
    return list(planned.values())


def _parse_planned(line: bytes, varied: tuple[str, ...]) -> _Planned:
    data = _json_object(line)
    trial_id, replicate, point = (data.get(key) for key in ("trial_id", "replicate", "point"))
    # The name becomes a path: one part of it, never a way out of the folder.
    if not isinstance(trial_id, str) or trial_id in ("", ".", "..") or set(trial_id) & set("/\\\0"):
        raise ValueError(f"trial_id is {trial_id!r}, expected the name of a folder")
    if not isinstance(replicate, int):
        raise ValueError(f"replicate is {replicate!r}, expected an integer")
    if not isinstance(point, dict):
        raise ValueError(f"point is {point!r}, expected settings and their values")
    if unknown := sorted(set(point) - set(varied)):
        # Else these trials would be averaged as if they were equal.
        raise ValueError(f"point sets '{unknown[0]}', which [space] of {SEARCH_FILE} does not vary")
    return _Planned(trial_id, replicate, point)


def _json_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object; ValueError says what is wrong."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError(f"got {type(data).__name__}, expected a JSON object")
    return data


def _read_trial(folder: Path) -> tuple[str, pyarrow.Table | None, tuple[int, float] | None]:
    """Return the status of a trial, its rows where it finished, and where it was stopped early."""
    path = folder / TRIAL_FILE
    try:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return "not_run", None, None
        trial = _json_object(text)
        _check_version(trial.get("schema_version"), path)
        status = trial.get("status")
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}, expected one of {', '.join(STATUSES)}")
        if status == "stopped_early":
            return str(status), None, _read_stop(trial)
        if status not in FINISHED:
            return str(status), None, None
        path = folder / EVALUATIONS_FILE
        return str(status), _read_rows(path), None
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        warnings.warn(
            f"{path}: cannot be read ({error}); the trial counts as an error and is not used",
            stacklevel=3,
        )
        return "error", None, None


def _read_stop(trial: Mapping[str, Any]) -> tuple[int, float]:
    """Where a trial was stopped early, and its last quick score."""
    try:
        scores = trial[QUICK]
        return int(trial["stopped"]["iteration"]), float(scores[-1][1]) if scores else math.nan
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"where it was stopped is not there ({error})") from None


def _read_rows(path: Path) -> pyarrow.Table:
    # A ParquetFile takes the path as it is; read_table would read columns out of folder names
    # such as "ipc=1". One thread: the files are small and many.
    with parquet.ParquetFile(path) as file:
        table = file.read(use_threads=False)
    # The version first: a newer file may well have other columns.
    if "schema_version" in table.column_names:
        for version in table["schema_version"].unique().to_pylist():
            _check_version(version, path)
    if missing := [name for name in _SCHEMA.names if name not in table.column_names]:
        raise ValueError(f"column '{missing[0]}' is missing")
    table = table.select(_SCHEMA.names).cast(_SCHEMA)
    table.validate(full=True)  # a damaged text must not come up later, in the joined table
    owners = set(table["trial_id"].to_pylist())
    if not owners <= {path.parent.name}:
        raise ValueError(f"it holds rows of trial {', '.join(sorted(map(str, owners)))}")
    return table


def _check_version(version: object, path: Path) -> None:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ResultError(
            f"{path}: schema_version is {version}, expected at most {SCHEMA_VERSION}; "
            "a newer harness wrote it: update the harness"
        )


def _compact(value: Any) -> Any:
    """Return a setting's value as a scalar: lists and tables, which cannot be grouped, as text."""
    if isinstance(value, list):
        return ", ".join(str(_compact(item)) for item in value) or "(none)"
    if isinstance(value, dict):
        if set(value) == {"network", "weight"}:
            return f"{value['network']}:{value['weight']}"
        return json.dumps(value, sort_keys=True)
    return value
