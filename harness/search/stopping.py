"""Early stopping: distillations whose quick scores a scheduler judges too low go no further.

A verdict is on a *family*: the trials whose distillations differ in nothing but the replicate's
seed and the length, whatever students they train. The distillation of its first replicate is the
one that is judged: a mean over those replicates that happened to go on would not be comparable,
and quick scores say nothing of settings that the set does not depend on.

``decisions.jsonl`` has a line for each judged report, in the order of their arrival, and for each
promotion; written by the driver alone. A search that goes on is told all of it again, so that it
decides as if it had not been stopped. Lines that a crash of the machine took are judged anew.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.errors import ResultError
from harness.events import Verdict
from harness.schema import DECISIONS_FILE, NOT_RUN, QUICK
from harness.search.folder import SearchFolder
from harness.search.plan import PlannedTrial


class Rule(Protocol):
    """Judges reports; asked once for each, in the order of their arrival."""

    def __call__(self, family: str, iteration: int, score: float) -> bool:
        """Whether a family is to go no further.

        Args:
            family: Name of the family; equal names are one.
            iteration: Of the report; rises within a family.
            score: Its quick score.
        """


@dataclass
class _Family:
    """What is known of a family."""

    reported: int = 0
    """Iteration of its last judged report."""
    score: float = 0.0
    """Its quick score."""
    verdict: Verdict | None = None
    promoted: bool = False

    def promote(self) -> None:
        """Let it go on to its end, whatever is reported."""
        self.promoted, self.verdict = True, None


class EarlyStopping:
    """The verdicts of a search; see the module."""

    def __init__(self, folder: SearchFolder, rule: Rule) -> None:
        """Read what was decided; a torn last line is cut off.

        Args:
            folder: The search, prepared.
            rule: Judges reports; told again of those that were judged.

        Raises:
            ResultError: A line other than a torn last one cannot be read.
        """
        self._rule = rule
        self._folder = folder
        self._scheduler = folder.space.search.scheduler
        self._path = folder.path / DECISIONS_FILE
        self._names: dict[str, str] = {}
        self._name_of: dict[str, str] = {}
        self._families: defaultdict[str, _Family] = defaultdict(_Family)
        for trial in folder.plan:
            self.family(trial)
        for line in _read(self._path):
            self._replay(line)

    def family(self, trial: PlannedTrial) -> str:
        """Name of a trial's family: that of its first planned trial."""
        if (known := self._name_of.get(trial.trial_id)) is not None:
            return known
        lineage = trial.config.lineage()
        if "seed" in lineage:
            lineage["seed"] -= trial.replicate
        name = self._names.setdefault(json.dumps(lineage, sort_keys=True), trial.trial_id)
        self._name_of[trial.trial_id] = name
        return name

    def verdict(self, trial: PlannedTrial) -> Verdict | None:
        """The verdict on a trial's family; None while it may go on."""
        return self._families[self.family(trial)].verdict

    def report(self, trial: PlannedTrial, iteration: int, score: float | None) -> Verdict | None:
        """Judge a report unless it was before; return the verdict on the trial's family."""
        name = self.family(trial)
        family = self._families[name]
        settled = trial.replicate > 0 or family.promoted or family.verdict is not None
        if settled or score is None or iteration <= family.reported:
            return family.verdict
        stop = self._rule(name, iteration, score)
        self._append({"family": name, "iteration": iteration, "score": score, "stop": stop})
        self._note(family, iteration, score, stop)
        return family.verdict

    def promote(self, number: int) -> list[PlannedTrial]:
        """Let the best families that were stopped go on to their end; durable.

        The best are those that came furthest, of these those with the highest quick scores. While
        trials of an earlier promotion are missing, it is that one that goes on.

        Args:
            number: How many families; 0 only completes an earlier promotion.

        Returns:
            Trials of promoted families that are to be run: they have no result any more.
        """
        if not (due := self._reopen()) and number:
            stopped = [name for name, item in self._families.items() if item.verdict is not None]
            for name in sorted(stopped, key=self._rank, reverse=True)[:number]:
                self._append({"family": name, "promoted": True})
                self._families[name].promote()
            due = self._reopen()
        return due

    def _reopen(self) -> list[PlannedTrial]:
        """Take from promoted trials their results as stopped ones; return those without result."""
        due = []
        for trial in self._folder.plan:
            if self._families[self.family(trial)].promoted:
                if self._folder.status(trial) == "stopped_early":
                    self._folder.reopen(trial)
                if self._folder.status(trial) in (NOT_RUN, "interrupted"):
                    due.append(trial)
        return due

    def _rank(self, name: str) -> tuple[int, float]:
        family = self._families[name]
        return family.reported, family.score

    def _replay(self, line: Mapping[str, Any]) -> None:
        family = self._families[line["family"]]
        if line.get("promoted"):
            family.promote()
            return
        iteration, score, stop = line["iteration"], line["score"], line["stop"]
        self._rule(line["family"], iteration, score)
        self._note(family, iteration, score, stop)

    def _note(self, family: _Family, iteration: int, score: float, stop: bool) -> None:
        family.reported, family.score = iteration, score
        if stop:
            reason = f"{self._scheduler}: {QUICK} {score:.3f} is too low at iteration {iteration}"
            family.verdict = Verdict(iteration, reason)

    def _append(self, line: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The decisions of a search, none where it has none yet; cuts a torn last line off."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        text = file.read()
        whole = text.rfind(b"\n") + 1
        file.truncate(whole)
    for number, line in enumerate(text[:whole].splitlines(), start=1):
        try:
            data = json.loads(line)
            known = data.get("promoted") is True or {"iteration", "score", "stop"} <= set(data)
            if not known or not isinstance(data["family"], str):
                raise ValueError("keys are missing")
        except (ValueError, KeyError, AttributeError) as error:
            raise ResultError(
                f"{path}:{number}: not a decision ({error}); restore the file from a copy, or "
                "remove it: all is then judged anew"
            ) from None
        yield data
