"""How a launch stands, with commands of SLURM that answer from scripts."""

import os
from pathlib import Path

import pytest

from harness.config import make_config
from slurm import status
from slurm.folder import LaunchFolder
from slurm.launch import make_launch
from slurm.profile import Profile
from slurm.queue import JobState
from slurm.status import ask_slurm, describe_jobs, last_error, tails
from tests.unit.slurm.conftest import Fake


@pytest.fixture
def place(tmp_path: Path) -> LaunchFolder:
    made = LaunchFolder(tmp_path / "out")
    made.out.mkdir()
    made.create(make_launch(Profile(), [make_config({})], device="auto"))
    for job in ("7_0", "7_1", "9"):
        made.add_job(job, "task")
    return made


def test_slurm_is_asked_once_a_minute_for_all_jobs(
    place: LaunchFolder, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake(
        "squeue", "echo '7_0|RUNNING|None'; echo '7_1|PENDING|Resources'; echo '8|RUNNING|'"
    )
    fake("sacct", "echo '9|COMPLETED'")
    first = ask_slurm(place)
    assert first.states == {
        "7_0": JobState("RUNNING", ""),
        "7_1": JobState("PENDING", "Resources"),
        "9": JobState("COMPLETED", ""),
    }
    for _ in range(3):
        assert ask_slurm(place).states == first.states
    assert calls.read_text().splitlines() == [f"-h -r -o %i|%T|%r -t all -u {os.getuid()}"]
    monkeypatch.setattr(status, "_FRESH_S", 0.0)
    ask_slurm(place)
    assert len(calls.read_text().splitlines()) == 2


def test_a_slurm_that_does_not_answer_is_no_end_of_the_jobs(
    place: LaunchFolder, fake: Fake
) -> None:
    calls = fake("squeue", "exit 1")
    for _ in range(2):  # nor is it asked the more
        assert {state.state for state in ask_slurm(place).states.values()} == {"UNKNOWN"}
    assert len(calls.read_text().splitlines()) == 1


def test_without_accounting_jobs_that_are_gone_are_over(place: LaunchFolder, fake: Fake) -> None:
    fake("squeue", "true")
    fake("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    place.tell("7_0", "ended")
    answer = ask_slurm(place)
    assert {state.state for state in answer.states.values()} == {"OVER"}
    first, second, _ = describe_jobs(place, answer)
    assert first.startswith("7_0        task   OVER  ended on ")
    assert second == "7_1        task   OVER"


def test_accounting_is_not_asked_about_jobs_that_told(place: LaunchFolder, fake: Fake) -> None:
    fake("squeue", "true")
    calls = fake("sacct", "true")
    for job in place.submitted():
        place.tell(job, "ended")
    ask_slurm(place)
    assert not calls.exists()


def test_a_job_that_waits_says_why(place: LaunchFolder, fake: Fake) -> None:
    fake("squeue", "echo '7_0|PENDING|Priority'; echo '9|RUNNING|None'")
    lines = describe_jobs(place, ask_slurm(place))
    assert lines[0] == "7_0        task   PENDING (Priority)"


def test_the_newest_failure_is_the_last_error(place: LaunchFolder) -> None:
    assert last_error(place) is None
    place.tell("7_0", "failed", "port: 6379 cannot be used")
    assert "port: 6379" in str(last_error(place))
    error = place.out / "trials" / "00000-a" / "error.txt"
    error.parent.mkdir(parents=True)
    error.write_text("Traceback\nValueError: no\n")
    os.utime(error, (4e9, 4e9))
    assert str(last_error(place)).startswith("trial 00000-a: ValueError: no")


def test_logs_show_their_last_lines(place: LaunchFolder) -> None:
    (place.jobs / "7_0_0_log.out").write_text("\n".join(map(str, range(50))))
    (place.jobs / "9_0_log.out").write_text("")
    ((path, lines),) = tails(place)
    assert (path.name, lines[0], lines[-1], len(lines)) == ("7_0_0_log.out", "30", "49", 20)
