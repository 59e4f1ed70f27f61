"""The folder of a launch, OUT/launch: what its jobs are told, and what they tell.

    settings.json   the launch, as ``harness launch`` was told; never changed by a job
    token           mode 0600: who has it may join the Ray of this launch
    head.json       where Ray's head is; made anew with each start of it, gone when it stops
    ended           there once the search needs no job any more; holds the exit status
    cancelled       there once somebody cancelled the launch
    jobs/           submitit's: sbatch text, logs, and the call of each job (module and arguments)
    submitted/<id>  a job of this launch: its role
    told/<id>       the last that a job said of itself: started, running, requeued, failed, ended
    leases/<trial>  of shape array: who runs a trial

Mode 0700, on a file system that login and compute nodes share. Whole files, nothing is locked.
"""

import json
import secrets
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import ConfigError, ResultError
from harness.records import read_json, write_json, write_text
from slurm.allocation import node_name
from slurm.profile import Profile, Shape

LAUNCH_FOLDER = "launch"
ENDED = ".ended"
"""Ending of the mark beside a trial's lease: a task of this launch ran it to its end."""


class Launch(BaseModel):
    """What a launch's jobs are told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Shape
    profile: Profile
    device: str
    """``cpu`` or ``cuda``, of the nodes."""
    cpus_per_node: int
    cpus_per_trial: float
    gpus_per_trial: float
    store: Path | None
    """Folder of the store; None: the search's own."""
    slots_per_node: int
    """Trials at a time on a node."""


class Head(NamedTuple):
    """Where a Ray's head is."""

    address: str
    generation: str
    """Unique to this start of it."""


class Told(NamedTuple):
    """The last that a job said of itself."""

    state: str
    """started, running, requeued, failed, ended."""
    host: str
    reason: str
    """Of a failure, in one line; else empty, or what comes next."""
    time_s: float
    """When, by that host's clock, in seconds since the epoch; shown, never compared."""


class LaunchFolder:
    """OUT/launch."""

    def __init__(self, out: Path) -> None:
        """Prepare; nothing is written.

        Args:
            out: Folder of the search, absolute.
        """
        self.out = out
        self.path = out / LAUNCH_FOLDER
        self.jobs = self.path / "jobs"
        self.token = self.path / "token"
        self.leases = self.path / "leases"
        self._submitted = self.path / "submitted"
        self._told = self.path / "told"
        self._settings = self.path / "settings.json"
        self._head = self.path / "head.json"
        self._ended = self.path / "ended"
        self._cancelled = self.path / "cancelled"

    def exists(self) -> bool:
        """Whether anything was launched here."""
        return self._settings.exists()

    def create(self, launch: Launch) -> None:
        """Make the folder for a launch, in place of an earlier one's settings, token and marks."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        self.path.chmod(0o700)
        for folder in (self.jobs, self.leases, self._submitted, self._told):
            folder.mkdir(exist_ok=True)
        for mark in (self._ended, self._cancelled, self._head, self.token):
            mark.unlink(missing_ok=True)
        for folder in (self._submitted, self._told):
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
        for mark in self.leases.glob(f"*{ENDED}"):
            mark.unlink(missing_ok=True)
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))
        write_json(self._settings, launch.model_dump(mode="json"))

    def read(self) -> Launch:
        """The launch.

        Raises:
            ConfigError: Nothing was launched here, or it cannot be read.
        """
        if not self.exists():
            raise ConfigError(f"{self.out}: nothing was launched there; use harness launch first")
        try:
            return Launch.model_validate(read_json(self._settings))
        except (ResultError, ValidationError) as error:
            raise ConfigError(
                f"{self._settings}: cannot be read ({str(error).splitlines()[0]}); launch again"
            ) from None

    def add_job(self, job: str, role: str) -> None:
        """Note a submitted job, ``123`` or ``123_4`` of an array."""
        write_text(self._submitted / job, role)

    def submitted(self) -> dict[str, str]:
        """Job -> role, of every job of this launch, in order."""
        if not self._submitted.is_dir():
            return {}
        names = [path.name for path in self._submitted.iterdir() if path.name[0] != "."]
        found = {}
        for name in sorted(names, key=lambda job: [int(part) for part in job.split("_")]):
            found[name] = (self._submitted / name).read_text()
        return found

    def tell(self, job: str, state: str, reason: str = "") -> None:
        """Say how a job stands."""
        said = Told(state, node_name(), reason, time.time())
        with suppress(OSError):  # of a full disk the log tells
            write_json(self._told / job, said._asdict())

    def told(self) -> dict[str, Told]:
        """Job -> the last that it said."""
        found = {}
        if self._told.is_dir():
            for path in self._told.iterdir():
                with suppress(ResultError, TypeError):
                    if path.name[0] != ".":
                        found[path.name] = Told(**read_json(path))
        return found

    def announce(self, address: str) -> None:
        """Say where this start of Ray's head is."""
        write_json(self._head, Head(address, uuid.uuid4().hex)._asdict())

    def withdraw(self) -> None:
        """Say that there is no head."""
        self._head.unlink(missing_ok=True)

    def head(self) -> Head | None:
        """Where the head is; None where there is none."""
        data = _read(self._head)
        return None if data is None else Head(**data)

    def end(self, status: int) -> None:
        """Say that the search needs no job any more."""
        write_text(self._ended, str(status))

    def cancel(self) -> None:
        """Say that no job is to go on."""
        write_text(self._cancelled, "")

    def is_over(self) -> bool:
        """Whether no job is to go on."""
        return self._ended.exists() or self._cancelled.exists()


def _read(path: Path) -> Mapping[str, Any] | None:
    """A JSON object that another machine may be replacing; opened anew, which NFS needs."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
