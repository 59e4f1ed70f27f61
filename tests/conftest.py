"""What all tests share: caches of their own, and a line of the faults that were survived."""

import os
from collections.abc import Iterator
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count the faults of ``tests/faults`` that were run."""
    name = "test_a_fault_loses_and_repeats_nothing"
    found = {
        outcome: [
            report
            for report in terminalreporter.stats.get(outcome, [])
            if name in getattr(report, "nodeid", "") and report.when in ("call", "setup")
        ]
        for outcome in ("passed", "failed", "error")
    }
    survived = len([report for report in found["passed"] if report.when == "call"])
    total = survived + len(found["failed"]) + len(found["error"])
    if total:
        terminalreporter.write_line(f"faults survived {survived} of {total}")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests decode in a folder of this test run."""
    before = os.environ.get("HARNESS_CACHE")
    os.environ["HARNESS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["HARNESS_CACHE"]
    else:
        os.environ["HARNESS_CACHE"] = before
