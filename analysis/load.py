"""Search folders into frames: the planned trials and the rows of the finished ones.

Reads ``search.toml``, ``plan.jsonl`` and the trial folders, never unpickles, and may run while
the search does: writers replace files whole, and the plan only grows.
"""

import json
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow

from analysis.records import diagnostic_frame, flatten, parse_object, record_columns
from analysis.trials import read_trials
from harness.errors import ResultError
from harness.schema import PLAN_FILE, SEARCH_FILE, TRIAL_FILE, TRIALS_FOLDER

# Spelled out, because the defaults differ between pandas 2 and 3 and depend on which values are
# null: a search with one diverged trial would turn every student_seed into a float.
_PANDAS_TYPES = {
    pyarrow.string(): pd.StringDtype(na_value=np.nan),
    pyarrow.int64(): pd.Int64Dtype(),
    pyarrow.bool_(): pd.BooleanDtype(),
}
_STOPPED_COLUMNS = ["trial_id", "iteration", "quick"]


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
    - ``validation/unseen_mean``, ``validation/main``, ``test/unseen_mean``, ``test/main``:
      float64, accuracies as the trial states them, fractions; NaN where there is none, here and
      below
    - ``validation/quick``: the last quick score on the way, a fraction
    - ``distill_s``, ``distill_cost_s``, ``quick_s``, ``eval_s``, ``control_s``, ``store_s``:
      seconds; what a set costs to make is ``distill_cost_s``, also where it came from the store
    - further metrics and timings that a record holds, under their own names
    - ``peak_gib``: peak memory
    - ``distill/gpu_s``, ``distill/peak_gib`` and so on: GPU-seconds and peak memory of each of
      ``harness.schema.PHASES``; NaN for a phase that was not run, and GPU-seconds on the CPU
    - ``device``, ``cpu_capability``, ``notes``: texts; empty where there are none
    - ``fired``: names of the diagnostics that fired, joined by ``, ``
    """
    settings: pd.DataFrame = field(default_factory=pd.DataFrame)
    """A row for each planned trial, in the order of ``trials``: ``trial_id``, and every setting of
    its config under its dotted name; lists as compact text."""
    diagnostics: pd.DataFrame = field(default_factory=pd.DataFrame)
    """A row for each diagnostic of each trial with a record: ``trial_id``, ``diagnostic``,
    ``fired`` (bool), ``value`` (NaN: it does not apply), ``threshold``, ``meaning``."""
    folder: Path = Path()
    """Where the search was read from."""
    stopped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_STOPPED_COLUMNS))
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
    config: dict[str, Any]


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
    read, rows = read_trials([folder / TRIALS_FOLDER / trial.trial_id for trial in planned])
    for one in read:
        if one.warning:
            warnings.warn(one.warning, stacklevel=2)
    records = [one.record for one in read]
    ids = [trial.trial_id for trial in planned]
    trials = pd.DataFrame(
        {
            "trial_id": pd.Series(ids, dtype="str"),
            "status": [one.status for one in read],
            "replicate": np.array([trial.replicate for trial in planned], dtype="int64"),
            **{name: [_compact(trial.point.get(name)) for trial in planned] for name in varied},
            **record_columns(records),
        }
    )
    name = folder.resolve().name
    return SearchResults(
        name=name,
        title=str(search.get("title", name)),
        question=str(search.get("question", "")),
        varied=varied,
        rows=rows.to_pandas(types_mapper=_PANDAS_TYPES.get),
        trials=trials,
        stopped=pd.DataFrame(
            [(name, *one.stopped) for name, one in zip(ids, read, strict=True) if one.stopped],
            columns=_STOPPED_COLUMNS,
        ),
        settings=_settings(planned),
        diagnostics=diagnostic_frame(dict(zip(ids, records, strict=True))),
        folder=folder,
        provenance=_table(search, "provenance", folder),
    )


def read_record(results: SearchResults, trial_id: str) -> dict[str, Any]:
    """Read a trial's whole record: matching loss and draw of each iteration, config, numerics.

    Args:
        results: A search.
        trial_id: One of ``results.trials``.

    Returns:
        ``trial.json``, as plain data.

    Raises:
        ResultError: It is not there, or cannot be read.
    """
    path = results.folder / TRIALS_FOLDER / trial_id / TRIAL_FILE
    try:
        return parse_object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: cannot be read ({error}); choose a finished trial") from error


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
            parse_object(tail)
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
    data = parse_object(line)
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
    config = data.get("config")
    return _Planned(trial_id, replicate, point, config if isinstance(config, dict) else {})


def _settings(planned: Iterable[_Planned]) -> pd.DataFrame:
    flat = [{"trial_id": trial.trial_id, **flatten(trial.config)} for trial in planned]
    names = dict.fromkeys(["trial_id", *(name for one in flat for name in one)])
    frame = pd.DataFrame({name: [_compact(one.get(name)) for one in flat] for name in names})
    return frame.astype({"trial_id": "str"})  # also of an empty plan, whose lists have no type


def _compact(value: Any) -> Any:
    """Return a setting's value as a scalar: lists and tables, which cannot be grouped, as text."""
    if isinstance(value, list):
        return ", ".join(str(_compact(item)) for item in value) or "(none)"
    if isinstance(value, dict):
        if set(value) == {"network", "weight"}:
            return f"{value['network']}:{value['weight']}"
        return json.dumps(value, sort_keys=True)
    return value
