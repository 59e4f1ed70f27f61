"""Calls of the command line: in this process where it is only input that is judged, else real."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness import cli

HARNESS = [sys.executable, "-m", "harness"]

TINY = """
title = "tiny"
question = "Does it run?"

[base]
dataset.name = "digits"
iterations = 2
batch_real = 8
network.width = 4
network.depth = 1
evaluation.students = ["main", "mlp"]
evaluation.student_seeds = 1
evaluation.epochs = 2

[space]
pool.main_probability = { grid = [0.0, 0.5, 1.0] }

[search]
replicates = 2
"""


class Said(NamedTuple):
    status: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call ``harness`` in this process."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        code = stopped.value.code
        return Said(code if isinstance(code, int) else 0, said.out, said.err)

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A space of six trials of a fraction of a second."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def shell(
    *arguments: object,
    cwd: Path | None = None,
    timeout: float = 280,
    more_path: Path | None = None,
) -> Said:
    """Call ``harness`` in a process of its own, which also imports from ``more_path``."""
    path = [str(Path(__file__).parents[2]), *([str(more_path)] if more_path else [])]
    done = subprocess.run(
        [*HARNESS, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start ``harness`` as the leader of a session, so that what it leaves can be found."""
    return subprocess.Popen(
        [*HARNESS, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def wait_until(condition: Callable[[], bool], seconds: float = 150) -> bool:
    """Poll a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def processes_of_session(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
