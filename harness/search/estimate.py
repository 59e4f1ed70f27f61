"""The size of a plan before it is run (``--dry-run``)."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.search.plan import PlannedTrial
from harness.search.schedule import lineage


@dataclass(frozen=True)
class Estimate:
    """What a plan asks for.

    Attributes:
        trials: Planned trials.
        distillations: Different distillations among them; a shorter one is on a longer one's way.
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
    sets = {lineage(trial) for trial in plan}
    return Estimate(
        trials=len(plan),
        distillations=len(sets),
        iterations=sum(trial.config.num_iterations() for trial in plan),
        students=sum(
            len(trial.config.students()) * trial.config.evaluation.student_seeds for trial in plan
        ),
    )
