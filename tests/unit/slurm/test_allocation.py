"""What a job has by its environment."""

import os

import pytest

from slurm import allocation


def test_a_job_of_an_array_forgets_it_before_it_submits_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SLURM_JOB_ID", "31")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "30")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert allocation.job_id() == "30_0"
    allocation.leave()
    assert [name for name in os.environ if name.startswith("SLURM_")] == ["SLURM_CONF"]
