"""Searchers for Ray Tune's controller."""

from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from harness.search.plan import PlannedTrial


class PlanSearcher(Searcher):  # type: ignore[misc]
    """Proposes the trials of a plan, in order, and then nothing more."""

    def __init__(self, trials: Sequence[PlannedTrial], common: dict[str, Any]) -> None:
        """Prepare to replay.

        Args:
            trials: What to propose.
            common: Put into every trial's Tune config besides ``trial_id``.
        """
        super().__init__(metric=None, mode=None)
        self._waiting = list(reversed(trials))
        self._common = common

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next planned trial as a Tune config; ``Searcher.FINISHED`` after the last."""
        if not self._waiting:
            finished: str = Searcher.FINISHED
            return finished
        trial = self._waiting.pop()
        return {
            **self._common,
            "trial_id": trial.trial_id,
            "replicate": trial.replicate,
            "settings": trial.config.model_dump(mode="json"),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing is learned from results: the plan is fixed."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the plan and the trial folders are the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
