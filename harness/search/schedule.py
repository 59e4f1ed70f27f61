"""The order in which a plan's trials are run, and what they share on the way."""

import json
from collections.abc import Sequence

from harness.search.plan import PlannedTrial


def in_order(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """Trials with distinct distillations before those that repeat one.

    Of trials that share a distillation the longest goes first: the others' sets are on its way.
    Otherwise the order stays.
    """
    longest: dict[str, PlannedTrial] = {}
    for trial in trials:
        known = longest.setdefault(lineage(trial), trial)
        if trial.config.num_iterations() > known.config.num_iterations():
            longest[lineage(trial)] = trial
    first = {trial.trial_id for trial in longest.values()}
    return sorted(trials, key=lambda trial: trial.trial_id not in first)


def needed_iterations(plan: Sequence[PlannedTrial]) -> dict[str, list[int]]:
    """Iterations that a plan needs of each lineage, sorted; see ``lineage``."""
    needed: dict[str, set[int]] = {}
    for trial in plan:
        needed.setdefault(lineage(trial), set()).add(trial.config.num_iterations())
    return {key: sorted(iterations) for key, iterations in needed.items()}


def lineage(trial: PlannedTrial) -> str:
    """Trials of equal lineage share the states of one distillation, whatever their length."""
    return json.dumps(trial.config.lineage(), sort_keys=True)
