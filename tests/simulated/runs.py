"""Runs of a search on pretended GPUs, each in a process of its own, and what was seen of them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.search.folder import SearchFolder, open_search
from harness.search.space import read_space
from harness.tune.run import RAY_ENVIRONMENT

ROOT = Path(__file__).parents[2]
# Ray reads its environment when it is imported, which the child does first of all.
_CHILD = {**RAY_ENVIRONMENT, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT)}


class Work(NamedTuple):
    """What a pretended trial does."""

    seconds: float
    """How long it is at work, the controller's answers left out."""
    reports: int = 1
    """How often it reports, its end included."""
    record: Mapping[str, Any] = {}
    """What its ``trial.json`` says besides the usual."""


class Busy(NamedTuple):
    """A step of a trial on a worker; seconds of the machine's monotonic clock."""

    worker: int
    trial_id: str
    start: float
    end: float


class Run(NamedTuple):
    """What was seen of a search."""

    steps: list[Busy]
    """In the order in which they ended."""
    wall_s: float
    """Of the controller, from its start to its end."""
    waited_s: float
    """Of these, how long it waited for something to do."""
    cpu_s: float
    """CPU seconds of its thread, which other work on the machine hardly changes."""
    folder: SearchFolder
    lines: list[str]
    """What the console said."""

    @property
    def busy_s(self) -> float:
        """Seconds of the controller for each trial, the waiting left out."""
        return (self.wall_s - self.waited_s) / len({step.trial_id for step in self.steps})

    @property
    def cpu_s_a_trial(self) -> float:
        """CPU seconds of the controller's thread for each trial."""
        return self.cpu_s / len({step.trial_id for step in self.steps})

    @property
    def most_at_once(self) -> int:
        """Trials that were at work at the same time, at most."""
        changes = [(step.start, 1) for step in self.steps] + [(s.end, -1) for s in self.steps]
        level, most = 0, 0
        for _, change in sorted(changes):
            level += change
            most = max(most, level)
        return most

    def window(self) -> tuple[float, float]:
        """From the first trial's start to the last one's: there was always one to start."""
        starts: dict[str, float] = {}
        for step in sorted(self.steps, key=lambda step: step.start):
            starts.setdefault(step.trial_id, step.start)
        return min(starts.values()), max(starts.values())

    def idle_share(self, gpus: int) -> float:
        """Share of the GPUs' time in which they waited for the controller, 0..1."""
        start, end = self.window()
        worked = sum(max(0.0, min(step.end, end) - step.start) for step in self.steps)
        return 1 - worked / (gpus * (end - start))

    def seconds_between_starts(self) -> float:
        """Mean seconds from one trial's start to the next one's, once all workers have begun.

        Where the controller cannot keep up, this is what it takes for a trial.
        """
        begun: set[int] = set()
        starts: dict[str, float] = {}
        for step in sorted(self.steps, key=lambda step: step.start):
            if step.trial_id not in starts and step.worker in begun:
                starts[step.trial_id] = step.start
            begun.add(step.worker)
        times = sorted(starts.values())
        return (times[-1] - times[0]) / (len(times) - 1)


def run_pretended(out: Path, work: Work, *, trials: int, gpus: int, measure: bool = False) -> Run:
    """Run a search of so many trials on so many pretended GPUs.

    Args:
        out: The search's folder.
        work: What each trial does.
        trials: Trials, each another distillation.
        gpus: Logical GPUs, one a trial.
        measure: Pack trials onto GPUs by what the first ones' records say.
    """
    folder = open_pretended(out, trials)
    folder.prepare()
    given = {"out": str(out), "work": work, "trials": trials, "gpus": gpus, "measure": measure}
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulated.pretended", json.dumps(given)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **_CHILD},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, last = done.stdout.splitlines()
    seen = json.loads(last)
    steps = [Busy(*step) for step in seen["steps"]]
    found = open_pretended(out, trials)
    return Run(steps, seen["wall_s"], seen["waited_s"], seen["cpu_s"], found, lines)


def open_pretended(out: Path, trials: int) -> SearchFolder:
    """The search of so many trials that differ by their seed."""
    data = {"title": "simulated", "space": {"seed": {"grid": list(range(trials))}}}
    return open_search(out, read_space(data, "simulated.toml", {}))
