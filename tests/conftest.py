"""What all tests share: the line that says how many faults were survived."""

from typing import Any


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
