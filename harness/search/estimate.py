"""The size of a plan before it is run (``--dry-run``)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from harness.search.plan import PlannedTrial


@dataclass(frozen=True)
class Estimate:
    """What a plan asks for.

    Attributes:
        trials: Planned trials.
        distillations: Different distilled sets among them, iterations aside.
        iterations: Distillation iterations over all trials.
        students: Student networks to be trained.
    """

    trials: int
    distillations: int
    iterations: int
    students: int

    def text(self) -> str:
        """The estimate in one line."""
        return (
            f"{self.trials} trials, {self.distillations} different distillations, "
            f"{self.iterations} iterations, {self.students} student networks"
        )


def estimate(plan: Sequence[PlannedTrial]) -> Estimate:
    """Count what a plan asks for; nothing is measured or guessed."""
    sets = set()
    for trial in plan:
        identity = trial.config.identity()
        del identity["iterations"]
        sets.add(json.dumps(identity, sort_keys=True))
    return Estimate(
        trials=len(plan),
        distillations=len(sets),
        iterations=sum(trial.config.iterations for trial in plan),
        students=sum(
            len(trial.config.students()) * trial.config.evaluation.student_seeds for trial in plan
        ),
    )
