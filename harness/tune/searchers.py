"""Searchers for Ray Tune's controller."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from harness.schema import NOT_RUN
from harness.search.plan import PlannedTrial
from harness.search.proposals import Chooser
from harness.search.schedule import lineage
from harness.tune.verdicts import VerdictFiles


class PlanSearcher(Searcher):  # type: ignore[misc]
    """Proposes the trials of a plan, in order, and then what an adaptive search chooses.

    A trial that comes back ``not_run``, because another makes its distilled set, is proposed again
    behind the others, and then waits.
    """

    def __init__(
        self,
        trials: Sequence[PlannedTrial],
        common: Mapping[str, Any],
        needed: Mapping[str, Sequence[int]],
        stopping: Callable[[], bool] = lambda: False,
        proposals: Chooser | None = None,
        slots: int = 1,
        verdicts: VerdictFiles | None = None,
    ) -> None:
        """Prepare to replay.

        Args:
            trials: What to propose.
            common: Put into every trial's Tune config besides ``trial_id``.
            needed: Iterations that the plan needs of each lineage.
            stopping: Whether to propose nothing more.
            proposals: What chooses more trials once those are under way; None: nothing does.
            slots: Trials that run at a time: none is chosen before it can start, since each
                result makes for a better choice.
            verdicts: Where trials find the verdict on them; None: none is stopped early.
        """
        super().__init__(metric=None, mode=None)
        self._waiting = deque((trial, False) for trial in trials)
        self._common = common
        self._needed = needed
        self._stopping = stopping
        self._proposals = proposals
        self._slots = slots
        self._verdicts = verdicts
        self.known = {trial.trial_id: trial for trial in trials}
        """Trials that were proposed or are to be, by id."""
        self._running: dict[str, PlannedTrial] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its searcher to disk, and it is never read back."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next planned trial as a Tune config.

        Returns:
            ``Searcher.FINISHED`` after the last; None where a running one may yet come back.
        """
        finished: str = Searcher.FINISHED
        if self._stopping():
            return finished
        if not self._waiting:
            self._choose()
        if not self._waiting:
            return None if self._running else finished
        trial, deferred = self._waiting.popleft()
        self._running[trial_id] = trial
        return {
            **self._common,
            "trial_id": trial.trial_id,
            "replicate": trial.replicate,
            "settings": trial.config.model_dump(mode="json"),
            "keep": list(self._needed.get(lineage(trial), ())),
            "verdict_file": str(self._verdicts.open(trial)) if self._verdicts else "",
            "patient": deferred or not self._waiting,
        }

    def _choose(self) -> None:
        """Take the next configuration of an adaptive search, where a trial of it can start."""
        if self._proposals is None or len(self._running) >= self._slots:
            return
        for trial in self._proposals.next():
            self.known[trial.trial_id] = trial
            self._waiting.append((trial, False))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take back a trial that was not run; an adaptive search learns from the others."""
        trial = self._running.pop(trial_id, None)
        if trial is None:
            return
        if result is not None and result.get("status") == NOT_RUN:
            self._waiting.append((trial, True))
        elif self._proposals is not None:
            self._proposals.ended(trial)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the plan and the trial folders are the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
