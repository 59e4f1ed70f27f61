"""A search in a process of its own, which a hook can break at a chosen call.

Processes are forked from a server that has imported everything already: a start takes
milliseconds. Each is the leader of a session, so that what it leaves can be found.
"""

import json
import os
import signal
import stat
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

IMPORTED = [
    "torch._dynamo",  # which the first optimizer would import: a second or more
    "harness.commands.search",
    "harness.search.inline",
    "harness.distill.dc",
    "pyarrow.parquet",
    "sklearn.datasets",
    "PIL.PngImagePlugin",
]


class Hook(NamedTuple):
    """What happens at a call."""

    point: str
    """Which calls: a key of ``points``."""
    number: int
    """At which of them, counted from 1."""
    action: str
    """``kill``, ``term``, ``int``, ``stop``, ``full``, ``oom`` or ``bug``."""
    after: bool = False
    """Whether the call is done first."""


def points() -> dict[str, tuple[Any, str]]:
    """Where a hook can be: every step of the work, and every call that changes files."""
    from harness.distill.dc import DC
    from harness.evaluate import students

    return {
        "step": (DC, "step"),
        "student": (students, "train_network"),
        "fsync": (os, "fsync"),
        "file-fsync": (os, "fsync"),
        "link": (os, "link"),
        "rename": (Path, "rename"),
        "replace": (Path, "replace"),
        "unlink": (Path, "unlink"),
        "mkdir": (Path, "mkdir"),
    }


def main(
    arguments: list[str],
    log: str,
    hook: Hook | None = None,
    counts: str | None = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Call ``harness`` with arguments; what it prints goes to a file.

    Args:
        arguments: After ``harness``.
        log: File of standard output and error.
        hook: What to break.
        counts: File that gets the number of calls at each point.
        settings: ``expiry_s`` of leases; ``dumb``: the heart beats no more; ``alien``: the
            process looks like one of another machine.
    """
    os.setsid()
    handle = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    _prepare(settings or {})
    done: Counter[str] = Counter()
    for name in points():
        _watch(name, done, hook)
    from harness import cli

    sys.argv = ["harness", *arguments]
    try:
        cli.main()
    finally:
        if counts is not None:
            Path(counts).write_text(json.dumps(done))


def _prepare(settings: dict[str, Any]) -> None:
    from harness import lease, store

    if "expiry_s" in settings:
        lease.Leases.__init__.__defaults__ = (settings["expiry_s"],)
        store.Store.__init__.__kwdefaults__["expiry_s"] = settings["expiry_s"]
    if settings.get("dumb"):
        lease.Lease._beat = lambda self: None  # type: ignore[method-assign]
    if settings.get("alien"):
        lease._machine = lambda: f"machine of {os.getpid()}"  # type: ignore[assignment]


def _watch(name: str, done: "Counter[str]", hook: Hook | None) -> None:
    owner, attribute = points()[name]
    call: Callable[..., Any] = getattr(owner, attribute)

    def watched(*args: Any, **more: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return call(*args, **more)
        if name == "file-fsync" and not stat.S_ISREG(os.fstat(args[0]).st_mode):
            return call(*args, **more)
        done[name] += 1
        here = hook is not None and hook.point == name and hook.number == done[name]
        if hook is not None and here and not hook.after:
            _act(hook.action)
        result = call(*args, **more)
        if hook is not None and here and hook.after:
            _act(hook.action)
        return result

    setattr(owner, attribute, watched)


def _act(action: str) -> None:
    numbers = {
        "kill": signal.SIGKILL,
        "term": signal.SIGTERM,
        "int": signal.SIGINT,
        "stop": signal.SIGSTOP,
    }
    if action in numbers:
        os.kill(os.getpid(), numbers[action])
    elif action == "full":
        raise OSError(28, "No space left on device")
    elif action == "oom":
        raise MemoryError
    else:
        raise RuntimeError("a bug")
