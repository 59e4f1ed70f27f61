"""Files that appear whole or not at all: write aside, sync, rename.

A reader of a search folder, on this machine or another, sees the old file or the new one, never
half of one, and a killed writer leaves at most a hidden ``.tmp`` file.
"""

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from pydantic_core import from_json

from harness.errors import ResultError
from harness.schema import COLUMNS


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it becomes ``path``, on an exception it goes away.

    Args:
        path: Final name. Its folder must exist.

    Raises:
        OSError: The file system refused, for example because it is full. Nothing is left behind.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o666 & ~_umask())
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole, keys sorted; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ResultError: The file is not there, not readable, or not a JSON object.
    """
    try:
        # Four times as fast as ``json``: a resumed search reads thousands of these.
        data = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: cannot be read ({error}); remove it to run it again") from error
    if not isinstance(data, dict):
        raise ResultError(f"{path}: got {type(data).__name__}, expected a JSON object; remove it")
    return cast("dict[str, Any]", data)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write result rows as parquet, with exactly the columns of ``harness.schema``.

    Args:
        path: Final name.
        rows: Column name -> plain value or None. Every row has every column.

    Raises:
        KeyError: A row lacks a column (a bug of the caller).
    """
    import pyarrow
    from pyarrow import parquet

    fields = {
        "string": pyarrow.string(),
        "int64": pyarrow.int64(),
        "float64": pyarrow.float64(),
        "bool": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(column.name, fields[column.type]) for column in COLUMNS])
    table = pyarrow.table(
        {column.name: [row[column.name] for row in rows] for column in COLUMNS}, schema=schema
    )
    with whole_file(path) as aside:
        # Small files are read by the thousand: without what helps large ones they take half the
        # room and two thirds of the time.
        parquet.write_table(
            table, aside, use_dictionary=False, write_statistics=False, store_schema=False
        )


def is_full(error: OSError) -> bool:
    """Whether no more can be written, so that every other trial would meet the same."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make a rename durable; some network file systems refuse to sync folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
