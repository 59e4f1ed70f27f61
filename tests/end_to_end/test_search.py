"""``harness search``: a real Ray on this machine, and the same plan without it."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.end_to_end.conftest import (
    HARNESS,
    Call,
    kill,
    processes_of_session,
    shell,
    start,
    wait_until,
)

# ``harness``, which gets a SIGINT while its Ray shuts down, and says where Ray's folder was. It may
# not import Ray before there is a token.
INTERRUPTED_AT_THE_END = """
import os, signal
from harness.cli import main
from harness.tune.health import RayWatch

watching = RayWatch.watching

def with_signal(watch):
    from ray._private.node import Node

    shut_down = Node.destroy_external_storage

    def interrupted(node):
        Node.destroy_external_storage = shut_down
        print("folder", node.get_temp_dir_path(), flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        shut_down(node)

    Node.destroy_external_storage = interrupted
    return watching(watch)

RayWatch.watching = with_signal
main()
"""
SLOW_SETTINGS = ["--set", "iterations=150", "--set", "run.report_every=75"]


def results(out: Path) -> dict[str, list[tuple[object, ...]]]:
    """Accuracies of each trial: what must not depend on who ran it."""
    found = {}
    for folder in sorted((out / "trials").iterdir()):
        table = parquet.read_table(folder / "evaluations.parquet")
        columns = ["student", "student_seed", "split", "status", "accuracy", "loss"]
        found[folder.name] = [tuple(row[c] for c in columns) for row in table.to_pylist()]
    return found


def statuses(out: Path) -> list[str]:
    return [
        json.loads(file.read_text())["status"] for file in (out / "trials").glob("*/trial.json")
    ]


def workers(session: int) -> list[int]:
    """Processes of a session that run trials; Tune names their class so."""
    found = []
    for process in processes_of_session(session):
        try:
            title = Path(f"/proc/{process}/cmdline").read_text()
        except OSError:
            continue
        if title.startswith(("ray::ResourceTrainable", "ray::TrialWorker")):
            found.append(process)
    return found


def temporary_folder(driver: int) -> Path:
    """Of one driver's Ray, which its processes name; tests beside this one have their own."""
    for process in processes_of_session(driver):
        with suppress(OSError):
            command = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
            if found := re.search(r"/tmp/hr-[^/\s\0]+", command):
                return Path(found[0])
    raise AssertionError("no process names its folder")


@pytest.mark.ray
def test_ray_and_inline_give_the_same_rows(call: Call, tiny: Path, tmp_path: Path) -> None:
    said = shell("search", tiny, "--out", tmp_path / "ray")
    assert said.status == 0, said.out + said.err
    # Ray 2.52 says once, from C++, where it found its token; later releases are silent.
    assert [line for line in said.err.splitlines() if "token_loader" not in line] == []
    lines = said.out.splitlines()
    assert len([line for line in lines if " ok " in line]) == 6
    assert len(lines) == 6 + 5, said.out  # title, state, counts, best, next command
    assert "6 ok" in lines
    assert not (tmp_path / "ray" / "ray").exists()
    inline = call("search", tiny, "--out", tmp_path / "inline", "--address", "inline")
    assert inline.status == 0, inline.err
    assert results(tmp_path / "ray") == results(tmp_path / "inline")


def test_a_published_search_is_unpacked_and_goes_on(call: Call, tiny: Path, tmp_path: Path) -> None:
    inline = ["--address", "inline"]
    out = tmp_path / "here"
    assert call("search", tiny, "--out", out, *inline, "--limit", 3).status == 0
    assert call("export", out, "--to", tmp_path / "published").status == 0
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run(
        ["tar", "-xf", tmp_path / "published" / "search.tar.xz", "-C", there], check=True
    )
    before = results(there / "here")
    assert before, "a whole replicate"
    said = call("search", tiny, "--out", there / "here", *inline)
    assert said.status == 0, said.err
    assert f"{len(before)} done, {6 - len(before)} to run" in said.out
    again = call("search", tiny, "--out", out, *inline)
    assert again.status == 0, again.err
    assert results(there / "here") == results(out)


@pytest.mark.ray
def test_a_killed_driver_leaves_nothing_and_the_same_command_goes_on(
    tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["search", tiny, "--out", out, *SLOW_SETTINGS]
    driver = start(*command)
    try:
        assert wait_until(lambda: len(list((out / "trials").glob("*/trial.json"))) >= 1)
    finally:
        driver.kill()
        driver.wait()
    assert wait_until(lambda: not processes_of_session(driver.pid), 30)
    finished = len(statuses(out))
    assert 1 <= finished < 6
    said = shell(*command)
    assert said.status == 0, said.out + said.err
    assert f"{finished} done, {6 - finished} to run" in said.out
    assert statuses(out) == ["ok"] * 6
    assert len((out / "plan.jsonl").read_text().splitlines()) == 6


@pytest.mark.ray
def test_a_terminated_search_says_that_it_is_not_complete(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = start("search", tiny, "--out", out, *SLOW_SETTINGS)
    assert wait_until(lambda: len(workers(driver.pid)) >= 1)
    folder = temporary_folder(driver.pid)
    driver.send_signal(signal.SIGTERM)
    said, _ = driver.communicate(timeout=150)
    assert driver.returncode == 1, said
    assert "interrupted: " in said
    assert "not_run" in said
    assert wait_until(lambda: not processes_of_session(driver.pid), 30)
    assert not folder.exists()


@pytest.mark.ray
def test_a_signal_while_ray_shuts_down_leaves_no_folder(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_THE_END, "search", str(tiny), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert statuses(out) == ["ok"] * 6
    found = re.search(r"folder (/tmp/hr-[^/\s]+)/ray\n", done.stdout)
    assert found, done
    assert not Path(found[1]).exists()


@pytest.mark.ray
def test_a_lost_worker_costs_no_trial_and_the_token_is_private(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = start("search", tiny, "--out", out, *SLOW_SETTINGS)
    assert wait_until(lambda: len(workers(driver.pid)) >= 1)
    folder = temporary_folder(driver.pid)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert wait_until(lambda: len(list((out / "trials").glob("*"))) >= 1)
    kill(workers(driver.pid)[0])
    said, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, said
    assert statuses(out) == ["ok"] * 6
    assert not folder.exists()


@pytest.mark.ray
def test_cores_come_from_the_affinity(tiny: Path, tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    command = [*HARNESS, "search", str(tiny), "--out", str(tmp_path / "out"), "--set", "threads=2"]
    done = subprocess.run(
        ["taskset", "-c", str(core), *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "may use 1 " in done.stderr


def test_limit_runs_the_first_and_the_rest_follows(call: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = call("search", tiny, "--out", out, "--address", "inline", "--limit", 2)
    assert first.status == 0, first.err
    assert "4 not_run, 2 ok" in first.out
    assert len((out / "plan.jsonl").read_text().splitlines()) == 6
    rest = call("search", tiny, "--out", out, "--address", "inline", "--resume")
    assert rest.status == 0, rest.err
    assert "2 done, 4 to run" in rest.out
    again = call("search", tiny, "--out", out, "--address", "inline")
    assert again.status == 0
    assert "6 done, 0 to run" in again.out


def test_a_bug_in_a_trial_is_recorded_and_the_others_go_on(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.distill.dc import DC

    step, calls = DC.step, []

    def fail_once(self: DC) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        return step(self)

    monkeypatch.setattr(DC, "step", fail_once)
    out = tmp_path / "out"
    said = call("search", tiny, "--out", out, "--address", "inline")
    assert said.status == 1
    assert "1 error, 5 ok" in said.out
    (traceback,) = out.glob("trials/*/error.txt")
    assert "RuntimeError: a bug" in traceback.read_text()
    assert str(traceback) in said.out
    assert call("search", tiny, "--out", out, "--address", "inline").status == 0
    assert statuses(out) == ["ok"] * 6


def test_an_interrupted_inline_search_goes_on(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.distill.dc import DC

    step, calls = DC.step, []

    def interrupted(self: DC) -> object:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(DC, "step", interrupted)
    out = tmp_path / "out"
    said = call("search", tiny, "--out", out, "--address", "inline")
    assert said.status == 1
    assert "interrupted: 4 not_run, 2 ok" in said.out
    assert call("search", tiny, "--out", out, "--address", "inline").status == 0
    assert statuses(out) == ["ok"] * 6


def test_a_random_search_and_a_report(call: Call, tiny: Path, tmp_path: Path) -> None:
    text = tiny.read_text().replace("grid = [0.0, 0.5, 1.0]", "uniform = [0.0, 1.0]")
    tiny.write_text(text + 'algorithm = "random"\nsamples = 2\n')
    out = tmp_path / "out"
    said = call("search", tiny, "--out", out, "--address", "inline", "--samples", 3)
    assert said.status == 0, said.err
    assert "6 ok" in said.out
    told = call("report", out, "--to", tmp_path / "report.html")
    assert told.status == 0, told.err
    assert "main_probability" in told.out
    html = (tmp_path / "report.html").read_text()
    assert "<svg" in html
    assert "tiny" in html


def test_a_dry_run_writes_nothing(call: Call, tiny: Path, tmp_path: Path) -> None:
    said = call("search", tiny, "--out", tmp_path / "out", "--dry-run")
    assert said.status == 0
    assert "6 trials, 6 different distillations, 12 iterations, 12 student networks" in said.out
    assert not (tmp_path / "out").exists()
