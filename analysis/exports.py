"""A search as two small files, to publish: analysis reads them as it reads the search itself.

An export is a folder: ``evaluations.parquet`` (the rows, as ``harness.schema.COLUMNS``, for any
tool) and ``search.tar.xz``, the search's own folder without distilled sets, images, logs and the
name of the machine. It holds whole replicates only: of a search that is not finished, those of
which every configuration ended. Unpacked, it is a search that ``harness search`` goes on with.
"""

import io
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow
import tomli_w

from analysis.load import SearchResults, load_search
from analysis.records import parse_object
from harness.errors import ConfigError, ResultError
from harness.schema import (
    ENDED,
    EVALUATIONS_FILE,
    PLAN_FILE,
    SEARCH_FILE,
    TRIAL_FILE,
    TRIALS_FOLDER,
)

ARCHIVE = "search.tar.xz"
_HOST = "host"


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
    frames: dict[str, Any] = {}
    for name in ("rows", "settings", "diagnostics", "stopped"):
        frame = getattr(results, name)
        own = frame["trial_id"].isin(kept["trial_id"])
        frames[name] = frame[own].reset_index(drop=True)
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
    aside = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        aside.mkdir(parents=True)
        whole.rows.to_parquet(aside / EVALUATIONS_FILE, index=False)
        _pack(search, whole, aside / ARCHIVE)
        if to.exists():
            shutil.rmtree(to)
        aside.rename(to)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise ResultError(f"{to}: cannot be written ({error}); choose another folder") from error
    kept, planned = (one.trials["replicate"].nunique() for one in (whole, results))
    return Exported(len(whole.rows), kept, planned - kept)


def is_export(folder: Path | str) -> bool:
    """Whether a folder holds an export."""
    return all((Path(folder) / name).is_file() for name in (EVALUATIONS_FILE, ARCHIVE))


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
    archive = folder / ARCHIVE
    with tempfile.TemporaryDirectory() as place:
        try:
            _unpack(archive, Path(place))
            (search,) = Path(place).iterdir()
            return replace(load_search(search), folder=folder)
        except (OSError, ValueError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
            raise ResultError(
                f"{archive}: cannot be read ({error}); restore it from a copy"
            ) from error
        except ResultError as error:
            raise ResultError(str(error).replace(place, str(archive))) from error


def _unpack(archive: Path, place: Path) -> None:
    """Write an archive's files; of Python's own filters, 3.11.0 to 3.11.3 have none."""
    with tarfile.open(archive) as packed:
        for entry in packed:
            path = PurePosixPath(entry.name)
            content = packed.extractfile(entry) if entry.isreg() else None
            if content is None or path.is_absolute() or ".." in path.parts:
                raise ValueError(f"it holds '{entry.name}', expected files of a search")
            target = place / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())


def _pack(search: Path, whole: SearchResults, to: Path) -> None:
    """Write a search's folder with these trials alone; equal ones give equal bytes."""
    trial_ids = set(whole.trials["trial_id"])
    with tarfile.open(to, "w:xz") as packed:
        for name, content in _files(search, trial_ids):
            entry = tarfile.TarInfo(f"{whole.name}/{name}")
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))


def _files(search: Path, trial_ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
    about = tomllib.loads((search / SEARCH_FILE).read_text(encoding="utf-8"))
    about.get("provenance", {}).pop(_HOST, None)
    yield SEARCH_FILE, tomli_w.dumps(about).encode()
    plan = (search / PLAN_FILE).read_bytes().split(b"\n")
    yield PLAN_FILE, b"".join(line + b"\n" for line in plan if _planned(line) in trial_ids)
    for trial_id in sorted(trial_ids):
        folder = search / TRIALS_FOLDER / trial_id
        yield f"{TRIALS_FOLDER}/{trial_id}/{TRIAL_FILE}", _portable(folder / TRIAL_FILE)
        if (rows := folder / EVALUATIONS_FILE).exists():
            yield f"{TRIALS_FOLDER}/{trial_id}/{EVALUATIONS_FILE}", rows.read_bytes()


def _portable(path: Path) -> bytes:
    """A trial's record without what stays behind; one that is broken as it is."""
    text = path.read_bytes()
    try:
        record = parse_object(text)
    except ValueError:
        return text
    record.get("provenance", {}).pop(_HOST, None)
    # A record names its files: a trial that lacks one of them would be run again.
    files = record.get("files", {})
    record["files"] = {name: files[name] for name in files if name == EVALUATIONS_FILE}
    return f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode()


def _planned(line: bytes) -> object:
    """The trial of a line of the plan; None of one that is empty or torn."""
    try:
        return parse_object(line).get("trial_id")
    except ValueError:
        return None
