"""How a launch stands, seen from a login node: from its folder, and from SLURM once a minute."""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from harness.errors import ResultError
from harness.records import read_json, write_json
from harness.schema import ERROR_FILE, TRIALS_FOLDER
from slurm import queue
from slurm.folder import LaunchFolder, Told
from slurm.queue import JobState

_FRESH_S = 60.0
_TAIL_LINES = 20
_GONE = "OVER"


class Answer(NamedTuple):
    """What SLURM said of a launch's jobs."""

    states: Mapping[str, JobState]
    age_s: float
    """Seconds since it was asked."""


def ask_slurm(place: LaunchFolder) -> Answer:
    """States of all jobs: asked at most once a minute, whoever asks, else as they were then."""
    file = place.path / "queue.json"
    jobs = place.submitted()
    with suppress(ResultError, KeyError, TypeError):
        kept = read_json(file)
        age_s = time.time() - kept["asked_s"]
        if 0 <= age_s < _FRESH_S and set(kept["states"]) == set(jobs):
            return Answer({job: JobState(*said) for job, said in kept["states"].items()}, age_s)
    states = _ask(place, jobs)
    with suppress(OSError):
        write_json(file, {"asked_s": time.time(), "states": states})
    return Answer(states, 0.0)


def _ask(place: LaunchFolder, jobs: Collection[str]) -> dict[str, JobState]:
    """States of all jobs, by one call each of squeue and, where it is needed, of sacct."""
    found = queue.list_queue(jobs)
    if found is None:
        return dict.fromkeys(jobs, JobState("UNKNOWN", "squeue does not answer"))
    gone = [job for job in jobs if job not in found]
    told = place.told()
    # Accounting is asked only for jobs that did not say themselves how they ended.
    silent = [job for job in gone if job not in told or told[job].state in ("started", "running")]
    recorded = queue.list_accounting(silent) if silent else {}
    return {job: found.get(job) or recorded.get(job) or JobState(_GONE, "") for job in jobs}


def describe_jobs(place: LaunchFolder, answer: Answer) -> list[str]:
    """A line for each job: id, role, SLURM's word and its own."""
    told = place.told()
    lines = []
    for job, role in place.submitted().items():
        state = answer.states[job]
        reason = f" ({state.reason})" if state.reason and state.state == "PENDING" else ""
        said = told.get(job)
        own = "" if said is None else _own(said)
        lines.append(f"{job:<10} {role:<6} {state.state}{reason}{own}")
    return lines


def last_error(place: LaunchFolder) -> str | None:
    """The newest failure of a job or of a trial, in one line; None where there is none."""
    found: list[tuple[float, str]] = [
        (said.time_s, f"job {job} on {said.host}: {said.reason}")
        for job, said in place.told().items()
        if said.state == "failed"
    ]
    for path in (place.out / TRIALS_FOLDER).glob(f"*/{ERROR_FILE}"):
        with suppress(OSError, IndexError):
            last = path.read_text(errors="replace").strip().splitlines()[-1]
            found.append((path.stat().st_mtime, f"trial {path.parent.name}: {last} (see {path})"))
    return max(found)[1] if found else None


def tails(place: LaunchFolder) -> list[tuple[Path, list[str]]]:
    """Every log of the launch that holds anything, with its last lines; the oldest first."""
    found = []
    for path in place.jobs.glob("*_log.out"):
        with suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
            if lines:
                found.append((path.stat().st_mtime, path, lines[-_TAIL_LINES:]))
    return [(path, lines) for _, path, lines in sorted(found)]


def _own(said: Told) -> str:
    about = f": {said.reason}" if said.reason else ""
    when = time.strftime("%F %T", time.localtime(said.time_s))
    return f"  {said.state} on {said.host}, {when}{about}"
