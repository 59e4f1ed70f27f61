"""What SLURM gave this job, by its environment; the machine may have more, of others."""

import os
import platform


def job_id() -> str:
    """This job as commands of SLURM name it: ``123``, or ``123_4`` of an array."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def node_name() -> str:
    """This node as SLURM names it."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def rank() -> int:
    """Number of this task in its job; each has a node of its own."""
    return int(os.environ.get("SLURM_PROCID", "0"))


def cpus() -> int:
    """Cores of this task on its node."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    mine = len(os.sched_getaffinity(0))
    return min(mine, int(given)) if given else mine


def gpus() -> int:
    """GPUs of this task on its node."""
    if given := os.environ.get("SLURM_GPUS_ON_NODE"):
        return int(given)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return len([name for name in seen.split(",") if name not in ("", "NoDevFiles")])


def memory_bytes() -> int | None:
    """Memory of this task on its node in bytes; None where SLURM does not share memory out."""
    if of_node := os.environ.get("SLURM_MEM_PER_NODE"):
        return int(of_node) * 2**20 or None
    if of_cpu := os.environ.get("SLURM_MEM_PER_CPU"):
        return int(of_cpu) * cpus() * 2**20 or None
    return None


def leave() -> None:
    """Forget that this process is in a job: what it submits would take itself for that job.

    Sbatch hands its environment on, and a job that is no task of an array sets no variables of one.
    """
    for name in list(os.environ):
        if name.startswith("SLURM_") and name != "SLURM_CONF":
            del os.environ[name]
