"""Proposals: how an adaptive search chooses its configurations; no Ray, no Optuna.

Each configuration is in the plan before it starts. What a search knows is read back from the trial
folders, so one that was stopped goes on from them, under any executor.
"""

from abc import ABC, abstractmethod
from statistics import fmean
from typing import Protocol

from harness.schema import ENDED
from harness.search.folder import SearchFolder
from harness.search.parameters import Point
from harness.search.plan import PlannedTrial


class Chooser(Protocol):
    """What adds trials to a plan while it runs."""

    def next(self) -> list[PlannedTrial]:
        """Plan more trials and return them; none where it waits for results, or at the end."""

    def ended(self, trial: PlannedTrial) -> None:
        """Learn from a trial that has ended."""


class Proposals(ABC):
    """Chooses configurations one at a time; a configuration is judged by all its replicates.

    A configuration's key is its place in the plan, where its replicates stand side by side.
    """

    def __init__(self, folder: SearchFolder, limit: int | None = None) -> None:
        """Read the plan.

        Args:
            folder: The search, prepared; chosen configurations are added to its plan.
            limit: Choose no more than so many trials; None: as many as the search has.
        """
        self._folder = folder
        self._left = limit
        self._replicates: dict[int, list[PlannedTrial]] = {}
        self._learned: set[int] = set()
        for trial in folder.plan:
            self._note(trial)

    @abstractmethod
    def _ask(self, key: int) -> Point:
        """Choose a configuration that will have a key."""

    @abstractmethod
    def _tell(self, key: int, values: list[float] | None) -> None:
        """Take a configuration's mean of each metric; None where it has failed."""

    def next(self) -> list[PlannedTrial]:
        """Choose and plan a configuration, and return its trials; none where all are chosen."""
        left = self._left
        if not self._folder.to_propose() or (left is not None and left <= 0):
            return []
        trials = self._folder.add(self._ask(len(self._folder.plan)))
        for trial in trials:
            self._note(trial)
        trials = trials[:left]
        self._left = None if left is None else left - len(trials)
        return trials

    def ended(self, trial: PlannedTrial) -> None:
        """Learn from a trial that has ended, once its configuration has no other to run."""
        self._learn(_configuration(trial))

    def _recall(self) -> None:
        """Learn from all that has ended."""
        self._learned.clear()
        for key in self._replicates:
            self._learn(key)

    def _seed(self) -> int:
        """A seed; a resumed search must not draw its first configurations again."""
        return int(self._folder.space.base.get("seed", 0)) + len(self._folder.plan)

    def _point(self, key: int) -> Point:
        return self._replicates[key][0].point

    def _note(self, trial: PlannedTrial) -> None:
        self._replicates.setdefault(_configuration(trial), []).append(trial)

    def _learn(self, key: int) -> None:
        trials = self._replicates[key]
        waiting = any(self._folder.status(trial) not in ENDED for trial in trials)
        if waiting or key in self._learned:
            return
        self._learned.add(key)
        self._tell(key, self._values(trials))

    def _values(self, trials: list[PlannedTrial]) -> list[float] | None:
        """Mean over replicates of each metric; None where one has none."""
        found = []
        for metric, _ in self._folder.space.search.goals():
            own = [self._folder.result(trial).metrics.get(metric) for trial in trials]
            known = [value for value in own if value is not None]
            if len(known) < len(own):
                return None
            found.append(fmean(known))
        return found


def _configuration(trial: PlannedTrial) -> int:
    return int(trial.trial_id.partition("-")[0]) - trial.replicate
