"""What cannot work ends with one line, not 0, within a minute; commands that look and cancel."""

import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from slurm import queue
from tests.slurm.conftest import ITERATIONS, SPACE, Said, Search, harness

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

LIMIT_S = 60 if "HARNESS_SLURM_PATIENCE_S" not in os.environ else 600


def refused(said: Said, start: float) -> str:
    """The one line of a refusal, which came in time."""
    assert time.monotonic() - start < LIMIT_S
    assert said.status == 2, said
    (line,) = said.err.strip().splitlines()
    assert line.startswith("harness: ")
    return line


def test_a_missing_partition(search: Search) -> None:
    start = time.monotonic()
    line = refused(search.launch("--partition", "nowhere"), start)
    assert "invalid partition specified: nowhere" in line


def test_a_taken_port(search: Search, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site.write_text(f"port = {port}\n")
        start = time.monotonic()
        line = refused(search.launch("--profile", site, "--shape", "cluster"), start)
    assert f"port: {port} " in line
    assert "cannot be used" in line
    search.wait(search.is_over, "end")


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
def test_an_out_folder_that_the_nodes_do_not_see(search: Search, tmp_path: Path) -> None:
    assert shutil.which("unshare")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # The command has a file system of its own below ``hidden``; the nodes' daemons do not see it.
    script = f'mount -t tmpfs none {hidden} && exec "$0" "$@"'
    prefix = ("unshare", "--mount", "--propagation", "private", "bash", "-c", script)
    start = time.monotonic()
    said = harness(
        "launch", search.space, "--out", hidden / "out", "--shape", "array", prefix=prefix
    )
    assert "do the nodes see that folder?" in refused(said, start)


def test_status_logs_and_cancel(search: Search) -> None:
    # Trials that outlast the commands.
    search.space.write_text(SPACE.format(iterations=ITERATIONS * 4))
    search.started("--shape", "array", "--nodes", 2).wait_for_results(1)
    jobs = list(search.place.submitted())
    said = harness("status", search.out)
    assert said.status == 0, said
    assert " ok" in said.out
    assert all(f"{job} " in said.out for job in jobs)
    assert "RUNNING" in said.out
    assert "array_task starts" in harness("logs", search.out).out
    again = search.launch("--shape", "array")
    assert again.status == 2
    assert f"is run by job {jobs[0]}" in again.err
    assert harness("cancel", search.out).status == 0
    search.wait(search.is_over, "end")
    assert set(search.place.submitted()) == set(jobs)  # nothing follows
    assert len(search.results()) < 6
    assert search.launch("--shape", "array", "--nodes", 2).status == 0
    search.wait_for_end()


def test_no_process_is_left(search: Search) -> None:
    search.started("--shape", "cluster", "--nodes", 2).wait_for_results(1)
    (job,) = search.place.submitted()
    queue.cancel([job])
    search.wait(search.is_over, "end")
    mine = str(search.out)
    search.wait(lambda: not _with_word(mine), "end of its processes")


def _with_word(word: str) -> list[str]:
    """Command lines of living processes that name a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ")
        except OSError:
            continue
        if word in line and "pytest" not in line:
            found.append(line)
    return found
