"""Measures the first trials of a search, to pack the others by (``--trials-per-gpu auto``)."""

from collections.abc import Callable, Sequence

from harness.search.console import SearchConsole
from harness.search.folder import SearchFolder
from harness.search.packing import choose_packing, find_measured, most_costly
from harness.search.plan import PlannedTrial
from harness.search.proposals import Chooser
from harness.search.schedule import lineage
from harness.tune.resources import Resources

Fit = Callable[[Sequence[PlannedTrial], Resources, Chooser | None], None]
"""Runs trials with these resources, and what a chooser adds to them."""


def pack(
    folder: SearchFolder,
    trials: Sequence[PlannedTrial],
    resources: Resources,
    proposals: Chooser | None,
    console: SearchConsole,
    fit: Fit,
) -> tuple[list[PlannedTrial], Resources]:
    """Find how many trials share a GPU: by a trial that is done, else the most costly run first.

    These have a GPU each, and as many run as there are GPUs, of different distillations: a trial
    that takes another's set would not show what distilling takes.

    Returns:
        The trials that are left, and what each of them is given.
    """
    left = list(trials)
    measured = find_measured(folder)
    if measured is None:
        left = left or ([] if proposals is None else proposals.next())
        first = _first(left, resources.slots())
        if first:
            fit(first, resources, None if proposals is None else _Listener(proposals))
        begun = {trial.trial_id for trial in first}
        left = [trial for trial in left if trial.trial_id not in begun]
        measured = find_measured(folder)
    if measured is None:
        console.say("packing: the first trial could not be measured: one trial a GPU")
        return left, resources.packed(1)
    packing = choose_packing(measured, resources.cpu_slots())
    console.say(f"packing: {packing.reason}")
    return left, resources.packed(packing.number)


def _first(trials: Sequence[PlannedTrial], number: int) -> list[PlannedTrial]:
    """The most costly trials, each of another distillation."""
    distinct: dict[str, PlannedTrial] = {}
    for trial in most_costly(trials):
        distinct.setdefault(lineage(trial), trial)
    return list(distinct.values())[:number]


class _Listener:
    """Lets a chooser learn from the trials that are measured, without choosing more of them."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser

    def next(self) -> list[PlannedTrial]:
        return []

    def ended(self, trial: PlannedTrial) -> None:
        self._chooser.ended(trial)
