"""The size of a plan before it is run (``--dry-run``)."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.search.plan import PlannedTrial
from harness.search.schedule import needed_iterations
from harness.search.space import Space


@dataclass(frozen=True)
class Estimate:
    """What a plan asks for.

    Attributes:
        trials: Planned trials.
        distillations: Different distillations among them; a shorter one is on a longer one's way.
        iterations: Iterations that are to be run: of each distillation those of its longest trial.
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


def describe_size(space: Space, plan: Sequence[PlannedTrial], to_choose: int) -> str:
    """The size of a search in one line.

    Args:
        space: What is searched.
        plan: Its planned trials.
        to_choose: Configurations that an adaptive search has yet to choose.
    """
    search = space.search
    if search.allocate == "racing":
        return f"{estimate(plan).text()} before the race leaves any out"
    if search.stops_early and not search.adaptive:
        return f"{estimate(plan).text()} before '{search.scheduler}' stops any"
    if not search.adaptive:
        return estimate(plan).text()
    trials = len(plan) + to_choose * search.replicates
    return (
        f"{trials} trials of {trials // search.replicates} configurations, of which "
        f"'{search.algorithm}' has {to_choose} to choose"
    )


def estimate(plan: Sequence[PlannedTrial]) -> Estimate:
    """Count what a plan asks for; nothing is measured or guessed."""
    needed = needed_iterations(plan)
    return Estimate(
        trials=len(plan),
        distillations=len(needed),
        iterations=sum(max(iterations) for iterations in needed.values()),
        students=sum(
            len(trial.config.students()) * trial.config.evaluation.student_seeds for trial in plan
        ),
    )
