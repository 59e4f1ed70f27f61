"""Watches the processes of a private Ray: without them its driver would wait for ever."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from harness.search.interruption import Interruption

_NEEDED = ("raylet", "gcs_server")
_LOOK_S = 1.0
_GRACE_S = 15.0
_INCOMPLETE = 1


class RayWatch:
    """Stops a search whose Ray has died, and ends this process if even that hangs.

    Use as a context manager around the whole connection, and ``watching`` inside of it. Only
    processes that this one has started are watched: those of a private Ray.
    """

    def __init__(self, interruption: Interruption) -> None:
        """Prepare to interrupt a search."""
        self._interruption = interruption
        self._leaving = threading.Event()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the processes that are there now; afterwards they may go."""
        needed = _children()
        threading.Thread(target=self._watch, args=(needed,), name="ray-watch", daemon=True).start()
        try:
            yield
        finally:
            self._leaving.set()

    def _watch(self, needed: dict[int, str]) -> None:
        while not self._leaving.wait(_LOOK_S):
            there = _children()
            for process, name in needed.items():
                if process not in there:
                    self._stop(f"Ray's {name} has died")
                    return

    def _stop(self, reason: str) -> None:
        self._interruption.force(reason)
        if not self._over.wait(_GRACE_S):
            # Ray's own shutdown hangs, and no Python code of the main thread runs.
            text = f"harness: {reason}: not complete; the same command again goes on\n"
            os.write(sys.stderr.fileno(), text.encode())
            os._exit(_INCOMPLETE)


def _children() -> dict[int, str]:
    """Needed processes that this one started and that still run: process id -> name."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if name in _NEEDED and int(parent) == os.getpid() and state not in ("Z", "X"):
            found[int(entry.name)] = name
    return found
