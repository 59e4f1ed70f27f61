"""Ray Tune's schedulers as rules of ``harness.search.stopping``; no Ray needs to run.

Ray's schedulers would stop or pause Tune's trials themselves, from outside. Here they only judge:
each distillation is one of their trials, and a worker is told of a verdict and ends its trial.
"""

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from harness.errors import ConfigError
from harness.schema import QUICK
from harness.search.settings import REDUCTION_FACTOR
from harness.search.space import Space
from harness.search.stopping import Rule
from harness.seeding import python_random

_ITERATION = "iteration"


@dataclass(eq=False)
class _Judged:
    """What Ray's schedulers ask of a trial."""

    trial_id: str


def make_rule(space: Space) -> Rule:
    """The rule of a space with a scheduler; imports Ray, whose environment is to be set before."""
    from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule

    search, most = space.search, space.most_iterations()
    grace = max(search.grace_iterations or 0, space.first_report())
    goal = {"time_attr": _ITERATION, "metric": QUICK, "mode": "max"}
    if search.scheduler == "median":
        # It would pause trials while it knows few others; without a time slice it never does.
        median = MedianStoppingRule(**goal, grace_period=grace, min_time_slice=math.inf)
        return _RayRule([median], 0)
    factor = search.reduction_factor or REDUCTION_FACTOR
    halvings = max(1, math.ceil(math.log(most / grace, factor) - 1e-9))
    brackets = [
        ASHAScheduler(
            **goal,
            max_t=most,
            grace_period=grace * factor**bracket,
            reduction_factor=factor,
            # It has no last trials: a report at the last iteration would be the set itself.
            stop_last_trials=False,
        )
        for bracket in range(halvings if search.scheduler == "hyperband" else 1)
    ]
    return _RayRule(brackets, int(space.base.get("seed", 0)), factor)


def check_ray(scheduler: str) -> None:
    """Check that a scheduler is there.

    Raises:
        ConfigError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ConfigError(
            f"search.scheduler: '{scheduler}' is Ray Tune's, which is not installed; run pip "
            "install 'ray[tune]', or use search.scheduler = 'none'"
        )


class _RayRule:
    """Asks one of several schedulers; each family has its own by its number in the plan.

    HyperBand's brackets are ASHA with later and later first halvings; Ray's own ``brackets`` would
    draw them from NumPy's global generator. Their shares are HyperBand's: those that halve more
    often have more families, so that all cost about the same.
    """

    def __init__(self, schedulers: list[Any], seed: int, factor: int = REDUCTION_FACTOR) -> None:
        self._schedulers = schedulers
        self._seed = seed
        last = len(schedulers) - 1
        self._shares = [factor ** (last - i) / (last - i + 1) for i in range(len(schedulers))]
        self._judged: dict[str, tuple[Any, _Judged]] = {}

    def __call__(self, family: str, iteration: int, score: float) -> bool:
        """Whether the family's scheduler stops it."""
        scheduler, judged = self._judged.get(family) or self._add(family)
        action = scheduler.on_trial_result(None, judged, {_ITERATION: iteration, QUICK: score})
        return bool(action == scheduler.STOP)

    def _add(self, family: str) -> tuple[Any, _Judged]:
        """Choose a family's scheduler: a draw that neither time nor other draws shift."""
        rng = python_random(self._seed, "bracket", int(family.partition("-")[0]))
        (scheduler,) = rng.choices(self._schedulers, self._shares)
        judged = _Judged(family)
        scheduler.on_trial_add(None, judged)
        self._judged[family] = scheduler, judged
        return scheduler, judged
