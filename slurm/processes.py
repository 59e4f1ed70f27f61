"""The processes below a job's supervisor: started deaf to SLURM's signals, and all ended by it.

SLURM sends a job's signal to every process of a step, whatever its session (seen with
``proctrack/linuxproc``). A SIGTERM that reaches Ray's raylet ends the search before it has saved
anything. So what the supervisor starts has these signals blocked, which children inherit, and only
the supervisor hears them; it asks its child by SIGINT.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

DEAF_TO = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.1


def adopt_orphans() -> None:
    """Become the parent of all below whose own parent ends, so that none is lost sight of."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(
    command: Sequence[str], environment: Mapping[str, str], *, log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a child that hears SIGINT alone of the signals that mean "stop".

    Args:
        command: What to run.
        environment: Its whole environment.
        log: Where its output goes; None: to this process's.
    """
    output = None if log is None else log.open("ab")
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            preexec_fn=_be_deaf,
        )
    finally:
        if output is not None:
            output.close()


def below() -> dict[int, str]:
    """Every living process below this one: process id -> name."""
    parents: dict[int, list[int]] = {}
    names = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        state, parent = rest.split()[:2]
        parents.setdefault(int(parent), []).append(int(entry.name))
        if state not in ("Z", "X"):
            names[int(entry.name)] = name
    found = {}
    todo = [os.getpid()]
    while todo:
        for process in parents.get(todo.pop(), []):
            todo.append(process)
            if process in names:
                found[process] = names[process]
    return found


def end_all(patience_s: float = 0.0) -> None:
    """End every process below this one.

    Args:
        patience_s: Seconds that they are given to end by themselves.
    """
    deadline = time.monotonic() + patience_s
    while (left := below()) and time.monotonic() < deadline:
        _reap()
        time.sleep(_POLL_S)
    while left:
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_POLL_S)
        _reap()
        left = below()


def _reap() -> None:
    """Take leave of the dead that were adopted."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _be_deaf() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
