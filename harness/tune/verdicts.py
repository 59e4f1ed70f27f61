"""Verdicts on their way from the driver to workers on any machine: a file for each family."""

import json
from pathlib import Path

from harness.events import Verdict
from harness.search.plan import PlannedTrial
from harness.search.stopping import EarlyStopping


class VerdictFiles:
    """Files that are there, empty, before a worker looks, and hold a verdict once there is one.

    They are written in place and opened anew at each look, as ``StopFile`` is. The driver writes
    one before it lets the reporting trial go on; one that is seen late stops it a report later.
    """

    def __init__(self, folder: Path, stopping: EarlyStopping) -> None:
        """Prepare.

        Args:
            folder: Where the files go; made if missing.
            stopping: Whose verdicts they hold.
        """
        self._folder = folder
        self._stopping = stopping

    def open(self, trial: PlannedTrial) -> Path:
        """The file of a trial's family, as it stands."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(trial)
        _write(path, self._stopping.verdict(trial))
        return path

    def report(self, trial: PlannedTrial, iteration: int, score: float | None) -> None:
        """Judge a report; a verdict is there for the family's workers before this returns."""
        verdict = self._stopping.report(trial, iteration, score)
        if verdict is not None:
            _write(self._path(trial), verdict)

    def _path(self, trial: PlannedTrial) -> Path:
        return self._folder / self._stopping.family(trial)


def read_verdict(path: Path | None) -> Verdict | None:
    """The verdict in a file; None where there is none, or not all of it yet."""
    if path is None:
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Verdict(data["iteration"], data["reason"])
    except (OSError, ValueError):
        return None


def _write(path: Path, verdict: Verdict | None) -> None:
    text = ""
    if verdict is not None:
        text = json.dumps({"iteration": verdict.iteration, "reason": verdict.reason})
    path.write_text(text, encoding="utf-8")
