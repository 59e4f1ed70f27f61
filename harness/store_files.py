"""A store as files: what is in it, for people to look at and to clean up."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, ResultError
from harness.lease import Leases
from harness.records import read_json
from harness.schema import STORE_FOLDER
from harness.store import (
    CORRUPT,
    ENTRY_FILE,
    KEEP_FILE,
    KEY_FILE,
    LEASE_FILE,
    TEMPORARY,
    WANT_PREFIX,
    Store,
    entries,
    remove_entry,
)

_DIGEST_DIGITS = 32
_LEFT_AFTER_S = 3600.0


@dataclass(frozen=True)
class Item:
    """An entry on disk."""

    part: str
    bytes: int
    cost_s: float
    checkpoint: bool
    """Whether it is a mere checkpoint."""


@dataclass(frozen=True)
class Work:
    """All that is stored under one digest."""

    kind: str
    digest: str
    identity: dict[str, Any]
    """What the digest is of; empty where that cannot be read."""
    entries: tuple[Item, ...]
    held_by: str
    """Host and process that make an entry now; empty where none does."""

    def describe(self) -> str:
        """What it is, in some words."""
        made = self.identity.get("distillation")
        if isinstance(made, dict):
            words = [made["dataset"]["name"], made["method"]]
            words += [f"{name} {made[name]}" for name in ("ipc", "seed") if name in made]
            if "pool" in made:
                words.insert(-1, f"main {made['pool']['main_probability']:g}")
            return " ".join(words)
        names = ("architecture", "seed", "student_seed")
        return " ".join(f"{name} {self.identity[name]}" for name in names if name in self.identity)

    def parts(self) -> str:
        """Its parts in some words: iterations without leading zeros, checkpoints marked."""
        return ", ".join(
            (item.part.lstrip("0") or "0") + ("*" if item.checkpoint else "")
            for item in self.entries
        )

    def cost_s(self) -> float:
        """Seconds that making it took: later parts' costs include earlier ones'."""
        return max((item.cost_s for item in self.entries), default=0.0)


class StoreFiles:
    """A store that is there."""

    def __init__(self, path: Path) -> None:
        """Find it.

        Args:
            path: Its folder, or the folder of a search that has one.

        Raises:
            ConfigError: There is none, or something else.
        """
        if not path.is_dir():
            raise ConfigError(f"store: no folder {path}; give a store's or a search's folder")
        inner = path / STORE_FOLDER
        self.path = inner if inner.is_dir() else path
        for entry in self.path.iterdir():
            if not entry.is_dir() or not all(_is_digest(below) for below in entry.iterdir()):
                raise ConfigError(
                    f"store: {self.path} holds '{entry.name}', which is no part of a store; give "
                    "a store's or a search's folder"
                )
        self._leases = Leases()

    def works(self) -> Iterator[Work]:
        """Everything in it, by kind and digest."""
        for folder in self._folders():
            try:
                identity = read_json(folder / KEY_FILE)
            except ResultError:
                identity = {}
            items = tuple(_item(path) for path in entries(folder))
            holder = self._leases.holder(folder / LEASE_FILE)
            held_by = f"{holder.host}:{holder.pid}" if holder else ""
            yield Work(folder.parent.name, folder.name, identity, items, held_by)

    def verify(self) -> tuple[int, list[tuple[Path, str]]]:
        """Check every entry and set corrupt ones aside: number of entries, (entry, reason)."""
        store = Store(self.path, warn=lambda _: None)
        number, corrupt = 0, []
        for folder in self._folders():
            for path in entries(folder):
                number += 1
                reason = store.check(path)
                if reason is not None:
                    store.set_aside(path, reason)
                    corrupt.append((path, reason))
        return number, corrupt

    def prune(self) -> tuple[int, int]:
        """Remove what is never read again; return number and bytes of what was removed.

        That is: checkpoints before a later state, corrupt entries, what dead writers left. Works
        that somebody is making now are left alone.
        """
        number, size = 0, 0
        for folder in self._folders():
            if self._leases.holder(folder / LEASE_FILE) is not None:
                continue
            for path in list(_unneeded(folder, self._now(folder))):
                number += 1
                size += _size(path)
                if path.is_dir():
                    remove_entry(path)
                else:
                    path.unlink(missing_ok=True)
        return number, size

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.path.glob("*/*") if path.is_dir())

    def _now(self, folder: Path) -> float:
        """The file system's time, which another machine may keep."""
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=TEMPORARY) as file:
            return Path(file.name).stat().st_mtime


def _is_digest(path: Path) -> bool:
    return path.is_dir() and len(path.name) == _DIGEST_DIGITS


def _item(path: Path) -> Item:
    cost_s = 0.0
    with suppress(OSError, ValueError, KeyError, TypeError):
        cost_s = float(json.loads((path / ENTRY_FILE).read_bytes())["cost_s"])
    return Item(path.name, _size(path), cost_s, not (path / KEEP_FILE).exists())


def _unneeded(folder: Path, now: float) -> Iterator[Path]:
    stored = list(entries(folder))
    last = max((path.name for path in stored if path.name.isdigit()), default="")
    for path in stored:
        if path.name < last and not (path / KEEP_FILE).exists():
            yield path
    for path in folder.iterdir():
        left = path.name.endswith(TEMPORARY) and now - path.stat().st_mtime > _LEFT_AFTER_S
        if left or CORRUPT in path.name or path.name.startswith(WANT_PREFIX):
            yield path


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
