"""Tests of harness.tune.utilisation: what the tool prints, and a tool that is not there."""

import time
from pathlib import Path

import pytest

from harness.tune.utilisation import Utilisation, read_sample


@pytest.mark.parametrize(
    ("line", "share"), [("37\n", 0.37), (" 0 \n", 0.0), ("100", 1.0), ("37 %\n", 0.37)]
)
def test_a_line_of_the_tool(line: str, share: float) -> None:
    assert read_sample(line) == share


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "[N/A]",
        "[Not Supported]",
        "-1",
        "101",
        "3.5",
        "12, 4096",
        "²",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "No devices were found",
        "\x00\xff37",
    ],
)
def test_garbage_is_no_sample(line: str) -> None:
    assert read_sample(line) is None


def tool(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def sampled(utilisation: Utilisation, seconds: float = 20.0) -> float | None:
    deadline = time.monotonic() + seconds
    while utilisation() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return utilisation()


def test_samples_are_averaged_until_it_is_stopped(tmp_path: Path) -> None:
    body = f'echo "$@" > {tmp_path}/asked; printf "20\\n[N/A]\\n40\\n"; exec sleep 100'
    with Utilisation("GPU-1-2", tool(tmp_path / "smi", body)) as found:
        assert sampled(found) is not None
        process = found._process
        assert process is not None
    assert process.returncode is not None
    assert found() == pytest.approx(0.3)
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("--id=GPU-1-2 --query-gpu=utilization.gpu ")


def test_without_the_tool_nothing_is_known(tmp_path: Path) -> None:
    with Utilisation("0", str(tmp_path / "missing")) as found:
        assert found() is None


def test_a_tool_that_fails_says_nothing(tmp_path: Path) -> None:
    with Utilisation("0", tool(tmp_path / "smi", "echo 'No devices were found'; exit 6")) as found:
        process = found._process
        assert process is not None
        process.wait()
        assert found() is None
