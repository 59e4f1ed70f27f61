"""Questions to SLURM and requests of it, by its own commands."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from harness.errors import ConfigError

_TIMEOUT_S = 30
_DEFAULT_MAX_ARRAY = 1001


class JobState(NamedTuple):
    """What SLURM says of a job."""

    state: str
    """RUNNING, PENDING, COMPLETING, FAILED, ..."""
    reason: str
    """Why it waits, or why it ended."""


def check_slurm() -> None:
    """Check that there is a SLURM to launch on.

    Raises:
        ConfigError: There is none.
    """
    for command in ("sbatch", "srun", "squeue", "scontrol", "scancel"):
        if shutil.which(command) is None:
            raise ConfigError(
                f"there is no SLURM here ('{command}' is not found); run this on a login node, or "
                "harness search on this machine"
            )


def show_job(job: str) -> JobState | None:
    """What the controller says of a job; None where it knows of none, or does not answer."""
    said = _run("scontrol", "show", "job", "-o", job)
    if said is None:
        return None
    state = re.search(r"\bJobState=(\S+)", said)
    reason = re.search(r"\bReason=(\S+)", said)
    return JobState(state[1] if state else "", reason[1] if reason else "")


def requeue(job: str) -> bool:
    """Put a running job back into the queue; False where that is not allowed."""
    return _run("scontrol", "requeue", job) is not None


def cancel(jobs: Iterable[str]) -> None:
    """End jobs.

    Raises:
        ConfigError: SLURM refuses.
    """
    done = subprocess.run(
        ["scancel", *jobs], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        raise ConfigError(f"scancel: {done.stderr.strip() or done.returncode}")


def cancel_waiting(jobs: Iterable[str]) -> None:
    """End those of some jobs that have not started."""
    _run("scancel", "--state=PENDING", *jobs)


def list_queue(jobs: Iterable[str]) -> dict[str, JobState] | None:
    """All of some jobs that are in the queue, by one call; None where SLURM does not answer."""
    wanted = set(jobs)
    if not wanted:
        return {}
    # By user, since squeue fails on ids that the controller has forgotten.
    said = _run("squeue", "-h", "-r", "-o", "%i|%T|%r", "-t", "all", "-u", str(os.getuid()))
    if said is None:
        return None
    found = {}
    for line in said.splitlines():
        job, state, reason = line.split("|", 2)
        if job in wanted:
            found[job] = JobState(state, "" if reason == "None" else reason)
    return found


def list_accounting(jobs: Iterable[str]) -> dict[str, JobState]:
    """Jobs that are over, by one call; empty where accounting is switched off."""
    said = _run("sacct", "-n", "-X", "-P", "-o", "JobID,State", "-j", ",".join(jobs))
    found = {}
    for line in (said or "").splitlines():
        job, _, state = line.partition("|")
        found[job] = JobState(state.split()[0] if state else "", "")
    return found


def max_array() -> int:
    """Tasks that a job array may have: SLURM's MaxArraySize caps the last index, plus one."""
    said = _run("scontrol", "show", "config") or ""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said, re.MULTILINE)
    return int(found[1]) if found else _DEFAULT_MAX_ARRAY


def _run(*command: str) -> str | None:
    """What a command prints; None where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
