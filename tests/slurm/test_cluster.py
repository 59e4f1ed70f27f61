"""The local cluster is a real SLURM of two nodes."""

import socket
from pathlib import Path

import pytest
import submitit

pytestmark = pytest.mark.slurm


def _where() -> tuple[str, int]:
    environment = submitit.JobEnvironment()
    return socket.gethostname(), environment.num_nodes


def test_a_job_of_submitit_runs_on_two_nodes(cluster: str, tmp_path: Path) -> None:
    executor = submitit.SlurmExecutor(tmp_path / "jobs")
    executor.update_parameters(nodes=2, ntasks_per_node=1, time=2, job_name="two-nodes")
    job = executor.submit(_where)
    # Without accounting ``job.done`` does not know; the results are files.
    results = [job.task(rank).result() for rank in (0, 1)]
    assert results == [(socket.gethostname(), 2)] * 2
