"""Leases: who works on what, among processes and machines that share nothing but a file system.

A lease is a file. It appears at once with its holder's name in it (``link``), and its holder
counts up a number in it while it lives. Whoever wants it watches that number by a clock of their
own: times of different machines are never compared, so that clocks may differ, jump or stand
still. A number that stays the same for the expiry, or a process of this machine that is no more,
means a dead holder, who loses the lease by a rename that one taker alone can win.

A holder may lose its lease while it lives (it was stopped for a while): then work is done twice.
A lease saves work; that a result counts once is kept by whoever writes it (``harness.store``).
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from platform import node as host_name
from typing import Any, NamedTuple, Self

EXPIRY_S = 60.0
"""Seconds without a beat after which a holder counts as dead."""
_BEATS_AN_EXPIRY = 12
_COUNT_DIGITS = 20


class Holder(NamedTuple):
    """Who holds a lease, as its file says."""

    owner: str
    """Unique to this holding of it."""
    host: str
    pid: int
    machine: str
    """Boot and process namespace: process ids mean something within one alone."""
    started: str
    """Start of the process in ticks: a process id may be given again."""


class Lease:
    """A lease that is held; release it, or use it as a context manager."""

    def __init__(self, path: Path, owner: str, handle: int, offset: int, beat_s: float) -> None:
        """Start to beat; see ``Leases.take``."""
        self.path = path
        self.owner = owner
        self.lost = False
        """Whether somebody else was seen to hold it."""
        self._handle = handle
        self._offset = offset
        self._beat_s = beat_s
        self._released = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beating.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lease back; does nothing where it is lost or given back already."""
        if self._released.is_set():
            return
        self._released.set()
        self._beating.join()
        os.close(self._handle)
        with suppress(OSError):
            _remove(self.path, lambda content: _owner(content) == self.owner)

    def _beat(self) -> None:
        """Count up, in the file that this holder made: a taker's file is another one."""
        count = 0
        while not self._released.wait(self._beat_s):
            count += 1
            with suppress(OSError):
                os.pwrite(self._handle, f"{count:0{_COUNT_DIGITS}d}".encode(), self._offset)
                os.fsync(self._handle)
                if _owner(_read(self.path)) not in (self.owner, None):
                    self.lost = True
                    return


class Leases:
    """Takes leases, and remembers for how long those of others have not beaten."""

    def __init__(self, expiry_s: float = EXPIRY_S) -> None:
        """Prepare.

        Args:
            expiry_s: Seconds without a beat after which a holder counts as dead; the same for
                all who share the files.
        """
        self._expiry_s = expiry_s
        self._seen: dict[Path, tuple[bytes, float]] = {}

    def take(self, path: Path) -> Lease | None:
        """Take a lease, from a dead holder if need be.

        Args:
            path: Its file. The folder must exist.

        Returns:
            None where somebody else holds it.

        Raises:
            OSError: The file system refused, for example because it is full.
        """
        if (lease := self._create(path)) is not None:
            return lease
        content = _read(path)
        if content is not None:
            if not self._is_dead(path, content):
                return None
            if not _remove(path, lambda found: found == content):
                return None
        return self._create(path)

    def take_from_dead(self, path: Path) -> "Lease | Holder":
        """Take a lease, or say who is alive and holds it.

        That a holder on another machine is dead takes the expiry to see.
        """
        first = _read(path)
        while (lease := self.take(path)) is None:
            content = _read(path)
            holder = None if content is None else _parse(content)
            if holder is not None and (holder.machine == _machine() or content != first):
                return holder
            time.sleep(min(1.0, self._expiry_s / _BEATS_AN_EXPIRY))
        return lease

    def holder(self, path: Path) -> Holder | None:
        """Who holds a lease; None where nobody does, or somebody who is known to be dead."""
        content = _read(path)
        if content is None or self._is_dead(path, content):
            return None
        return _parse(content)

    def _create(self, path: Path) -> Lease | None:
        owner = uuid.uuid4().hex
        me = Holder(owner, host_name(), os.getpid(), _machine(), _started(os.getpid()))
        head = (json.dumps(me._asdict(), sort_keys=True) + "\n").encode()
        aside = path.with_name(f".{path.name}.{owner}.tmp")
        handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            os.write(handle, head + b"0" * _COUNT_DIGITS + b"\n")
            os.fsync(handle)
            with suppress(FileExistsError):
                os.link(aside, path)
            # Asked of the file, not of ``link``: over NFS its answer may be lost and repeated.
            taken = _owner(_read(path)) == owner
        except BaseException:
            os.close(handle)
            raise
        finally:
            aside.unlink()
        if not taken:
            os.close(handle)
            return None
        return Lease(path, owner, handle, len(head), self._expiry_s / _BEATS_AN_EXPIRY)

    def _is_dead(self, path: Path, content: bytes) -> bool:
        holder = _parse(content)
        if holder is not None and holder.machine == _machine():
            there = _started(holder.pid) == holder.started
            if not there:
                return True
        known, since = self._seen.get(path, (b"", 0.0))
        if known != content:
            self._seen[path] = (content, time.monotonic())
            return False
        return time.monotonic() - since > self._expiry_s


def _remove(path: Path, is_expected: Callable[[bytes | None], bool]) -> bool:
    """Remove a lease if it is the expected one, and say so; of several removers one succeeds."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    expected = is_expected(_read(aside))
    if not expected:  # somebody was quicker and holds it now: give it back
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
    return expected


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _parse(content: bytes) -> Holder | None:
    """The holder that a lease names; None where it cannot be read."""
    try:
        data: dict[str, Any] = json.loads(content.partition(b"\n")[0])
        return Holder(**data)
    except (ValueError, TypeError):
        return None


def _owner(content: bytes | None) -> str | None:
    holder = None if content is None else _parse(content)
    return None if holder is None else holder.owner


@cache
def _machine() -> str:
    """This boot of this machine and this process namespace; unknown elsewhere than on Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"unknown-{uuid.uuid4().hex}"


def _started(process: int) -> str:
    """When a process of this machine started, in ticks since the boot; empty where it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
