"""Commands of SLURM that answer from files, for what needs no cluster."""

from collections.abc import Callable
from pathlib import Path

import pytest

Fake = Callable[[str, str], Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a shell script in the place of a command; returns the file of its calls, one a line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(command: str, script: str) -> Path:
        path, calls = folder / command, folder / f"{command}.calls"
        path.write_text(f'#!/bin/bash\necho "$*" >>{calls}\n{script}\n')
        path.chmod(0o755)
        return calls

    for command in ("sbatch", "srun", "squeue", "scontrol", "scancel", "sacct"):
        make(command, "exit 1")
    return make
