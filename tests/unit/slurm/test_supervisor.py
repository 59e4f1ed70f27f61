"""The supervisor of a job, with a stand-in for its child and for SLURM's commands."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config import make_config
from slurm.folder import LaunchFolder
from slurm.launch import make_launch
from slurm.profile import Profile
from tests.unit.slurm.conftest import Fake

ROOT = Path(__file__).parents[3]
RUN = """
import sys
from pathlib import Path
from slurm import supervisor
supervisor.PROGRAMS["task"] = "tests.unit.slurm.stand_in"
supervisor._PATIENCE_S = 0.1
sys.exit(supervisor.Supervisor(Path(sys.argv[1]), "task").run())
"""
RUNNING = "[ $1 = show ] && echo 'JobId=5 JobState=RUNNING Reason=None'; exit 0"
Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def place(tmp_path: Path) -> LaunchFolder:
    made = LaunchFolder(tmp_path / "out")
    made.out.mkdir()
    profile = Profile(shape="array", signal_s=10)
    made.create(make_launch(profile, [make_config({})], device="auto"))
    return made


@pytest.fixture
def start(place: LaunchFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a supervisor of job 5 whose child has orders; killed at the end."""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    started = []

    def run(orders: str) -> subprocess.Popen[bytes]:
        (place.out / "orders").write_text(orders)
        process = subprocess.Popen([sys.executable, "-c", RUN, str(place.out)], cwd=ROOT)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.05)
    return path.read_text()


def lives(process: int) -> bool:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[0] not in ("Z", "X")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_asked_to_stop_it_has_the_state_saved_and_requeues(
    number: int, place: LaunchFolder, start: Start, fake: Fake
) -> None:
    calls = fake("scontrol", RUNNING)
    supervisor = start("save")
    grandchild = int(wait_for(place.out / "grandchild"))
    # SLURM signals every process of a step: the child, and what it started, are deaf to it.
    for process in (grandchild, supervisor.pid):
        os.kill(process, number)
    assert supervisor.wait(30) == 0
    assert (place.out / "heard").read_text() == str(int(signal.SIGINT))
    assert calls.read_text().splitlines() == ["show job -o 5", "requeue 5"]
    assert place.told()["5"].state == "requeued"
    assert not lives(grandchild)


def test_a_child_that_does_not_stop_is_ended_in_time(
    place: LaunchFolder, start: Start, fake: Fake
) -> None:
    fake("scontrol", RUNNING)
    supervisor = start("hang")
    grandchild = int(wait_for(place.out / "grandchild"))
    os.kill(supervisor.pid, signal.SIGUSR2)
    assert supervisor.wait(30) == 0  # the child would hang for 60
    assert place.told()["5"].state == "requeued"
    assert not lives(grandchild)


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PENDING"])
def test_a_job_that_is_not_running_any_more_is_left_alone(
    state: str, place: LaunchFolder, start: Start, fake: Fake
) -> None:
    calls = fake("scontrol", RUNNING.replace("RUNNING", state))
    supervisor = start("save")
    wait_for(place.out / "grandchild")
    os.kill(supervisor.pid, signal.SIGTERM)
    assert supervisor.wait(30) == 0
    assert "requeue 5" not in calls.read_text().splitlines()


def test_a_cancelled_launch_is_not_brought_back(
    place: LaunchFolder, start: Start, fake: Fake
) -> None:
    calls = fake("scontrol", RUNNING)
    supervisor = start("save")
    wait_for(place.out / "grandchild")
    place.cancel()
    os.kill(supervisor.pid, signal.SIGTERM)
    assert supervisor.wait(30) == 0
    assert not calls.exists()


@pytest.mark.parametrize(("child", "job"), [(0, 0), (2, 2), (3, 1)])
def test_a_child_at_its_end_ends_the_job(
    child: int, job: int, place: LaunchFolder, start: Start
) -> None:
    assert start(f"exit {child}").wait(30) == job
    assert (place.out / "starts").read_text() == "start\n"


def test_a_child_that_crashes_is_started_again_three_times_in_all(
    place: LaunchFolder, start: Start
) -> None:
    assert start("exit 1").wait(60) == 1
    assert (place.out / "starts").read_text().splitlines() == ["start"] * 3
    assert place.told()["5"].state == "failed"


def test_a_job_of_a_launch_that_is_over_does_nothing(place: LaunchFolder, start: Start) -> None:
    place.end(0)
    assert start("save").wait(30) == 0
    assert not (place.out / "starts").exists()
