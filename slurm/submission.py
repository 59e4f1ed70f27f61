"""Submissions: what submitit is told for each role of a launch."""

import io
import shlex
import sys
from contextlib import redirect_stderr
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError

from harness.errors import ConfigError
from slurm import queue
from slurm.folder import Launch, LaunchFolder
from slurm.job import run_job
from slurm.profile import Profile


def roles(launch: Launch) -> dict[str, int]:
    """Role -> number of jobs, or tasks of a job array, of a launch."""
    nodes = launch.profile.nodes
    if launch.shape == "cluster":
        return {"node": 1}
    if launch.shape == "elastic":
        return {"head": 1, "worker": nodes}
    return {"task": nodes * launch.slots_per_node}


def submit(launch: Launch, folder: LaunchFolder, role: str, number: int) -> list[str]:
    """Submit a role's jobs, several as job arrays, and note them; return their ids.

    Raises:
        ConfigError: SLURM refuses them.
    """
    executor = make_executor(launch, folder, role)
    at_once = launch.profile.max_array or queue.max_array()
    jobs: list[str] = []
    for start in range(0, number, at_once):
        count = min(at_once, number - start)
        executor.update_parameters(array_parallelism=count)
        try:
            # Submitit prints what sbatch says of a failure, and raises it too.
            with redirect_stderr(io.StringIO()):
                made = executor.map_array(run_job, [str(folder.out)] * count, [role] * count)
        except (FailedJobError, FailedSubmissionError) as error:
            raise ConfigError(f"sbatch refuses the job: {_said(error)}") from None
        for job in made:
            folder.add_job(job.job_id, role)
            jobs.append(job.job_id)
    return jobs


def sbatch_text(launch: Launch, folder: LaunchFolder, role: str, number: int) -> str:
    """What sbatch would be given for a role's first job; nothing is submitted."""
    executor = make_executor(launch, folder, role)
    count = min(number, launch.profile.max_array or queue.max_array())
    if count > 1:
        executor.update_parameters(array_parallelism=count)
        executor.parameters["map_count"] = count
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def make_executor(launch: Launch, folder: LaunchFolder, role: str) -> SlurmExecutor:
    """Submitit's executor for a role."""
    profile = launch.profile
    python = shlex.quote(profile.python or sys.executable)
    command = f"{profile.container} {python}" if profile.container else python
    executor = SlurmExecutor(folder.jobs, python=command)
    executor.update_parameters(**_parameters(launch, folder, role))
    return executor


def _parameters(launch: Launch, folder: LaunchFolder, role: str) -> dict[str, Any]:
    profile = launch.profile
    size = _size(launch, role)
    given: dict[str, Any] = {
        "job_name": f"harness-{folder.out.name}-{role}",
        "time": profile.time_min,
        "signal_delay_s": profile.signal_s,
        "ntasks_per_node": 1,
        **size,
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "exclude": profile.exclude,
        "setup": _setup(profile) or None,
        "stderr_to_stdout": True,
        # Since 22.05, srun does not take the number of cores from the job.
        "srun_args": [f"--cpus-per-task={size['cpus_per_task']}", "--kill-on-bad-exit=0"],
        "additional_parameters": {"requeue": True, **profile.extra},
        "wckey": None,
    }
    if role == "head":
        given["partition"] = profile.head_partition or profile.partition
        given["constraint"] = given["exclude"] = None
    return given


def _size(launch: Launch, role: str) -> dict[str, Any]:
    """Nodes, cores, GPUs and memory of a job, or of a task of an array."""
    profile = launch.profile
    if role == "head":
        return {"nodes": 1, "cpus_per_task": profile.head_cpus}
    parts = launch.slots_per_node if role == "task" else 1
    size: dict[str, Any] = {
        "nodes": profile.nodes if role == "node" else 1,
        "cpus_per_task": max(1, launch.cpus_per_node // parts),
        "mem": None if profile.mem_gb is None else f"{int(profile.mem_gb * 1024 / parts)}MB",
    }
    if profile.gres is not None:
        size["gres"] = profile.gres
    elif profile.gpus_per_node:
        size["gpus_per_node"] = -(-profile.gpus_per_node // parts)
    return size


def _setup(profile: Profile) -> list[str]:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()]
    return [*exports, *profile.setup]


def _said(error: Exception) -> str:
    """What sbatch said, in one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return next((line for line in told if line), lines[-1] if lines else type(error).__name__)
