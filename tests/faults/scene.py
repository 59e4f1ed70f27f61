"""A search that faults happen to, and what must hold afterwards."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import textwrap
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pyarrow import parquet

from tests.end_to_end.conftest import HARNESS, Said, processes_of_session, start, wait_until
from tests.faults.child import IMPORTED, Hook, main

SPACE = """
title = "faults"

[base]
dataset.name = "digits"
batch_real = 4
network.width = 8
network.depth = 1
evaluation.students = ["mlp"]
evaluation.student_seeds = 1
evaluation.epochs = 20
evaluation.lr = 0.05
run.report_every = {report_every}
run.checkpoint_every = 2

[space]
iterations = {{ grid = [3, 5] }}
pool.main_probability = {{ grid = [0.0, 1.0] }}
kd.variant = {{ grid = ["off", "softened"] }}
"""
TRIALS = 8
ROOT = Path(__file__).parents[2]
_IN_WORKERS = """
from pathlib import Path
if "default_worker" in Path("/proc/self/cmdline").read_text():
    pass
"""
COLUMNS = ("student", "student_seed", "split", "status", "accuracy", "loss", "teacher_accuracy")
EXPIRY_S = 1.0

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass
class Running:
    """A search that runs in a process of its own."""

    process: BaseProcess
    log: Path

    @property
    def pid(self) -> int:
        """Of the process, and of its session."""
        assert self.process.pid is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 120) -> Said:
        """Wait for the end; a search that does not end fails the test."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"it hangs: {self.log.read_text()}"
        return Said(self.process.exitcode, self.log.read_text(), "")

    def wait_until_stopped(self) -> None:
        """Wait for SIGSTOP to have worked."""

        def stopped() -> bool:
            text = Path(f"/proc/{self.pid}/stat").read_text()
            return text.rsplit(")", 1)[1].split()[0] == "T"

        assert wait_until(stopped), self.log.read_text()


@dataclass
class Scene:
    """A folder for a search, and the rows that it must have in the end."""

    folder: Path
    rng: random.Random
    reference: Rows
    calls: dict[str, int]
    """Calls at each point in an undisturbed run."""
    report_every: int = 500
    """Small for quick scores on the way: seconds a distillation."""
    sessions: list[int] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """The search's folder."""
        return self.folder / "out"

    @property
    def store(self) -> Path:
        """A store for several searches."""
        return self.folder / "store"

    def arguments(self, *more: object, out: Path | None = None) -> list[str]:
        """The command of the search, inline."""
        path = self.folder / "faults.toml"
        if not path.exists():
            path.write_text(SPACE.format(report_every=self.report_every))
        given = ["search", path, "--out", out or self.out, "--device", "cpu", "--address", "inline"]
        return [str(part) for part in (*given, *more)]

    def start(
        self,
        *more: object,
        hook: Hook | None = None,
        out: Path | None = None,
        counts: Path | None = None,
        **settings: Any,
    ) -> Running:
        """Start the search."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        log = self.folder / f"log-{len(self.sessions)}"
        arguments = self.arguments(*more, out=out)
        given = (arguments, str(log), hook, None if counts is None else str(counts), settings)
        process = context.Process(target=main, args=given)
        process.start()
        running = Running(process, log)
        self.sessions.append(running.pid)
        return running

    def run(self, *more: object, **how: Any) -> Said:
        """Run the search to its end, whatever that is."""
        return self.start(*more, **how).wait()

    def hook(self, point: str, action: str, *, after: bool = False) -> Hook:
        """A hook at a call that is drawn from those of an undisturbed run."""
        return Hook(point, self.rng.randint(1, self.calls[point]), action, after)

    def check(self) -> None:
        """Resume, and compare with the undisturbed run."""
        said = self.run()
        assert said.status == 0, said.out
        assert f"{TRIALS} ok" in said.out.splitlines(), said.out
        assert rows(self.out) == self.reference
        self.check_no_process()

    def check_no_process(self) -> None:
        """Nothing of any session runs."""
        for session in self.sessions:
            assert wait_until(lambda: not processes_of_session(session), 30), session  # noqa: B023

    def check_nothing_half_written(self) -> None:
        """No temporary file, and every result is whole."""
        assert list(self.out.rglob("*.tmp")) == []
        for path in self.out.rglob("trial.json"):
            json.loads(path.read_text())

    # Real Ray.

    def start_ray(self, *more: object) -> Any:
        """Start the search on a private Ray, as a user does."""
        arguments = self.arguments(*more)
        arguments[arguments.index("inline")] = "local"
        driver = start(*arguments)
        self.sessions.append(driver.pid)
        return driver

    def run_ray(self, patch: str = "") -> Said:
        """Run the search on a private Ray to its end.

        Args:
            patch: Code that each worker runs before it does anything else.
        """
        arguments = self.arguments()
        arguments[arguments.index("inline")] = "local"
        (self.folder / "sitecustomize.py").write_text(_IN_WORKERS + textwrap.indent(patch, "    "))
        path = os.pathsep.join([str(self.folder), str(ROOT)])
        done = subprocess.run(
            [*HARNESS, *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def processes(self, session: int, name: str) -> list[int]:
        """Processes of a session by the start of their command line's first word."""
        found = []
        for process in processes_of_session(session):
            try:
                command = Path(f"/proc/{process}/cmdline").read_text().split("\0")
            except OSError:
                continue
            if any(name in part for part in command[:3]):
                found.append(process)
        return found

    def has_state(self) -> bool:
        """Whether a distillation has left its first state."""
        return any(path.is_dir() for path in self.out.glob("store/distillation/*/*"))

    def settle(self) -> None:
        """Kill whatever a failed test has left."""
        for session in self.sessions:
            for process in processes_of_session(session):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def rows(out: Path) -> Rows:
    """Rows of each trial, by its folder: what must not depend on faults."""
    found = {}
    for folder in sorted((out / "trials").iterdir()):
        table = parquet.read_table(folder / "evaluations.parquet")
        found[folder.name] = [tuple(row[name] for name in COLUMNS) for row in table.to_pylist()]
    return found
