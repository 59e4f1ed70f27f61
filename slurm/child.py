"""What the children of a supervisor have in common: how they are started and how they end."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from harness.errors import HarnessError
from slurm.allocation import job_id
from slurm.folder import LaunchFolder

DONE = 0
"""Nothing is left."""
WRONG = 2
"""It cannot be run so."""
FAILED = 3
"""What is left failed, and would fail again. Not 1, by which Python says that it crashed."""
UNFINISHED = 75
"""Stopped before the end: the same again goes on."""


def run_child(run: Callable[[Path], int]) -> NoReturn:
    """Call with OUT from the command line, and exit; a user's mistake is one line and ``WRONG``."""
    out = Path(sys.argv[1])
    try:
        status = run(out)
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)  # noqa: T201
        LaunchFolder(out).tell(job_id(), "failed", str(error))
        status = WRONG
    sys.stdout.flush()
    sys.exit(status)
