"""Whole files: what analysis writes appears at once, or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from harness.errors import ResultError


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file aside and put it in its place.

    Args:
        path: File to write, in place of one that is there.
        content: Text goes as UTF-8, its lines end as they do here.

    Raises:
        ResultError: It cannot be written; what was there stays.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise ResultError(f"{path}: cannot be written ({error}); choose another file") from error
