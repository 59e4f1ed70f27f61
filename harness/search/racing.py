"""Racing: further replicates only for configurations that may still be the best.

Every configuration has ``FIRST`` replicates. Then, replicate by replicate, only those go on whose
95% interval (Student's t over replicates) overlaps that of the best mean, until one is left, all
have ``search.replicates``, or ``search.budget`` trials are planned. A configuration with a
replicate that has no score is out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev

from harness.schema import ENDED
from harness.search.folder import SearchFolder
from harness.search.parameters import Point
from harness.search.plan import PlannedTrial
from harness.search.settings import FIRST_REPLICATES


@dataclass(frozen=True)
class Standing:
    """How a configuration stands.

    Attributes:
        point: The configuration.
        n: Replicates with a score.
        mean: Of the metric.
        low: Lower end of the mean's 95% interval.
        high: Its upper end.
    """

    point: Point
    n: int
    mean: float
    low: float
    high: float


class Racing:
    """Plans the rounds of a race; see the module."""

    def __init__(self, folder: SearchFolder, limit: int | None = None) -> None:
        """Remember what to race.

        Args:
            folder: The search, prepared; further replicates are added to its plan.
            limit: Plan no more than so many trials; None: as many as the race takes.
        """
        self._folder = folder
        self._left = limit

    def next(self) -> list[PlannedTrial]:
        """Plan the next round; no trials while one of the last round runs, or after the end."""
        due = next_round(self._folder)[: self._left]
        if self._left is not None:
            self._left -= len(due)
        return [self._folder.add_replicate(point, replicate) for point, replicate in due]

    def ended(self, trial: PlannedTrial) -> None:
        """Nothing: what ended is in its folder."""


def next_round(folder: SearchFolder) -> list[tuple[Point, int]]:
    """The next replicates that the race calls for, best configurations first.

    None while a planned trial has not ended, nor once the race is over.
    """
    search = folder.space.search
    if any(folder.status(trial) not in ENDED for trial in folder.plan):
        return []
    alive = survivors(standings(folder), search.mode == "max")
    if len(alive) < 2:
        return []
    due = [(item.point, item.n) for item in alive if item.n < search.replicates]
    fewest = min((replicate for _, replicate in due), default=0)
    room = None if search.budget is None else max(0, search.budget - len(folder.plan))
    return [item for item in due if item[1] == fewest][:room]


def standings(folder: SearchFolder) -> list[Standing]:
    """How the configurations stand that have a score in each planned replicate, best first."""
    ((metric, mode),) = folder.space.search.goals()
    found: dict[str, tuple[Point, list[float | None]]] = {}
    for trial in folder.plan:
        key = json.dumps(trial.point, sort_keys=True)
        score = folder.result(trial).metrics.get(metric)
        found.setdefault(key, (trial.point, []))[1].append(score)
    rows = []
    for point, scores in found.values():
        known = [score for score in scores if score is not None]
        if len(known) == len(scores) >= FIRST_REPLICATES:
            rows.append(_standing(point, known))
    return sorted(rows, key=lambda item: item.mean, reverse=mode == "max")


def survivors(standings: list[Standing], larger_is_better: bool) -> list[Standing]:
    """Those whose interval overlaps the interval of the first, which is the best."""
    if not standings:
        return []
    best = standings[0]
    if larger_is_better:
        return [item for item in standings if item.high >= best.low]
    return [item for item in standings if item.low <= best.high]


def describe_race(folder: SearchFolder, shown: Callable[[Point], str]) -> str:
    """Who is left, in one line; empty before the first replicates have ended.

    Args:
        folder: The search.
        shown: A configuration in words.
    """
    rows = standings(folder)
    if not rows:
        return ""
    search = folder.space.search
    alive, best = survivors(rows, search.mode == "max"), rows[0]
    total = len({json.dumps(trial.point, sort_keys=True) for trial in folder.plan})
    return (
        f"race: {len(alive)} of {total} configurations left; best {search.metric} {best.mean:.3f} "
        f"({best.low:.3f} to {best.high:.3f}, n = {best.n})  {shown(best.point)}"
    )


def _standing(point: Point, scores: list[float]) -> Standing:
    from scipy.stats import t

    n, mean = len(scores), fmean(scores)
    half = float(t.ppf(0.975, n - 1)) * stdev(scores) / n**0.5
    return Standing(point, n, mean, mean - half, mean + half)
