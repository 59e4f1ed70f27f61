"""Settings of the model pool."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.errors import suggest
from harness.settings.base import Settings, as_tuple, check_label

POOL_PRESETS = ("similar", "similar-depth1", "diverse")


def _as_others(value: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise ValueError(f"got {value!r}, expected a preset or a list of {{network, weight}}")
    return as_tuple(value)


class WeightedNetwork(Settings):
    """One member of a list given to ``pool.others``."""

    network: str
    """Label of an architecture, for example ``lenet`` or ``convnet-w32-sigmoid``."""
    weight: float = Field(gt=0.0, le=1.0)
    """Probability among the others; the weights of a list sum to 1."""


class PoolSettings(Settings):
    """Which architecture each iteration draws (arXiv 2402.13007)."""

    others: Annotated[str | tuple[WeightedNetwork, ...], BeforeValidator(_as_others)] = "similar"
    """Distribution of the rest: a preset, or a list of {network, weight}."""
    main_probability: float = Field(default=0.9, ge=0.0, le=1.0)
    """Chance that an iteration draws the main model; 1.0 is plain gradient matching. With a
    schedule, that of the last iteration."""
    warmup: int = Field(default=0, ge=0)
    """Iterations at the start that draw the main model only (the reference code draws 501)."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the main-model probability moves over the iterations after the warm-up: not at all, or
    from 1 down to ``main_probability``, in a line or in half a cosine wave."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.others, str):
            if self.others not in POOL_PRESETS:
                raise ValueError(
                    f"pool.others: got '{self.others}'; {suggest(self.others, POOL_PRESETS)}, "
                    "or a list of {network, weight}"
                )
            return self
        if not self.others:
            raise ValueError("pool.others: got an empty list, expected a preset or networks")
        total = sum(member.weight for member in self.others)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(
                f"pool.others: the weights sum to {total:g}, expected 1; scale them to sum to 1"
            )
        for member in self.others:
            check_label(member.network, "pool.others")
        return self
