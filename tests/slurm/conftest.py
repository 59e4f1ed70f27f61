"""The local SLURM cluster, and launches on it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from harness.records import read_json
from harness.search.folder import reopen_search
from slurm import queue
from slurm.folder import LaunchFolder

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "slurm" / "local_cluster" / "cluster"
PATIENCE_S = float(os.environ.get("HARNESS_SLURM_PATIENCE_S", "600"))
"""Seconds that a search of a test may take; more on a busy machine."""

SPACE = """
title = "on SLURM"
question = "Does it run?"

[base]
dataset.name = "digits"
iterations = {iterations}
batch_real = 8
network.width = 8
network.depth = 1
evaluation.students = ["main", "mlp"]
evaluation.student_seeds = 1
evaluation.epochs = 2
run.report_every = 60
run.checkpoint_every = 5

[space]
pool.main_probability = {{ grid = [0.0, 0.5, 1.0] }}

[search]
replicates = 2
"""
ITERATIONS = 120
"""Of a trial: some seconds."""
COLUMNS = ["trial_id", "student", "student_seed", "split"]
DIFFERENT = ["distill_s", "distill_cost_s", "eval_s", "peak_gib", "search", "git_hash"]


class Said(NamedTuple):
    status: int
    out: str
    err: str


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


def harness(*arguments: object, prefix: tuple[str, ...] = ()) -> Said:
    """Call ``harness`` in a process of its own."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "harness", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE_S,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


class Search:
    """A search that is launched on the cluster."""

    def __init__(self, out: Path, space: Path) -> None:
        self.out = out
        self.space = space
        self.place = LaunchFolder(out)

    def launch(self, *options: object) -> Said:
        return harness("launch", self.space, "--out", self.out, *options)

    def started(self, *options: object) -> "Search":
        said = self.launch(*options)
        assert said.status == 0, said
        return self

    def results(self) -> list[dict[str, Any]]:
        """The trials' records, in order."""
        return [read_json(path) for path in sorted(self.out.glob("trials/*/trial.json"))]

    def wait(
        self, condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S
    ) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, f"no {what} in time\n{self.logs()}"
            time.sleep(0.5)

    def wait_for_results(self, number: int) -> None:
        self.wait(lambda: len(self.results()) >= number, f"{number} results")

    def wait_for_end(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until no job of the launch is in the queue, and all trials have a result."""
        self.wait(self.is_over, "end", patience_s)
        assert dict(reopen_search(self.out).counts()) == {"ok": 6}, self.logs()

    def is_over(self) -> bool:
        live = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")
        found = queue.list_queue(self.place.submitted())
        return found is not None and not any(job.state in live for job in found.values())

    def rows(self) -> pd.DataFrame:
        """All rows, without what differs from run to run."""
        tables = [pd.read_parquet(p) for p in self.out.glob("trials/*/evaluations.parquet")]
        return pd.concat(tables).drop(columns=DIFFERENT).sort_values(COLUMNS).reset_index(drop=True)

    def logs(self) -> str:
        paths = sorted(self.place.jobs.glob("*_log.out"))
        return "\n".join(f"==> {path.name}\n{path.read_text()[-3000:]}" for path in paths)


@pytest.fixture
def search(cluster: str, tmp_path: Path) -> Iterator[Search]:
    """A search of six trials of some seconds; its jobs end with the test."""
    space = tmp_path / "space.toml"
    space.write_text(SPACE.format(iterations=ITERATIONS))
    made = Search(tmp_path / "out", space)
    yield made
    if jobs := made.place.submitted():
        made.place.cancel()
        queue.cancel(jobs)
        made.wait(made.is_over, "end after scancel")


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """The same search run here, without SLURM and without Ray."""
    folder = tmp_path_factory.mktemp("local")
    space = folder / "space.toml"
    space.write_text(SPACE.format(iterations=ITERATIONS))
    here = Search(folder / "out", space)
    said = harness("search", space, "--out", here.out, "--address", "inline")
    assert said.status == 0, said
    return here


@pytest.fixture(scope="session")
def expected(local: Search) -> pd.DataFrame:
    """The rows of the local run."""
    return local.rows()
