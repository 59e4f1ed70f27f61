"""Launching: from a search and a profile to jobs in the queue."""

import time
from collections.abc import Sequence
from pathlib import Path

from harness.config import TrialConfig
from harness.errors import ConfigError
from harness.search.folder import SearchFolder
from harness.search.packing import gpu_share
from slurm import queue
from slurm.folder import Launch, LaunchFolder
from slurm.profile import Profile
from slurm.submission import roles, sbatch_text, submit

_LOOK_S = 1.0
_QUEUED_S = 8.0
"""Seconds after which a job that still waits is left to wait."""
_START_S = 50.0
"""Seconds after which a job that runs is left to run."""
_LIVE = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED")


def make_launch(
    profile: Profile,
    configs: Sequence[TrialConfig],
    *,
    device: str,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    store: Path | None = None,
) -> Launch:
    """Work out what a launch takes.

    Args:
        profile: The site, with the options of the command line.
        configs: Trials that are to run.
        device: ``auto``, ``cpu`` or ``cuda`` of the nodes; ``auto``: by ``gpus_per_node``.
        cpus_per_trial: Cores a trial; None: its threads.
        gpus_per_trial: GPUs a trial, may be a fraction; None: one, on ``cuda``.
        store: Folder of the store; None: the search's own.

    Raises:
        ConfigError: No trial fits a node.
    """
    gpus = profile.gpus_per_node
    if device == "cuda" and not gpus and profile.gres is None:
        raise ConfigError(
            "--device: got 'cuda', but no GPU is asked for; use --gpus-per-node, or gpus_per_node "
            "in the profile"
        )
    where = device if device != "auto" else "cuda" if gpus else "cpu"
    packed = profile.trials_per_gpu
    if packed != 1 and where != "cuda":
        raise ConfigError(
            f"trials_per_gpu: got {packed!r}, but no GPU is asked for; use --gpus-per-node, or "
            "leave it out"
        )
    cpus = float(max(c.threads for c in configs)) if cpus_per_trial is None else cpus_per_trial
    # How many share a GPU by "auto" is not known yet.
    number = packed if isinstance(packed, int) else 1
    share = (gpu_share(number) if gpus_per_trial is None else gpus_per_trial) * (where == "cuda")
    by_gpu = None
    if share:  # below 1 it lies on one GPU
        by_gpu = gpus * int(1 / share + 1e-9) if share < 1 else int(gpus / share + 1e-9)
    cpus_per_node = profile.cpus_per_node or max(1, round(cpus * (by_gpu or 1)))
    slots = int(cpus_per_node / cpus) if cpus else by_gpu or 1
    slots = slots if by_gpu is None else min(slots, by_gpu)
    if slots < 1:
        raise ConfigError(
            f"a trial asks for {cpus:g} CPUs and {share:g} GPUs, but a node of the launch has "
            f"{cpus_per_node} CPUs and {gpus} GPUs; raise cpus_per_node or gpus_per_node, or lower "
            "threads"
        )
    return Launch(
        shape=profile.shape,
        profile=profile,
        device=where,
        cpus_per_node=cpus_per_node,
        cpus_per_trial=cpus,
        gpus_per_trial=share,
        store=None if store is None else store.resolve(),
        slots_per_node=slots,
    )


def check_shape(folder: SearchFolder, launch: Launch) -> None:
    """Check that a shape can run a search.

    Raises:
        ConfigError: It cannot.
    """
    if launch.shape != "array":
        return
    search = folder.space.search
    if search.adaptive or search.allocate == "racing":
        word = search.algorithm if search.adaptive else "racing"
        raise ConfigError(
            f"--shape: 'array' runs a plan that is whole from the start, but '{word}' chooses "
            "trials by results; use --shape cluster or elastic"
        )
    if search.stops_early:
        raise ConfigError(
            f"--shape: 'array' has tasks that know nothing of each other, but '{search.scheduler}' "
            "stops trials by what others reached; use --shape cluster or elastic, or "
            "--set search.scheduler=none"
        )
    if launch.profile.trials_per_gpu != 1:
        raise ConfigError(
            f"trials_per_gpu: got {launch.profile.trials_per_gpu!r}, but each task of an array "
            "has GPUs of its own; use --shape cluster or elastic"
        )


def start(folder: SearchFolder, launch: Launch) -> dict[str, list[str]]:
    """Write the plan and submit the jobs; return their ids by role.

    Raises:
        ConfigError: The search runs already, or SLURM refuses.
    """
    place = LaunchFolder(folder.path)
    live = [job for job, state in live_jobs(place).items() if state.state in _LIVE]
    if live:
        raise ConfigError(
            f"--out: {folder.path} is run by job {', '.join(live)}; wait for it, or end it by "
            f"harness cancel {folder.path}"
        )
    with folder.driving():
        folder.prepare()
        place.create(launch)
    left = len(folder.missing())
    jobs = {}
    try:
        for role, number in roles(launch).items():
            most = max(1, left) if role == "task" else number
            jobs[role] = submit(launch, place, role, min(number, most))
    except ConfigError:
        place.cancel()
        if made := list(place.submitted()):
            queue.cancel(made)
        raise
    return jobs


def live_jobs(place: LaunchFolder) -> dict[str, queue.JobState]:
    """Jobs of an earlier launch here that are in the queue.

    Raises:
        ConfigError: SLURM does not answer.
    """
    found = queue.list_queue(place.submitted())
    if found is None:
        raise ConfigError("squeue does not answer; is SLURM's controller up? try again later")
    return found


def watch_start(folder: SearchFolder, job: str) -> str:
    """Wait for a job to start, for a minute at most, and say how it stands.

    Raises:
        ConfigError: It failed, or cannot see OUT.
    """
    place = LaunchFolder(folder.path)
    start_s = time.monotonic()
    while (waited_s := time.monotonic() - start_s) < _START_S:
        time.sleep(_LOOK_S)
        told = place.told().get(job)
        if told is not None and told.state == "failed":
            raise ConfigError(f"job {job} on {told.host}: {told.reason}")
        if told is not None and told.state != "started":
            return f"runs on {told.host}"
        now = queue.show_job(job)
        if now is not None and now.state == "PENDING":
            if waited_s > _QUEUED_S:
                return f"waits in the queue ({now.reason})"
            continue
        over = now is None or now.state not in (*_LIVE, "COMPLETED")
        if over and told is None:
            place.cancel()
            queue.cancel(place.submitted())
            state = "is gone" if now is None else f"is {now.state}"
            raise ConfigError(
                f"--out: job {job} {state} and wrote nothing to {folder.path}; do the nodes see "
                "that folder? choose one on a file system that login and compute nodes share"
            )
        if over:
            raise ConfigError(f"job {job} is {now.state if now else 'gone'}; see {place.jobs}")
    return "has started"


def dry_run(folder: SearchFolder, launch: Launch) -> str:
    """The sbatch text of every role, for people to read; nothing is submitted or written."""
    place = LaunchFolder(folder.path)
    parts = []
    for role, number in roles(launch).items():
        what = f"{number} jobs" if number > 1 else "1 job"
        parts.append(f"# {role}: {what}\n{sbatch_text(launch, place, role, number)}")
    return "\n".join(parts)
