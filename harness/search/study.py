"""A search by Optuna; no Ray.

What Optuna knows is read back from the trial folders, as ``harness.search.proposals`` says.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.schema import QUICK
from harness.search.folder import SearchFolder
from harness.search.parameters import Parameter, Point
from harness.search.plan import PlannedTrial
from harness.search.proposals import Proposals

if TYPE_CHECKING:
    import optuna

_SMALLEST_POPULATION, _LARGEST_POPULATION = 4, 50
_GENERATIONS = 5


class OptunaProposals(Proposals):
    """Chooses by a sampler of Optuna's."""

    def __init__(self, folder: SearchFolder, limit: int | None = None) -> None:
        """Learn what the folder's finished trials say; see ``Proposals``."""
        super().__init__(folder, limit)
        self._asked: dict[int, optuna.Trial] = {}
        self._population = _population(folder)
        with _quiet():
            self._study = self._start()
            self._recall()

    def next(self) -> list[PlannedTrial]:
        """Choose and plan a configuration, and return its trials; none where all are chosen."""
        with _quiet():
            return super().next()

    def ended(self, trial: PlannedTrial) -> None:
        """Learn from a trial that has ended, once its configuration has no other to run."""
        with _quiet():
            super().ended(trial)

    def _ask(self, key: int) -> Point:
        asked = self._asked[key] = self._study.ask()
        return self._folder.space.choose(lambda parameter: _suggest(asked, parameter))

    def _tell(self, key: int, values: list[float] | None) -> None:
        asked = self._asked.pop(key, None)
        if asked is None:
            self._study.add_trial(self._recorded(key, values))
            return
        state, steps = self._outcome(key, values)
        for step, score in steps.items():
            asked.report(score, step)
        self._study.tell(asked, values, state)

    def _start(self) -> "optuna.Study":
        import optuna

        ways = optuna.study.StudyDirection
        directions = [
            ways.MAXIMIZE if mode == "max" else ways.MINIMIZE
            for _, mode in self._folder.space.search.goals()
        ]
        return optuna.create_study(directions=directions, sampler=self._sampler())

    def _sampler(self) -> "optuna.samplers.BaseSampler":
        import optuna

        seed = self._seed()
        algorithm = self._folder.space.search.algorithm
        if algorithm == "tpe":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        if algorithm == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=self._population)

    def _outcome(
        self, key: int, values: list[float] | None
    ) -> tuple["optuna.trial.TrialState", dict[int, float]]:
        """How a configuration ended, and if it was stopped early its quick scores by iteration.

        Optuna calls that pruned: TPE ranks it below all that ended, by how far it came.
        """
        from optuna.trial import TrialState

        if values is not None:
            return TrialState.COMPLETE, {}
        trials = self._replicates[key]
        if not any(self._folder.status(trial) == "stopped_early" for trial in trials):
            return TrialState.FAIL, {}
        record = self._folder.record(trials[0]) or {}
        return TrialState.PRUNED, dict(record.get(QUICK, []))

    def _recorded(self, key: int, values: list[float] | None) -> "optuna.trial.FrozenTrial":
        """A configuration of an earlier call, as Optuna would have kept it."""
        import optuna

        point = self._point(key)
        state, steps = self._outcome(key, values)
        varied = [item for item in self._folder.space.parameters if item.name in point]
        generation = len(self._study.trials) // self._population
        return optuna.create_trial(
            state=state,
            values=values,
            intermediate_values=steps,
            params={item.name: _encode(item, point[item.name]) for item in varied},
            distributions={item.name: _distribution(item) for item in varied},
            system_attrs={"NSGAIISampler:generation": generation},
        )


def _population(folder: SearchFolder) -> int:
    """So many configurations a generation that there are several, 4 to 50."""
    samples = (folder.space.search.samples or 0) // _GENERATIONS
    return max(_SMALLEST_POPULATION, min(_LARGEST_POPULATION, samples))


def _suggest(asked: "optuna.Trial", parameter: Parameter) -> Any:
    """A value by Optuna; of a choice it sees the number, since values may be lists."""
    if parameter.kind == "choice":
        return parameter.values[
            asked.suggest_categorical(parameter.name, list(range(len(parameter.values))))
        ]
    low, high = parameter.values
    if parameter.kind == "randint":
        return asked.suggest_int(parameter.name, low, high)
    return asked.suggest_float(parameter.name, low, high, log=parameter.kind == "loguniform")


def _encode(parameter: Parameter, value: Any) -> Any:
    return parameter.values.index(value) if parameter.kind == "choice" else value


def _distribution(parameter: Parameter) -> "optuna.distributions.BaseDistribution":
    from optuna import distributions

    if parameter.kind == "choice":
        return distributions.CategoricalDistribution(list(range(len(parameter.values))))
    low, high = parameter.values
    if parameter.kind == "randint":
        return distributions.IntDistribution(low, high)
    return distributions.FloatDistribution(low, high, log=parameter.kind == "loguniform")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warnings of what is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
