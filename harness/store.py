"""The store: what is costly to make is made once, for trials, searches and machines that share it.

    DIR/<kind>/<digest>/key.json          what the digest is of
    DIR/<kind>/<digest>/<part>/           an entry: content.safetensors and entry.json, its checksum
    DIR/<kind>/<digest>/<part>/keep       there unless the entry is a mere checkpoint
    DIR/<kind>/<digest>/lease             who is making an entry (``harness.lease``)
    DIR/<kind>/<digest>/want-<part>       somebody waits for this part of a longer work

Entries are folders that appear whole, by a rename: the first writer wins, and a reader sees all of
an entry or nothing. There is no index, no lock of the file system and nothing is unpickled.
"""

import copy
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from harness.errors import ResultError
from harness.events import Decision, DeferredError, Event, Waiting
from harness.lease import EXPIRY_S, Lease, Leases
from harness.records import read_json, sync_folder, write_json

METADATA_KEY = "harness"
CONTENT_FILE = "content.safetensors"
ENTRY_FILE = "entry.json"
KEY_FILE = "key.json"
KEEP_FILE = "keep"
LEASE_FILE = "lease"
WANT_PREFIX = "want-"
CORRUPT = ".corrupt-"
TEMPORARY = ".tmp"
DIVERGED = "diverged"
"""Part of a distillation that says at which iteration it diverges."""

_POLL_S = 0.5
_DIGEST_DIGITS = 32


@dataclass(frozen=True)
class Key:
    """Address of an entry.

    Attributes:
        kind: What it is: ``distillation``, ``teacher``.
        identity: All that determines it, as plain data.
        part: Which of several entries with this identity, for example an iteration.
    """

    kind: str
    identity: Mapping[str, Any]
    part: str = "whole"

    @cached_property
    def digest(self) -> str:
        """Hash of the identity: 32 hex digits."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]

    def at(self, part: int | str) -> "Key":
        """Another part; a number is an iteration."""
        return replace(self, part=f"{part:08d}" if isinstance(part, int) else part)


@dataclass(frozen=True)
class Entry:
    """What is stored.

    Attributes:
        tensors: Name -> tensor; on the CPU when it comes from the store.
        data: Plain data, determined by the key as the tensors are.
        cost_s: Seconds that it took to make, wherever that was.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    cost_s: float = 0.0


class _CorruptError(Exception):
    """An entry is not what its checksum says."""


class Store:
    """A folder of entries, shared by whoever sees it."""

    def __init__(
        self,
        path: Path,
        *,
        expiry_s: float = EXPIRY_S,
        warn: Callable[[str], object] = warnings.warn,
    ) -> None:
        """Prepare; nothing is written.

        Args:
            path: Its folder; made when something is stored.
            expiry_s: See ``harness.lease``; the same for all who share the store.
            warn: Called with one line about each corrupt entry.
        """
        self.path = path
        self.warn = warn
        self._leases = Leases(expiry_s)

    def telling(self, warn: Callable[[str], object]) -> "Store":
        """The same store, telling its warnings to somebody else."""
        other = copy.copy(self)
        other.warn = warn
        return other

    def get_or_make(self, key: Key, make: Callable[[], Entry]) -> Entry:
        """Return an entry, which is made by one of all who ask for it; waits for that one.

        Args:
            key: Its address.
            make: Makes it. Called again elsewhere only where its maker dies or is held up.

        Raises:
            OSError: The file system refused, for example because it is full.
        """
        steps = self.steps(key, lambda: _at_once(make))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                entry: Entry = end.value
                return entry

    def steps(
        self, key: Key, make: Callable[[], Generator[Event, Decision, Entry]]
    ) -> Generator[Event, Decision, Entry]:
        """``get_or_make`` for work with events on its way, which are handed through.

        Yields ``Waiting`` while somebody else makes the entry.

        Raises:
            DeferredError: ``Waiting`` was answered by STOP.
            OSError: See ``get_or_make``.
        """
        while True:
            if (entry := self.get(key)) is not None:
                return entry
            lease = self.take_lease(key)
            if lease is None:
                self._touch(self._folder(key) / f"{WANT_PREFIX}{key.part}")
                if (yield Waiting(key.kind)) is Decision.STOP:
                    raise DeferredError
                time.sleep(_POLL_S)
                continue
            with lease:
                # Its last holder may have finished between the two looks.
                if (entry := self.get(key)) is not None:
                    return entry
                self._describe(key)
                return self.put(key, (yield from make()))

    def get(self, key: Key) -> Entry | None:
        """An entry; None where it is not there. A corrupt one is set aside, with a warning."""
        path = self._folder(key) / key.part
        try:
            return _read(path)
        except FileNotFoundError:
            if not path.exists():
                return None
            reason = "a file of it is missing"
        except _CorruptError as error:
            reason = str(error)
        self.set_aside(path, reason)
        return None

    def put(self, key: Key, entry: Entry, *, keep: bool = True) -> Entry:
        """Store an entry unless it is there already; return the one that counts, the first.

        Args:
            key: Its address.
            entry: What to store.
            keep: False for a mere checkpoint, which ``drop_checkpoints`` may remove.

        Raises:
            OSError: The file system refused; nothing half-written is left.
        """
        folder = self._folder(key)
        path = folder / key.part
        folder.mkdir(parents=True, exist_ok=True)
        if not _write(path, entry, keep=keep):
            if (first := self.get(key)) is None:  # it was corrupt, or has just been removed
                return self.put(key, entry, keep=keep)
            entry = first
            if keep:
                self.keep(key)
        (folder / f"{WANT_PREFIX}{key.part}").unlink(missing_ok=True)
        return entry

    def take_lease(self, key: Key) -> Lease | None:
        """Take the lease of a work; None where somebody else has it.

        Work on one digest goes one at a time; but where its holder has passed the wanted part
        without storing it, that part alone has a lease of its own.
        """
        folder = self._folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        lease = self._leases.take(folder / LEASE_FILE)
        if lease is None and any(part > key.part for part in self.parts(key)):
            lease = self._leases.take(folder / f"{LEASE_FILE}-{key.part}")
        return lease

    def parts(self, key: Key) -> list[str]:
        """Parts of an identity that are stored, sorted."""
        return [path.name for path in entries(self._folder(key))]

    def wanted(self, key: Key) -> set[str]:
        """Parts of an identity that somebody waits for."""
        folder = self._folder(key)
        return {path.name.removeprefix(WANT_PREFIX) for path in folder.glob(f"{WANT_PREFIX}*")}

    def keep(self, key: Key) -> None:
        """Make an entry more than a mere checkpoint."""
        path = self._folder(key) / key.part / KEEP_FILE
        if not path.exists():
            self._touch(path)

    def drop_checkpoints(self, key: Key) -> None:
        """Remove checkpoints of parts before this one that nothing is to be kept of."""
        for path in entries(self._folder(key)):
            if path.name < key.part and not (path / KEEP_FILE).exists():
                remove_entry(path)

    def set_aside(self, path: Path, reason: str) -> None:
        """Rename a corrupt entry, so that it is made again, and warn."""
        aside = path.with_name(f"{path.name}{CORRUPT}{uuid.uuid4().hex[:8]}")
        with suppress(FileNotFoundError):
            path.rename(aside)
            self.warn(f"store: {path}: corrupt ({reason}); set aside and made again")

    def check(self, path: Path) -> str | None:
        """What is wrong with an entry on disk, in some words; None where nothing is."""
        try:
            _read(path, thorough=True)
        except FileNotFoundError:
            return "a file of it is missing" if path.exists() else None
        except _CorruptError as error:
            return str(error)
        return None

    def _folder(self, key: Key) -> Path:
        return self.path / key.kind / key.digest

    def _describe(self, key: Key) -> None:
        """Say what a digest is of."""
        path = self._folder(key) / KEY_FILE
        with suppress(ResultError):
            if read_json(path) == key.identity:
                return
        write_json(path, key.identity)

    def _touch(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            path.touch()


def entries(folder: Path) -> Iterator[Path]:
    """Entries below a digest's folder, sorted by part."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") or CORRUPT in path.name
            if not hidden and path.is_dir():
                yield path


def remove_entry(path: Path) -> None:
    """Remove an entry whole: a reader sees all of it or nothing."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _at_once(make: Callable[[], Entry]) -> Generator[Event, Decision, Entry]:
    return make()
    yield  # a generator without events


def _write(path: Path, entry: Entry, *, keep: bool) -> bool:
    """Write an entry aside and rename it; False where there is one already."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in entry.tensors.items()}
    text = json.dumps(entry.data, sort_keys=True, allow_nan=False)
    content = save(tensors, metadata={METADATA_KEY: text})
    described = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "crc32": zlib.crc32(content),
        "bytes": len(content),
        "cost_s": entry.cost_s,
    }
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    try:
        aside.mkdir()
        with (aside / CONTENT_FILE).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        write_json(aside / ENTRY_FILE, described)
        if keep:
            (aside / KEEP_FILE).touch()
        sync_folder(aside)
        aside.rename(path)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync_folder(path.parent)
    return True


def _read(path: Path, *, thorough: bool = False) -> Entry:
    """Read an entry and check it.

    Every read checks length and CRC, a quarter of the time of a hash; a thorough one both.

    Raises:
        FileNotFoundError: It, or a part of it, is not there.
        _CorruptError: It is not what was written.
    """
    described = (path / ENTRY_FILE).read_bytes()
    content = (path / CONTENT_FILE).read_bytes()
    try:
        about = json.loads(described)
        if len(content) != about["bytes"]:
            _corrupt(f"got {len(content)} bytes, expected {about['bytes']}")
        if zlib.crc32(content) != about["crc32"]:
            _corrupt("its checksum differs")
        if thorough and hashlib.sha256(content).hexdigest() != about["sha256"]:
            _corrupt("its hash differs")
        cost_s = float(about["cost_s"])
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        data = json.loads(header["__metadata__"][METADATA_KEY])
        return Entry(load(content), data, cost_s)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _CorruptError(f"cannot be read ({error})") from None


def _corrupt(reason: str) -> NoReturn:
    raise _CorruptError(reason)
