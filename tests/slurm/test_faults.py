"""What SLURM does to jobs in the middle of a search: it finishes, with one result a trial."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from slurm import queue
from tests.slurm.conftest import ITERATIONS, SPACE, Search

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def scontrol(*arguments: str) -> None:
    subprocess.run(["scontrol", *arguments], check=True)


def restarts(job: str) -> int:
    """How often SLURM started a job again."""
    shown = subprocess.run(
        ["scontrol", "show", "job", "-o", job], capture_output=True, text=True, check=True
    )
    return int(shown.stdout.partition("Restarts=")[2].split()[0])


def in_the_middle(search: Search, *options: object) -> list[str]:
    """Launch, and return the jobs once the first trial has its result."""
    search.started("--nodes", 2, *options)
    search.wait_for_results(1)
    assert len(search.results()) < 6
    return list(search.place.submitted())


def bring_down(node: str) -> None:
    """Have SLURM give a node up; its jobs are requeued, or lost where they are no longer needed."""
    scontrol("update", f"nodename={node}", "state=down", "reason=test")


def bring_back(node: str) -> None:
    """See to it that a node takes jobs; one whose daemon still answers comes back by itself."""
    subprocess.run(
        ["scontrol", "update", f"nodename={node}", "state=resume"], check=False, capture_output=True
    )
    deadline = time.monotonic() + 60
    while state_of(node) not in ("idle", "mixed", "allocated"):
        assert time.monotonic() < deadline, f"{node} is {state_of(node)}"
        time.sleep(0.5)


def state_of(node: str) -> str:
    shown = subprocess.run(
        ["sinfo", "-h", "-n", node, "-p", "main", "-o", "%T"],
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.strip()


@pytest.fixture
def node_n2() -> Iterator[str]:
    """A node that is up again after the test."""
    yield "n2"
    bring_back("n2")


@pytest.mark.parametrize("shape", ["cluster", "array"])
def test_a_requeued_job_goes_on(shape: str, search: Search, expected: pd.DataFrame) -> None:
    first = in_the_middle(search, "--shape", shape)[0]
    scontrol("requeue", first)
    search.wait_for_end()
    pd.testing.assert_frame_equal(search.rows(), expected, check_exact=True)
    assert restarts(first) == 1


@pytest.mark.parametrize("shape", ["cluster", "elastic", "array"])
def test_a_job_that_gets_a_sigterm_saves_and_is_requeued(
    shape: str, search: Search, expected: pd.DataFrame
) -> None:
    first = in_the_middle(search, "--shape", shape)[0]
    subprocess.run(["scancel", "--signal=TERM", first], check=True)
    search.wait(lambda: search.place.told()[first].state == "requeued", "requeueing")
    search.wait_for_end()
    pd.testing.assert_frame_equal(search.rows(), expected, check_exact=True)
    assert restarts(first) == 1


def test_a_job_that_may_not_be_requeued_is_followed_by_another(search: Search) -> None:
    first = in_the_middle(search, "--shape", "array")[0]
    scontrol("update", f"job={first}", "requeue=0")
    subprocess.run(["scancel", "--signal=TERM", first], check=True)
    search.wait_for_end()
    (successor,) = [job for job in search.place.submitted() if "_" not in job]
    told = search.place.told()
    assert told[first].reason == f"job {successor} goes on"
    assert told[successor].state == "ended"


@pytest.mark.parametrize("shape", ["elastic", "array"])
def test_a_search_outlives_a_node(
    shape: str, search: Search, expected: pd.DataFrame, node_n2: str
) -> None:
    # A task a node: with three cores each, two do not fit on one of four.
    site = Path(search.space).with_name("site.toml")
    site.write_text("cpus_per_node = 3\nhead_cpus = 1\n" if shape == "elastic" else "")
    in_the_middle(search, "--shape", shape, "--profile", site)
    lost = [job for job, said in search.place.told().items() if said.host == node_n2]
    assert lost
    bring_down(node_n2)
    time.sleep(2)
    bring_back(node_n2)
    search.wait_for_end()
    pd.testing.assert_frame_equal(search.rows(), expected, check_exact=True)
    assert [restarts(job) for job in lost] == [1] * len(lost)


def test_a_cluster_s_job_comes_back_with_its_node(
    search: Search, expected: pd.DataFrame, node_n2: str
) -> None:
    (job,) = in_the_middle(search, "--shape", "cluster")
    bring_down(node_n2)
    search.wait(lambda: (queue.show_job(job) or queue.JobState("", "")).state == "PENDING", "wait")
    bring_back(node_n2)
    search.wait_for_end()
    pd.testing.assert_frame_equal(search.rows(), expected, check_exact=True)
    assert restarts(job) == 1


@pytest.fixture
def preempt_by(request: pytest.FixtureRequest, cluster: str) -> Iterator[str]:
    """How SLURM asks a preempted job to go: by SIGTERM, or by the signal of the job's choice."""
    conf = Path(cluster)
    before = conf.read_text()
    if request.param == "SIGUSR2":
        conf.write_text(f"{before}SlurmctldParameters=preempt_send_user_signal\n")
        scontrol("reconfigure")
    yield request.param
    if conf.read_text() != before:
        conf.write_text(before)
        scontrol("reconfigure")


@pytest.mark.parametrize(
    ("shape", "preempt_by"), [("cluster", "SIGTERM"), ("array", "SIGUSR2")], indirect=["preempt_by"]
)
def test_a_preempted_job_comes_back(
    shape: str, preempt_by: str, search: Search, expected: pd.DataFrame
) -> None:
    first = in_the_middle(search, "--shape", shape, "--partition", "spare")[0]
    # A job of a better partition takes both nodes whole.
    subprocess.run(
        ["sbatch", "-N2", "--exclusive", "-t1", "-o/dev/null", "--wrap", "sleep 2"], check=True
    )
    search.wait(lambda: search.place.told()[first].state == "requeued", "requeueing")
    assert search.place.told()[first].reason == preempt_by
    search.wait_for_end()
    pd.testing.assert_frame_equal(search.rows(), expected, check_exact=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_outlives_the_time_limit(search: Search, local: Search, tmp_path: Path) -> None:
    took_s = sum(record["timings"]["distill_s"] for record in local.results())
    # One trial after the other, four minutes of work: some eight with waiting between the jobs.
    search.space.write_text(
        SPACE.format(iterations=max(ITERATIONS, int(ITERATIONS * 240 / took_s)))
    )
    site = tmp_path / "site.toml"
    site.write_text("time_min = 3\nsignal_s = 20\n")
    search.started("--shape", "cluster", "--nodes", 1, "--profile", site)
    (job,) = search.place.submitted()
    search.wait_for_end(1500)
    assert restarts(job) >= 1
