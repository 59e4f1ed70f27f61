"""Ends what a private Ray leaves behind, also when its driver was killed.

Run as a process of its own, with the private folder and the driver's process id as arguments and
a pipe from the driver as standard input. When the pipe closes, because the driver let it go or
died, every other process that has a file of the folder open (all of Ray's do: their logs) is
killed and the folder removed. Ray's own agents would linger for more than a minute after a
driver's SIGKILL. Uses the standard library alone.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_ROUNDS = 20
_PAUSE_S = 0.1


def users_of(folder: Path, spared: int) -> list[int]:
    """Processes that have a file below a folder open, but for the spared one."""
    prefix = f"{folder}/"
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and int(entry.name) != spared and _uses(entry, prefix)
    ]


def clean(folder: Path, spared: int) -> None:
    """Kill the processes that use a folder until there are none, then remove it."""
    for _ in range(_ROUNDS):
        users = users_of(folder, spared)
        for process in users:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        if not users:
            break
        time.sleep(_PAUSE_S)
    shutil.rmtree(folder, ignore_errors=True)


def _uses(process: Path, prefix: str) -> bool:
    try:
        files = list((process / "fd").iterdir())
    except OSError:
        return False  # another user's, or gone
    for file in files:
        with suppress(OSError):
            if os.readlink(file).startswith(prefix):  # noqa: PTH115 - Path.readlink is slower
                return True
    return False


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    clean(Path(sys.argv[1]), int(sys.argv[2]))
