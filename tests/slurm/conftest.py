"""The local SLURM cluster, and launches on it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "slurm" / "local_cluster" / "cluster"


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The path of the running cluster's configuration, which is set for the commands of SLURM."""
    found = subprocess.run([CLUSTER, "conf"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(
            f"no local SLURM cluster runs: as root, {CLUSTER.relative_to(ROOT)} install, then start"
        )
    before = dict(os.environ)
    os.environ["SLURM_CONF"] = conf = found.stdout.strip()
    yield conf
    os.environ.clear()
    os.environ.update(before)
