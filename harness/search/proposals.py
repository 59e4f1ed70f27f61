"""Proposals: how an adaptive search chooses its configurations, by Optuna; no Ray.

Each configuration is in the plan before it starts. What Optuna knows is read back from the trial
folders, so a search that was stopped goes on from them, under any executor.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import ConfigError
from harness.schema import FINISHED, QUICK
from harness.search.folder import SearchFolder
from harness.search.parameters import Parameter
from harness.search.plan import PlannedTrial

if TYPE_CHECKING:
    import optuna

_SMALLEST_POPULATION, _LARGEST_POPULATION = 4, 50
_GENERATIONS = 5
_ENDED = {*FINISHED, "error", "oom"}


class Chooser(Protocol):
    """What adds trials to a plan while it runs."""

    def next(self) -> list[PlannedTrial]:
        """Plan more trials and return them; none where it waits for results, or at the end."""

    def ended(self, trial: PlannedTrial) -> None:
        """Learn from a trial that has ended."""


class Proposals:
    """Chooses configurations one at a time; a configuration is judged by all its replicates."""

    def __init__(self, folder: SearchFolder, limit: int | None = None) -> None:
        """Learn what the folder's finished trials say.

        Args:
            folder: The search, prepared; chosen configurations are added to its plan.
            limit: Choose no more than so many trials; None: as many as the search has.
        """
        self._folder = folder
        self._left = limit
        self._asked: dict[int, optuna.Trial] = {}
        self._replicates: dict[int, list[PlannedTrial]] = {}
        self._learned: set[int] = set()
        self._population = _population(folder)
        with _quiet():
            self._study = self._start()
            for trial in folder.plan:
                self._note(trial)
            for key in self._replicates:
                self._learn(key)

    def next(self) -> list[PlannedTrial]:
        """Choose and plan a configuration, and return its trials; none where all are chosen."""
        left = self._left
        if not self._folder.to_propose() or (left is not None and left <= 0):
            return []
        with _quiet():
            asked = self._study.ask()
            point = self._folder.space.choose(lambda parameter: _suggest(asked, parameter))
        trials = self._folder.add(point)
        for trial in trials:
            self._asked[self._note(trial)] = asked
        trials = trials[:left]
        self._left = None if left is None else left - len(trials)
        return trials

    def ended(self, trial: PlannedTrial) -> None:
        """Learn from a trial that has ended, once its configuration has no other to run."""
        with _quiet():
            self._learn(_configuration(trial))

    def _start(self) -> "optuna.Study":
        import optuna

        ways = optuna.study.StudyDirection
        directions = [
            ways.MAXIMIZE if mode == "max" else ways.MINIMIZE
            for _, mode in self._folder.space.search.goals()
        ]
        return optuna.create_study(directions=directions, sampler=self._sampler())

    def _sampler(self) -> "optuna.samplers.BaseSampler":
        """The sampler; a resumed search must not draw its first points again, hence the seed."""
        import optuna

        folder = self._folder
        seed = int(folder.space.base.get("seed", 0)) + len(folder.plan)
        algorithm = folder.space.search.algorithm
        if algorithm == "tpe":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        if algorithm == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=self._population)

    def _note(self, trial: PlannedTrial) -> int:
        key = _configuration(trial)
        self._replicates.setdefault(key, []).append(trial)
        return key

    def _learn(self, key: int) -> None:
        trials = self._replicates[key]
        waiting = any(self._folder.status(trial) not in _ENDED for trial in trials)
        if waiting or key in self._learned:
            return
        self._learned.add(key)
        values = self._values(trials)
        asked = self._asked.pop(key, None)
        if asked is None:
            self._study.add_trial(self._recorded(trials, values))
            return
        state, steps = self._outcome(trials, values)
        for step, score in steps.items():
            asked.report(score, step)
        self._study.tell(asked, values, state)

    def _values(self, trials: list[PlannedTrial]) -> list[float] | None:
        """Mean over replicates of each metric; None where one has none."""
        found = []
        for metric, _ in self._folder.space.search.goals():
            own = [self._folder.result(trial).metrics.get(metric) for trial in trials]
            known = [value for value in own if value is not None]
            if len(known) < len(own):
                return None
            found.append(fmean(known))
        return found

    def _outcome(
        self, trials: list[PlannedTrial], values: list[float] | None
    ) -> tuple["optuna.trial.TrialState", dict[int, float]]:
        """How a configuration ended, and if it was stopped early its quick scores by iteration.

        Optuna calls that pruned: TPE ranks it below all that ended, by how far it came.
        """
        from optuna.trial import TrialState

        if values is not None:
            return TrialState.COMPLETE, {}
        if not any(self._folder.status(trial) == "stopped_early" for trial in trials):
            return TrialState.FAIL, {}
        record = self._folder.record(trials[0]) or {}
        return TrialState.PRUNED, dict(record.get(QUICK, []))

    def _recorded(
        self, trials: list[PlannedTrial], values: list[float] | None
    ) -> "optuna.trial.FrozenTrial":
        """A configuration of an earlier call, as Optuna would have kept it."""
        import optuna

        point = trials[0].point
        state, steps = self._outcome(trials, values)
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


def check_optuna(algorithm: str) -> None:
    """Check that Optuna is there and has an algorithm.

    Raises:
        ConfigError: It is not, or has not.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            f"search.algorithm: '{algorithm}' needs Optuna, which is not installed; run "
            "pip install 'harness[optuna]', or use 'random'"
        ) from None
    if algorithm == "gp" and not hasattr(optuna.samplers, "GPSampler"):
        raise ConfigError(
            f"search.algorithm: got 'gp', but Optuna {optuna.__version__} has no GPSampler; use "
            "Optuna 5.0, or 'tpe'"
        )


def _configuration(trial: PlannedTrial) -> int:
    """Place of a configuration in the plan, where its replicates stand side by side."""
    return int(trial.trial_id.partition("-")[0]) - trial.replicate


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
