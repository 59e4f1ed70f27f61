"""A node of this launch's Ray: the processes of one ``ray start``, in a private folder."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from slurm import allocation, processes
from slurm.folder import Head

_PREFIX = "hr-"
_OBJECT_STORE_BYTES = 100 * 2**20
_START_S = 120.0
_PAUSE_S = 5.0
_POLL_S = 0.5
_YOUNG_S = 300.0
_RAYLET = "raylet"


class RayNode:
    """One joining of a head; use as a context manager, at whose end nothing of it is left.

    Nothing but this node may run below the calling process.
    """

    def __init__(self, head: Head, token: Path) -> None:
        """Prepare.

        Args:
            head: Whom to join.
            token: File of the launch's token.
        """
        self._head = head
        self._token = token
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        processes.end_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, is_to_leave: Callable[[], bool]) -> bool:
        """Join; False where that failed, or is not wanted any more."""
        log = self._folder / "start.log"
        child = processes.start(self._command(), self._environment(), log=log)
        deadline = time.monotonic() + _START_S
        while child.poll() is None and time.monotonic() < deadline and not is_to_leave():
            time.sleep(_POLL_S)
        if child.poll() == 0:
            return True
        if not is_to_leave():
            tail = log.read_text(errors="replace").strip().splitlines()[-3:]
            print("Ray does not start here:", *tail, sep="\n", flush=True)  # noqa: T201
            time.sleep(_PAUSE_S)
        return False

    def is_alive(self) -> bool:
        """Whether the node's raylet runs."""
        return _RAYLET in processes.below().values()

    def _command(self) -> list[str]:
        options = {
            "--address": self._head.address,
            "--num-cpus": allocation.cpus(),
            "--num-gpus": allocation.gpus(),
            "--object-store-memory": _OBJECT_STORE_BYTES,
            # Ray opens its own folder to everybody, so it gets one inside the private one.
            "--temp-dir": self._folder / "ray",
        }
        if (memory := allocation.memory_bytes()) is not None:
            options["--memory"] = memory
        words = [word for name, value in options.items() for word in (name, str(value))]
        return [sys.executable, "-m", "ray.scripts.scripts", "start", *words]

    def _environment(self) -> dict[str, str]:
        from harness.tune.run import CLUSTER_ENVIRONMENT, RAY_ENVIRONMENT

        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return {
            **kept,
            **RAY_ENVIRONMENT,
            **CLUSTER_ENVIRONMENT,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token),
        }


def remove_left_folders(users_of: Callable[[Path, int], list[int]]) -> None:
    """Remove private folders that killed jobs of this user left on this node.

    Args:
        users_of: Finds the processes that use a folder.
    """
    for folder in Path("/tmp").glob(f"{_PREFIX}*"):
        try:
            about = folder.lstat()
        except OSError:
            continue
        young = time.time() - about.st_mtime < _YOUNG_S
        if (
            about.st_uid == os.getuid()
            and folder.is_dir()
            and not young
            and not users_of(folder, 0)
        ):
            shutil.rmtree(folder, ignore_errors=True)
