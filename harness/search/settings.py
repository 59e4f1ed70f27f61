"""How a space is searched: the table ``[search]``."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.config import Settings
from harness.errors import suggest
from harness.schema import UNSEEN_MEAN
from harness.search.algorithms import ADAPTIVE, RAY, check_name
from harness.settings.base import as_tuple

MAIN_ACCURACY = "validation/main"
DROP = "validation/drop"
"""Accuracy of the main model minus ``validation/unseen_mean``."""
COST = "distill_cost_s"
"""Seconds that the distilled set costs to make, also where it came from the store."""
IPC = "ipc"

FIRST_REPLICATES = 3
"""Replicates of every configuration before a race leaves any out."""
REDUCTION_FACTOR = 4
"""Default of ``search.reduction_factor``: that of Ray's and the paper's ASHA (1810.05934)."""

_Texts = Annotated[str | tuple[str, ...], BeforeValidator(as_tuple)]
_Modes = Annotated[
    Literal["max", "min"] | tuple[Literal["max", "min"], ...], BeforeValidator(as_tuple)
]


class SearchSettings(Settings):
    """The table ``[search]``: how a space is searched."""

    algorithm: str = "grid"
    """``grid`` tries every combination; ``random`` draws ``samples`` configurations; ``tpe``,
    ``gp`` and ``nsga2`` (Optuna), ``hyperopt``, ``nevergrad`` and ``bayesopt`` (by Ray) choose them
    by the results so far."""
    samples: int | None = Field(default=None, ge=1)
    """Configurations of every algorithm but ``grid``."""
    metric: _Texts = UNSEEN_MEAN
    """What is optimised, on validation images; several for ``nsga2``."""
    mode: _Modes = "max"
    """Whether more of the metric is better; one for each of several."""
    replicates: int = Field(default=1, ge=1)
    """Trials of each configuration: seeds seed, seed + 1, and so on, paired across them."""

    allocate: Literal["all", "racing"] = "all"
    """``racing``: after three replicates, more only for configurations whose 95% interval overlaps
    the best one's."""
    budget: int | None = Field(default=None, ge=1)
    """Trials of a race at most, beyond its first replicates; unset: what the race takes."""

    scheduler: Literal["none", "asha", "median", "hyperband"] = "none"
    """What stops distillations early, by ``validation/quick`` at equal iterations: successive
    halving, the median rule, or halving in several brackets, all asynchronous (Ray Tune's)."""
    grace_iterations: int | None = Field(default=None, ge=1)
    """Iterations before any is stopped; unset: up to the first report."""
    reduction_factor: int | None = Field(default=None, ge=2, le=16)
    """Of ``asha`` and ``hyperband``: one in so many goes on at each halving, and to so many times
    the iterations; unset: 4."""

    @property
    def stops_early(self) -> bool:
        """Whether a scheduler may stop distillations."""
        return self.scheduler != "none"

    @property
    def first_replicates(self) -> int:
        """Replicates that every configuration has."""
        return FIRST_REPLICATES if self.allocate == "racing" else self.replicates

    @property
    def adaptive(self) -> bool:
        """Whether the configurations depend on results."""
        return self.algorithm in ADAPTIVE

    def goals(self) -> list[tuple[str, str]]:
        """Metrics and their modes."""
        if isinstance(self.metric, str):
            assert isinstance(self.mode, str)
            return [(self.metric, self.mode)]
        return list(zip(self.metric, self.mode, strict=True))

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_name(self.algorithm)
        self._check_goals()
        self._check_race()
        self._check_scheduler()
        if self.algorithm != "grid" and self.samples is None:
            raise ValueError(
                f"search.samples: missing, expected a number for algorithm '{self.algorithm}'"
            )
        if self.algorithm == "grid" and self.samples is not None:
            raise ValueError(
                f"search.samples: got {self.samples}, but a grid tries every combination; remove "
                "it or use search.algorithm = 'random'"
            )
        return self

    def _check_race(self) -> None:
        if self.allocate == "all":
            if self.budget is not None:
                raise ValueError(
                    f"search.budget: got {self.budget}, but search.allocate is 'all'; remove it or "
                    "use search.allocate = 'racing'"
                )
            return
        if self.adaptive:
            raise ValueError(
                f"search.allocate: got 'racing', but '{self.algorithm}' judges a configuration by "
                "all of its replicates; use 'grid' or 'random'"
            )
        if self.replicates <= FIRST_REPLICATES:
            raise ValueError(
                f"search.replicates: got {self.replicates}, but a race begins after "
                f"{FIRST_REPLICATES}; raise it, or use search.allocate = 'all'"
            )

    def _check_scheduler(self) -> None:
        for name in ("grace_iterations", "reduction_factor"):
            value = getattr(self, name)
            if value is None:
                continue
            if not self.stops_early:
                raise ValueError(
                    f"search.{name}: got {value}, but search.scheduler is 'none'; remove it or use "
                    "search.scheduler = 'asha'"
                )
            if name == "reduction_factor" and self.scheduler == "median":
                raise ValueError(
                    f"search.{name}: got {value}, but 'median' halves nothing; remove it, or use "
                    "search.scheduler = 'asha'"
                )
        if not self.stops_early:
            return
        if self.algorithm == "nsga2":
            raise ValueError(
                f"search.scheduler: got '{self.scheduler}', but it stops by one metric and 'nsga2' "
                "has several; use search.scheduler = 'none', or algorithm = 'tpe'"
            )
        if self.mode == "min":
            raise ValueError(
                f"search.scheduler: got '{self.scheduler}', which keeps what scores highest, but "
                "search.mode is 'min'; use search.scheduler = 'none'"
            )
        if self.algorithm in ("gp", *RAY):
            raise ValueError(
                f"search.scheduler: got '{self.scheduler}', but '{self.algorithm}' learns nothing "
                "from stopped trials and may choose them again; use search.algorithm = 'tpe'"
            )

    def _check_goals(self) -> None:
        several = not isinstance(self.metric, str)
        metrics = (self.metric,) if isinstance(self.metric, str) else self.metric
        known: tuple[str, ...] = (UNSEEN_MEAN, MAIN_ACCURACY)
        for metric in metrics:
            _check_metric(metric, (*known, DROP, COST, IPC) if several else known)
        if several != (self.algorithm == "nsga2"):
            raise ValueError(
                f"search.metric: got {_shown(self.metric)}, but search.algorithm is "
                f"'{self.algorithm}'; 'nsga2' has several metrics, all others have one"
            )
        counts = len(metrics)
        modes = 1 if isinstance(self.mode, str) else len(self.mode)
        if several == isinstance(self.mode, str) or counts != modes:
            raise ValueError(
                f"search.mode: got {_shown(self.mode)}, expected 'max' or 'min' for each of "
                f"search.metric = {_shown(self.metric)}"
            )
        if several and (counts < 2 or len(set(metrics)) < counts):
            raise ValueError(
                f"search.metric: got {_shown(self.metric)}, expected two or more that differ"
            )


def _check_metric(metric: str, known: tuple[str, ...]) -> None:
    if metric.startswith("test/"):
        raise ValueError(
            f"search.metric: got '{metric}', but test accuracy is recorded, never "
            f"optimised; use '{UNSEEN_MEAN}'"
        )
    if metric not in known:
        raise ValueError(f"search.metric: got '{metric}'; {suggest(metric, known)}")


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
