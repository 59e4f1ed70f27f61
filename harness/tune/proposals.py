"""Searches by the searchers that Ray Tune integrates; Ray is imported when the first one is asked.

A searcher sees the configurations that it is to know of as ``points_to_evaluate``, then their
results. So one that was stopped goes on from the trial folders, as ``harness.search.proposals``
says, and nothing of Ray's is ever read back. Bounded numbers are given to it as 0 to 1, on the
parameter's own scale, and choices as their places, since values may be lists.
"""

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.search.folder import SearchFolder
from harness.search.parameters import Parameter, Point
from harness.search.plan import PlannedTrial
from harness.search.proposals import Proposals

if TYPE_CHECKING:
    from ray.tune.search import Searcher

_SCORE = "score"
_RANDOM = {"hyperopt": 10, "bayesopt": 5}
"""Configurations that are drawn at random before any is chosen."""


class RayProposals(Proposals):
    """Chooses by a searcher of Ray's."""

    def __init__(self, folder: SearchFolder, limit: int | None = None) -> None:
        """Read the plan; see ``Proposals``."""
        super().__init__(folder, limit)
        self._parameters = folder.space.parameters
        self._searcher: Searcher | None = None

    def next(self) -> list[PlannedTrial]:
        """Choose and plan a configuration, and return its trials; none where all are chosen."""
        with _quiet():
            return super().next()

    def ended(self, trial: PlannedTrial) -> None:
        """Learn from a trial that has ended, once its configuration has no other to run."""
        if self._searcher is not None:  # else the next one learns all that has ended
            with _quiet():
                super().ended(trial)

    def _ask(self, key: int) -> Point:
        """Ask the searcher; where it only repeats itself, or has nothing to go by, draw at random.

        A searcher cannot be told of what it did not suggest, so a new one is, by the next call.
        """
        suggested = None
        if self._folder.space.search.algorithm != "bayesopt" or self._past_random():
            suggested = self._ready().suggest(str(key))
        if isinstance(suggested, dict):
            return {item.name: _decode(item, suggested[item.name]) for item in self._parameters}
        self._searcher = None
        return self._folder.space.sample(key)

    def _past_random(self) -> bool:
        return len(self._replicates) >= _RANDOM["bayesopt"]

    def _tell(self, key: int, values: list[float] | None) -> None:
        result = None if values is None else {_SCORE: values[0]}
        self._ready().on_trial_complete(str(key), result=result, error=values is None)

    def _ready(self) -> "Searcher":
        """The searcher; a new one is shown the whole plan, and what has ended of it."""
        if self._searcher is None:
            points = [self._encoded(self._point(key)) for key in self._replicates]
            self._searcher = _start(self._folder, points, self._seed())
            for key in self._replicates:
                self._searcher.suggest(str(key))
            self._recall()
        return self._searcher

    def _encoded(self, point: Point) -> dict[str, float]:
        return {item.name: _encode(item, point[item.name]) for item in self._parameters}


def _start(folder: SearchFolder, points: list[dict[str, float]], seed: int) -> "Searcher":
    """A searcher that will suggest the points first."""
    search = folder.space.search
    spec = {item.name: _domain(item) for item in folder.space.parameters}
    common: dict[str, Any] = {"metric": _SCORE, "mode": search.mode}
    common["points_to_evaluate"] = points or None
    if search.algorithm == "hyperopt":
        from ray.tune.search.hyperopt import HyperOptSearch

        searcher = HyperOptSearch(
            random_state_seed=seed, n_initial_points=_RANDOM["hyperopt"], **common
        )
        searcher.set_search_properties(_SCORE, search.mode, spec)
        return searcher
    if search.algorithm == "bayesopt":
        from ray.tune.search.bayesopt import BayesOptSearch

        # Its own random phase waits for ever where a trial of it fails, so it has none.
        searcher = BayesOptSearch(
            random_state=seed, random_search_steps=0, patience=sys.maxsize, **common
        )
        searcher.set_search_properties(_SCORE, search.mode, spec)
        return searcher
    return _start_nevergrad(spec, seed, common)


def _start_nevergrad(spec: dict[str, Any], seed: int, common: dict[str, Any]) -> "Searcher":
    """Nevergrad by (1 + 1) evolution.

    Its default, NGOpt, picks a method by the space; on bounded numbers alone that was one that
    stands still or fails when asked for a second configuration before the first has ended.
    """
    import nevergrad
    from ray.tune.search.nevergrad import NevergradSearch

    space = NevergradSearch.convert_search_space(spec)
    space.random_state = np.random.RandomState(seed)  # else from NumPy's global generator
    return NevergradSearch(optimizer=nevergrad.optimizers.OnePlusOne, space=space, **common)


def _domain(parameter: Parameter) -> Any:
    from ray import tune

    if parameter.kind == "choice":
        return tune.choice(list(range(len(parameter.values))))
    if parameter.kind == "randint":
        low, high = parameter.values
        return tune.randint(low, high + 1)
    return tune.uniform(0.0, 1.0)


def _encode(parameter: Parameter, value: Any) -> float:
    if parameter.kind == "choice":
        return parameter.values.index(value)
    if parameter.kind == "randint":
        return int(value)
    low, high = _scaled(parameter, parameter.values)
    (own,) = _scaled(parameter, [value])
    return min(max((own - low) / (high - low), 0.0), 1.0)


def _decode(parameter: Parameter, given: Any) -> Any:
    if parameter.kind == "choice":
        return parameter.values[int(given)]
    if parameter.kind == "randint":
        return int(given)
    low, high = _scaled(parameter, parameter.values)
    own = low + float(given) * (high - low)
    drawn = math.exp(own) if parameter.kind == "loguniform" else own
    return float(min(max(drawn, parameter.values[0]), parameter.values[1]))


def _scaled(parameter: Parameter, values: Sequence[float]) -> list[float]:
    return [math.log(value) if parameter.kind == "loguniform" else value for value in values]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of packages that are older than what they stand on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
