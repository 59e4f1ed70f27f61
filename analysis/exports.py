"""A search as a few small files, to publish: analysis reads them as it reads the search itself.

An export is a folder: ``search.toml`` (the resolved space, with git hash, versions, command line),
``evaluations.parquet`` (the rows, as ``harness.schema.COLUMNS``), and a parquet file for each of
the frames of ``analysis.load.SearchResults``. Distilled sets, images and logs stay behind. It holds
whole replicates only: of a search that is not finished, those of which every configuration ended.
"""

import os
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import tomli_w

from analysis.aggregate import setting_text
from analysis.load import SearchResults, load_search
from analysis.records import record_columns
from harness.errors import ConfigError, ResultError
from harness.schema import COLUMNS, ENDED, EVALUATIONS_FILE, SCHEMA_VERSION, SEARCH_FILE

FRAMES = ("trials", "settings", "diagnostics", "stopped")
"""Frames of a search, each in ``NAME.parquet``."""

_TYPES: dict[str, Any] = {
    "string": pd.StringDtype(na_value=np.nan),
    "int64": pd.Int64Dtype(),
    "float64": "float64",
    "bool": pd.BooleanDtype(),
}
_NAME = "name"
"""Key of ``search.toml``: name of the search's folder, which an export may not have."""


class Exported(NamedTuple):
    """What was written."""

    rows: int
    replicates: int
    """Whole ones, which are in the export."""
    left_out: int
    """Replicates that are planned and not whole."""


def whole_replicates(results: SearchResults) -> SearchResults:
    """Return a search without the replicates of which a configuration has not ended.

    Of a running search, some configurations are ahead: a mean over those would not be comparable.
    """
    trials = results.trials
    open_ones = set(trials.loc[~trials["status"].isin(ENDED), "replicate"])
    kept = trials[~trials["replicate"].isin(open_ones)].reset_index(drop=True)
    frames: dict[str, Any] = {
        name: _of(getattr(results, name), kept["trial_id"])
        for name in ("rows", "settings", "diagnostics", "stopped")
    }
    return replace(results, trials=kept, **frames)


def write_export(search: Path, to: Path) -> Exported:
    """Write an export of a search.

    Args:
        search: Its folder; it may still run.
        to: Folder to write; an export that is there is replaced.

    Returns:
        How much of it was written.

    Raises:
        ConfigError: ``to`` holds other files.
        ResultError: The search cannot be read, or the folder not be written.
    """
    if to.exists() and (not to.is_dir() or (any(to.iterdir()) and not is_export(to))):
        raise ConfigError(f"--to: {to} is there and is no export; choose another folder")
    results = load_search(search)
    whole = whole_replicates(results)
    about = tomllib.loads((search / SEARCH_FILE).read_text(encoding="utf-8"))
    about["provenance"] = {k: v for k, v in results.provenance.items() if k != "host"}
    aside = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        aside.mkdir(parents=True)
        (aside / SEARCH_FILE).write_text(tomli_w.dumps({_NAME: results.name, **about}), "utf-8")
        whole.rows.to_parquet(aside / EVALUATIONS_FILE, index=False)
        for name in FRAMES:
            _plain(getattr(whole, name)).to_parquet(aside / f"{name}.parquet", index=False)
        if to.exists():
            shutil.rmtree(to)
        aside.rename(to)
    except (OSError, pyarrow.ArrowException) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise ResultError(f"{to}: cannot be written ({error}); choose another folder") from error
    kept, planned = (one.trials["replicate"].nunique() for one in (whole, results))
    return Exported(len(whole.rows), kept, planned - kept)


def is_export(folder: Path | str) -> bool:
    """Whether a folder holds an export."""
    files = (SEARCH_FILE, EVALUATIONS_FILE, *(f"{name}.parquet" for name in FRAMES))
    return all((Path(folder) / name).is_file() for name in files)


def read_export(folder: Path | str) -> SearchResults:
    """Read an export.

    Args:
        folder: As ``write_export`` wrote it.

    Returns:
        What ``analysis.load.load_search`` returns of the search, for its whole replicates.

    Raises:
        ResultError: It is no export, cannot be read, or was written by a newer version.
    """
    folder = Path(folder)
    if not is_export(folder):
        raise ResultError(
            f"{folder}: no export of a search; give a folder that 'harness export' wrote"
        )
    try:
        about = tomllib.loads((folder / SEARCH_FILE).read_text(encoding="utf-8"))
        rows = pd.read_parquet(folder / EVALUATIONS_FILE)
        frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in FRAMES}
        rows = rows.astype({column.name: _TYPES[column.type] for column in COLUMNS})
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise ResultError(f"{folder}: cannot be read ({error}); restore it from a copy") from error
    if len(rows) and (newest := int(rows["schema_version"].max())) > SCHEMA_VERSION:
        raise ResultError(
            f"{folder}: schema_version is {newest}, expected at most {SCHEMA_VERSION}; "
            "a newer harness wrote it: update the harness"
        )
    trials = frames["trials"]
    for column, values in record_columns([{}] * len(trials)).items():
        if column not in trials.columns:  # newer than the export
            trials[column] = values
    name = str(about.get(_NAME, folder.resolve().name))
    return SearchResults(
        name=name,
        title=str(about.get("title", name)),
        question=str(about.get("question", "")),
        varied=tuple(about.get("space", {})),
        rows=rows,
        folder=folder,
        provenance=about.get("provenance", {}),
        **frames,
    )


def _of(frame: pd.DataFrame, trial_ids: pd.Series) -> pd.DataFrame:
    if "trial_id" not in frame.columns:
        return frame
    return frame[frame["trial_id"].isin(trial_ids)].reset_index(drop=True)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Make columns of one type each: files have no others."""
    found = frame.copy()
    for name in frame.columns:
        values = frame[name].dropna()
        if values.map(type).nunique() > 1 and not values.map(_is_number).all():
            found[name] = frame[name].map(setting_text, na_action="ignore")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
