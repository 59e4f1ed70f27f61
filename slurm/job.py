"""What a job runs: one call, which submitit stores with plain arguments."""

import sys
from pathlib import Path


def run_job(out: str, role: str) -> None:
    """Keep the part of a launch that is this job's; ends the process where it failed.

    Args:
        out: Folder of the search, absolute.
        role: ``node`` of a cluster, ``head`` or ``worker`` of an elastic one, ``task`` of an array.
    """
    from slurm import allocation
    from slurm.folder import LaunchFolder
    from slurm.supervisor import Supervisor

    if allocation.rank() == 0:
        LaunchFolder(Path(out)).tell(allocation.job_id(), "started")
    status = Supervisor(Path(out), role).run()
    sys.stdout.flush()
    if status:
        sys.exit(status)
