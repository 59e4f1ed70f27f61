"""The cache: decoded images as one memory-mapped file, shared by every process of a machine.

A file holds the bytes of a whole dataset and appears whole or not at all. It is a safetensors
file (``labels`` int64 [M], then ``images`` uint8 [M, C, H, W]) whose metadata carry the SHA-256 of
what it holds, which is compared each time it is opened; a file that does not fit is made again.

It lies in $HARNESS_CACHE, else in ``harness`` below $XDG_CACHE_HOME or ``~/.cache``. Its name is
made of the source: folder, and name, size and time of change of every file. Where several
processes want the same file at once, one makes it and the others wait; nothing but a rename is
relied on, so shared file systems without locks will do.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import DataError
from harness.lease import Leases
from harness.records import whole_file

LAYOUT = 1
"""Raised by every change of what a file, or a note beside it, holds or means."""

ABSENT = -1
"""Label of a place whose image could not be read and was skipped."""

_HASH_BLOCK = 1 << 20
_MAX_HEADER = 64 << 20
_POLL_S = 0.1
_EXPIRY_S = 30.0
_TRIES = 5

_log = logging.getLogger("harness")

Write = Callable[[int, NDArray[np.uint8]], None]
"""Called with a place and the images from there on, uint8 [n, C, H, W] or [C, H, W]."""


class Stored(NamedTuple):
    """A decoded dataset."""

    images: Tensor
    """uint8 [M, C, H, W], mapped from the file; writing to it changes this process's copy only."""
    labels: Tensor
    """int64 [M]; ``ABSENT`` where an image was skipped."""
    num_train: int
    """The first of M are for training, the rest for testing."""
    classes: tuple[str, ...]
    content: str
    """SHA-256 of all of it, 64 hex digits."""
    path: Path | None
    """The file; None where no cache folder could be written to."""


def cache_folder() -> Path:
    """Return the folder of the cache, which may not exist."""
    if own := os.environ.get("HARNESS_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "harness"


def get_or_build(name: str, key: str, build: Callable[[Path], None]) -> Stored:
    """Open a cached dataset, or make it first.

    Args:
        name: Of the dataset; it starts the file's name.
        key: Hash of all that the content depends on.
        build: Writes the file with ``write_store``; its exceptions leave nothing behind.

    Returns:
        The images, memory-mapped. Where the cache folder cannot be written to, they come from a
        temporary file of this process alone, and a warning says so.
    """
    path = cache_folder() / f"{name}-{key[:24]}.safetensors"
    for _ in range(_TRIES):
        if (stored := _open_or_none(path)) is not None:
            return stored
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with claim(path):
                if not path.exists():
                    _remove_old_parts(path)
                    with whole_file(path) as aside:
                        build(aside)
        except OSError as error:
            _log.warning(
                "%s: not cached, since %s cannot be written to (%s); set $HARNESS_CACHE",
                name,
                path.parent,
                error.strerror or error,
            )
            break
    return _build_for_this_process(build)


def write_store(
    path: Path,
    shape: tuple[int, int, int, int],
    labels: Sequence[int],
    *,
    num_train: int,
    classes: Sequence[str],
    fill: Callable[[Write], Sequence[int]],
) -> None:
    """Write a cache file, image by image, never all of it in memory.

    Args:
        path: Existing or not; written from its start.
        shape: (M, C, H, W).
        labels: Class of each image, M of them.
        num_train: How many of the first images are for training.
        classes: Name of each class.
        fill: Is given a function that writes images to their place, from any thread; returns the
            places that it skipped.
    """
    with path.open("w+b") as file:
        header = _header(shape, num_train, classes, "0" * 64)
        start = len(header)
        images_at = start + 8 * shape[0]
        size = shape[1] * shape[2] * shape[3]
        file.truncate(images_at + size * shape[0])

        def write(place: int, images: NDArray[np.uint8]) -> None:
            os.pwrite(file.fileno(), images.tobytes(), images_at + place * size)

        skipped = fill(write)
        kept = np.asarray(labels, dtype="<i8")
        kept[list(skipped)] = ABSENT
        file.seek(start)
        file.write(kept.tobytes())
        file.flush()
        file.seek(start)
        content = _hash(file, shape, num_train, classes)
        file.seek(0)
        file.write(_header(shape, num_train, classes, content))


def remember(stored: Stored, question: str, answer: Callable[[], dict[str, object]]) -> object:
    """Return what ``answer`` gives, from a note beside the cache file where there is one.

    Args:
        stored: The dataset; a note is only believed for the content that it was made of.
        question: All else that the answer depends on.
        answer: Plain data, as JSON can hold.
    """
    if stored.path is None:
        return answer()
    digest = hashlib.sha256(question.encode()).hexdigest()[:12]
    note = stored.path.with_name(f"{stored.path.stem}-{digest}.json")
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(note.read_text(encoding="utf-8"))
        if (found["content"], found["question"]) == (stored.content, question):
            return found["answer"]
    made = answer()
    with suppress(OSError), whole_file(note) as aside:
        text = {"content": stored.content, "question": question, "answer": made}
        aside.write_text(json.dumps(text), encoding="utf-8")
    return made


def _header(
    shape: tuple[int, int, int, int], num_train: int, classes: Sequence[str], content: str
) -> bytes:
    """The head of a safetensors file; as long for every ``content``."""
    num, size = shape[0], shape[0] * shape[1] * shape[2] * shape[3]
    table = {
        "__metadata__": {
            "layout": str(LAYOUT),
            "num_train": str(num_train),
            "classes": json.dumps(list(classes)),
            "content": content,
        },
        "labels": {"dtype": "I64", "shape": [num], "data_offsets": [0, 8 * num]},
        "images": {"dtype": "U8", "shape": list(shape), "data_offsets": [8 * num, 8 * num + size]},
    }
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _hash(file: BinaryIO, shape: Sequence[int], num_train: int, classes: Sequence[str]) -> str:
    """Hash the rest of a file, and what its header says of it."""
    digest = hashlib.sha256(json.dumps([list(shape), num_train, list(classes)]).encode())
    while block := file.read(_HASH_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _open_or_none(path: Path) -> Stored | None:
    try:
        return _open(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s: does not hold what it should (%s); made again", path, error)
        with suppress(OSError):
            path.unlink()
        return None


def _open(path: Path) -> Stored:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER:
            raise ValueError("no header")
        table = json.loads(file.read(length))
        metadata = table["__metadata__"]
        shape = tuple(table["images"]["shape"])
        num_train, classes = int(metadata["num_train"]), tuple(json.loads(metadata["classes"]))
        if metadata["layout"] != str(LAYOUT) or len(shape) != 4:
            raise ValueError("another layout")
        content = _hash(file, shape, num_train, classes)
        if content != metadata["content"]:
            raise ValueError("another content than when it was written")
        start = 8 + length
        # Mode "c": mapped and shared until written to, as torch wants a tensor it may write to.
        images = np.memmap(file, np.uint8, "c", start + 8 * shape[0], shape)
        labels = np.fromfile(path, "<i8", shape[0], offset=start)
    return Stored(
        torch.from_numpy(images), torch.from_numpy(labels), num_train, classes, content, path
    )


def _build_for_this_process(build: Callable[[Path], None]) -> Stored:
    try:
        handle, name = tempfile.mkstemp(prefix="harness-", suffix=".safetensors")
        os.close(handle)
        path = Path(name)
        try:
            build(path)
            return _open(path)._replace(path=None)
        finally:
            path.unlink()  # what is mapped stays until the process ends
    except OSError as error:
        raise DataError(
            f"cache: neither {cache_folder()} nor {tempfile.gettempdir()} can be written to "
            f"({error.strerror or error}); set $HARNESS_CACHE to a folder with space"
        ) from error


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Be the one process that makes a file; wait for the one that does, and then look again.

    Args:
        path: What is made; the claim lies beside it, in a folder that must exist.
    """
    leases = Leases(_EXPIRY_S)
    mark = path.with_name(f"{path.name}.building")
    while (lease := leases.take(mark)) is None:
        time.sleep(_POLL_S)
    with lease:
        yield


def _remove_old_parts(path: Path) -> None:
    """Remove what killed writers of this file left, a day ago or earlier."""
    for part in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > 86400:
                part.unlink()
