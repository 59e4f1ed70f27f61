"""The child of a supervisor: runs one of its programs, and ends by one of these statuses.

    python -m slurm.child MODULE OUT

Nothing heavy is imported before it can be interrupted without a traceback.
"""

import importlib
import sys
from pathlib import Path

from harness.errors import HarnessError

DONE = 0
"""Nothing is left."""
WRONG = 2
"""It cannot be run so."""
FAILED = 3
"""What is left failed, and would fail again. Not 1, by which Python says that it crashed."""
UNFINISHED = 75
"""Stopped before the end: the same again goes on."""


def main(module: str, out: Path) -> int:
    """Call ``run`` of a module, and return its status; a user's mistake is one line."""
    try:
        status: int = importlib.import_module(module).run(out)
    except HarnessError as error:
        from slurm.allocation import job_id
        from slurm.folder import LaunchFolder

        print(f"harness: {error}", file=sys.stderr)  # noqa: T201
        LaunchFolder(out).tell(job_id(), "failed", str(error))
        return WRONG
    except KeyboardInterrupt:
        return UNFINISHED
    return status


if __name__ == "__main__":
    number = main(sys.argv[1], Path(sys.argv[2]))
    sys.stdout.flush()
    sys.exit(number)
